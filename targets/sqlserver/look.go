package sqlserver

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// user is a user of a database, as the server knows it.
type user struct {
	id     string
	kind   string // S: one of SQL
	auth   string // 0: it can't sign in, 1: by a login of the server, 2: by itself
	sid    string
	name   string
	mark   *mark // nil: not ours
	grants []grant
	roles  []string
}

// Ways to sign in, in the server's numbers.
const (
	byLogin    = "1"
	byDatabase = "2"
)

// login is a login of the server.
type login struct {
	name, kind, sid string
	disabled        bool
	faults          []string // why it can't sign in
	rights          []string // of the server's: CONNECT SQL is what each has
	roles           []string
}

// state is all that a server knows of a login of ours.
type state struct {
	user     *user // of the login's name
	owner    *user // of what logins have left; nil where there is none
	login    *login
	foreign  *login // one of our name that is not ours
	sessions []string
	ending   int // of those that are killed and undo what they did
}

const usersOf = "select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) " +
	"from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay'"

// look reads what the server knows of the login, in one round trip.
func (s *session) look(ctx context.Context, r driver.LoginRequest) (*state, error) {
	name := literal(r.Name)
	batch := usersOf + " where p.name in (" + name + ", N'" + markName + "');\n" +
		"select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) " +
		"from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id " +
		"left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id " +
		"left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = " + name + ";\n" +
		"select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = " + name + ";\n" +
		sessionsOf(r)
	columns := []int{6, 7, 1, 2}
	if !s.product.azure() {
		batch += ";\n" + loginsOf(r)
		columns = append(columns, 7, 2, 1)
	}
	all, err := s.ask(ctx, batch, columns...)
	if err != nil {
		return nil, err
	}
	found := &state{}
	same := sameName(s.product.collation)
	for _, row := range all[0] {
		u := &user{id: row[0], kind: strings.TrimSpace(row[1]), auth: row[2], sid: row[3], name: row[4], mark: readMark(row[5], row[3])}
		switch {
		case same(u.name, markName):
			found.owner = u
		case same(u.name, r.Name):
			found.user = u
		}
	}
	if u := found.user; u != nil {
		for _, row := range all[1] {
			u.grants = append(u.grants, grant{class: row[0], right: row[1], state: strings.TrimSpace(row[2]), grantor: row[3], schema: row[4], object: row[5], column: row[6]})
		}
		for _, row := range all[2] {
			u.roles = append(u.roles, row[0])
		}
	}
	found.readSessions(all[3])
	if !s.product.azure() {
		found.readLogins(r, all[4:])
	}
	return found, nil
}

// sessionsOf asks for the sessions of a login, by its SID: what else it runs as at the
// moment does not matter.
func sessionsOf(r driver.LoginRequest) string {
	return "select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 " +
		"and (s.original_security_id = " + sidOf(r) + " or s.original_security_id in (select p.sid from sys.database_principals p where p.name = " + literal(r.Name) + "))"
}

// endingCommand is what a session does that was killed, and undoes what it did.
const endingCommand = "KILLED/ROLLBACK"

func (found *state) readSessions(t table) {
	seen := map[string]bool{}
	found.sessions, found.ending = nil, 0
	for _, row := range t {
		switch {
		case seen[row[0]]: // one with several requests
		case row[1] == endingCommand:
			found.ending++
		default:
			found.sessions = append(found.sessions, row[0])
		}
		seen[row[0]] = true
	}
}

// loginsOf asks for the logins of the server of that name, and for ours.
func loginsOf(r driver.LoginRequest) string {
	sid := sidOf(r)
	return "select cast(l.name as nvarchar(128)), cast(l.type as nvarchar(4)), convert(nvarchar(180), l.sid, 1), cast(l.is_disabled as int), cast(loginproperty(l.name, 'IsLocked') as int), cast(loginproperty(l.name, 'IsMustChange') as int), cast(loginproperty(l.name, 'IsExpired') as int) " +
		"from sys.server_principals l where l.name = " + literal(r.Name) + " or l.sid = " + sid + ";\n" +
		"select cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)) from sys.server_permissions m join sys.server_principals l on l.principal_id = m.grantee_principal_id where l.sid = " + sid + ";\n" +
		"select cast(g.name as nvarchar(128)) from sys.server_role_members m join sys.server_principals g on g.principal_id = m.role_principal_id join sys.server_principals l on l.principal_id = m.member_principal_id where l.sid = " + sid
}

// connectSQL is the right that every login of a server has.
const connectSQL = "CONNECT SQL"

func (found *state) readLogins(r driver.LoginRequest, all []table) {
	for _, row := range all[0] {
		l := &login{name: row[0], kind: strings.TrimSpace(row[1]), sid: row[2], disabled: row[3] == "1"}
		if l.sid != sidOf(r) {
			found.foreign = l
			continue
		}
		found.login = l
		for i, fault := range []string{"it is locked", "it has to change its password", "its password has expired"} {
			if row[4+i] == "1" {
				l.faults = append(l.faults, fault)
			}
		}
		if l.disabled {
			l.faults = append(l.faults, "it is disabled")
		}
		if l.name != r.Name {
			l.faults = append(l.faults, "it is called "+driver.Quoted(l.name))
		}
		connects := false
		for _, row := range all[1] {
			if row[0] == connectSQL && strings.TrimSpace(row[1]) == "G" {
				connects = true
				continue
			}
			right := row[0]
			if strings.TrimSpace(row[1]) == "D" {
				right = "DENY of " + right
			}
			l.rights = append(l.rights, right)
		}
		if !connects {
			l.faults = append(l.faults, "it lacks "+connectSQL)
		}
		for _, row := range all[2] {
			l.roles = append(l.roles, row[0])
		}
	}
}

// ours reports whether what is there bears the request's mark, or nothing is.
func (found *state) ours(r driver.LoginRequest) bool {
	return found.foreign == nil && (found.user == nil || found.user.mark.of(r))
}

// exists reports whether there is something that one signs in with, or could.
func (found *state) exists() bool {
	return found.login != nil || found.foreign != nil || found.user != nil && (found.user.mark == nil || found.user.mark.Kind != kindKept)
}

func notOurs(address string, r driver.LoginRequest, found *state) error {
	if found.foreign != nil {
		return patchbay.Errorf(patchbay.NotOurs, "the login %s is on %s and is not this connection's", driver.Quoted(ident(found.foreign.name)), address).
			WithFix("look at it: SELECT * FROM sys.server_principals WHERE name = %s; if nobody needs it: DROP LOGIN %s", literal(r.Name), ident(r.Name))
	}
	return patchbay.Errorf(patchbay.NotOurs, "the user %s is in the database on %s and does not bear this connection's mark", driver.Quoted(ident(found.user.name)), address).
		WithFix("look at it: SELECT * FROM sys.database_principals WHERE name = %s; if nobody needs it: DROP USER %s", literal(r.Name), ident(r.Name))
}

// compare says in what a login is not as the request has it.
func (s *session) compare(r driver.LoginRequest, found *state, now *driver.LoginState) {
	lacks := func(text string) { now.Missing = append(now.Missing, text) }
	has := func(text string) { now.Excess = append(now.Excess, text) }
	u := found.user
	if u == nil {
		lacks("the user in the database")
		u = &user{}
	}
	missing, excess := u.compare(rights(r))
	for _, m := range missing {
		lacks(m + " on the database")
	}
	for _, e := range excess {
		has(e.String())
	}
	less, more := u.compareRoles(r.Roles, sameName(s.product.collation))
	for _, role := range less {
		lacks("role " + driver.Quoted(role))
	}
	for _, role := range more {
		has("role " + driver.Quoted(role))
	}
	if found.user == nil || found.user.mark.Kind == kindUser || s.product.azure() {
		return
	}
	l := found.login
	if l == nil {
		lacks("the login on the server")
		return
	}
	for _, fault := range l.faults {
		lacks("sign-in: " + fault)
	}
	for _, right := range l.rights {
		has(driver.Quoted(right) + " on the server")
	}
	for _, role := range l.roles {
		has("role " + driver.Quoted(role) + " of the server")
	}
}
