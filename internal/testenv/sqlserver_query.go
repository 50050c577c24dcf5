package testenv

import (
	"fmt"
	"slices"
	"strings"
)

// sqlQuery is a query that the model knows, and how it is answered: with the strings and
// numbers in hexadecimal that stand in it, in order.
type sqlQuery struct {
	text string
	give func(q *sqlRun, a []string) (*rowSet, error)
}

const sqlUsers = `select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750))
	from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'' where p.name in (N'', N'')`

const sqlSessionsOf = `select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id
	where s.is_user_process = 1 and (s.original_security_id = 0x00 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N''))`

const sqlMarked = `select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from %[1]ssys.database_principals p join %[1]ssys.extended_properties x
	on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'' order by p.principal_id`

const sqlOwnUser = `select cast(count(*) as int) from sys.database_principals p where p.sid = suser_sid() and p.name <> N'guest'`

// sqlQueries are all of them, by their normal form.
var sqlQueries = normalized([]sqlQuery{
	{`select cast(serverproperty(N'') as nvarchar(128)), cast(serverproperty(N'') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember(N'') as int)`, func(q *sqlRun, _ []string) (*rowSet, error) {
		version, edition, user, database, owner := "16.0.4215.2", 3, "dbo", "master", 0
		if q.server.azure {
			version, edition = "12.0.2000.8", 5
		}
		if q.as.database != nil {
			user, database = q.as.user.name, q.as.database.name
			if q.as.user.id == 1 || slices.Contains(q.as.database.everybodyOf(q.as.user.id), 16384) {
				owner = 1
			}
		} else if q.as.login != q.server.Super {
			user = "guest"
		}
		return one(version, edition, q.as.login, user, database, owner), nil
	}},
	{`select cast(d.containment as int), cast(databasepropertyex(d.name, N'') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()`, func(q *sqlRun, _ []string) (*rowSet, error) {
		d := q.as.database
		if d == nil {
			return one(0, "READ_WRITE", "SQL_Latin1_General_CP1_CI_AS", 0), nil
		}
		contained, updates := 0, "READ_WRITE"
		if d.contained {
			contained = 1
		}
		if d.readOnly {
			updates = "READ_ONLY"
		}
		return one(contained, updates, "SQL_Latin1_General_CP1_CI_AS", 0), nil
	}},
	{`select cast(c.value_in_use as int) from sys.configurations c where c.name = N''`, func(q *sqlRun, a []string) (*rowSet, error) {
		if q.server.azure || a[0] != "contained database authentication" {
			return nil, errUnknown
		}
		return one(1), nil
	}},
	{`select cast(d.name as nvarchar(128)), cast(d.state_desc as nvarchar(60)), cast(has_dbaccess(d.name) as int) from sys.databases d where d.name not in (N'', N'', N'', N'') and d.source_database_id is null order by d.name`, func(q *sqlRun, _ []string) (*rowSet, error) {
		set := &rowSet{columns: 3}
		for _, d := range q.server.databases {
			enters := 0
			if d.state == "ONLINE" && q.as.server != nil && d.of(q.as.server) != nil {
				enters = 1
			}
			set.rows = append(set.rows, []any{d.name, d.state, enters})
		}
		slices.SortFunc(set.rows, func(a, b []any) int { return strings.Compare(fmt.Sprint(a[0]), fmt.Sprint(b[0])) })
		return set, nil
	}},
	{sqlUsers, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 6}
		for _, p := range q.visible() {
			if !strings.EqualFold(p.name, a[1]) && !strings.EqualFold(p.name, a[2]) {
				continue
			}
			var mark any
			if p.marked {
				mark = p.mark
			}
			set.rows = append(set.rows, []any{p.id, p.kind, p.auth, p.sid, p.name, mark})
		}
		return set, nil
	}},
	{`select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128))
	from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id
	left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id
	left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N''`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 7}
		text := func(s string) any {
			if s == "" {
				return nil
			}
			return s
		}
		for _, p := range q.visible() {
			if !strings.EqualFold(p.name, a[0]) {
				continue
			}
			for _, g := range q.as.database.grantsOf(p.id) {
				object := g.object
				if g.class == "DATABASE_PRINCIPAL" {
					object = "" // it is no object
				}
				set.rows = append(set.rows, []any{g.class, g.right, g.state, q.as.database.byID(g.by).name, text(g.schema), text(object), text(g.column)})
			}
		}
		return set, nil
	}},
	{`select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N''`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 1}
		for _, p := range q.visible() {
			if strings.EqualFold(p.name, a[0]) {
				for _, role := range q.as.database.rolesOf(p.id) {
					set.rows = append(set.rows, []any{role})
				}
			}
		}
		return set, nil
	}},
	{sqlSessionsOf, func(q *sqlRun, a []string) (*rowSet, error) {
		sids := []string{a[0]}
		if q.as.database != nil {
			if p := q.as.database.principal(a[1]); p != nil {
				sids = append(sids, p.sid)
			}
		}
		sees := q.server.mayServer(q.as, "VIEW SERVER STATE") || q.server.azure && q.as.user != nil && q.server.may(q.as, "VIEW DATABASE STATE", nil)
		set := &rowSet{columns: 2}
		for id, session := range q.server.sessions {
			if slices.Contains(sids, session.sid) && (sees || session == q.as) {
				set.rows = append(set.rows, []any{id, nil})
			}
		}
		return set, nil
	}},
	{`select cast(l.name as nvarchar(128)), cast(l.type as nvarchar(4)), convert(nvarchar(180), l.sid, 1), cast(l.is_disabled as int), cast(loginproperty(l.name, N'') as int), cast(loginproperty(l.name, N'') as int), cast(loginproperty(l.name, N'') as int)
	from sys.server_principals l where l.name = N'' or l.sid = 0x00`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 7}
		number := map[bool]int{true: 1}
		for _, l := range q.seenLogins() {
			if strings.EqualFold(l.name, a[3]) || l.sid == a[4] {
				set.rows = append(set.rows, []any{l.name, "S", l.sid, number[l.disabled], number[l.locked], 0, 0})
			}
		}
		return set, nil
	}},
	{`select cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)) from sys.server_permissions m join sys.server_principals l on l.principal_id = m.grantee_principal_id where l.sid = 0x00`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 2}
		for _, l := range q.seenLogins() {
			if l.sid == a[0] {
				for _, g := range l.rights {
					set.rows = append(set.rows, []any{g.right, g.state})
				}
			}
		}
		return set, nil
	}},
	{`select cast(g.name as nvarchar(128)) from sys.server_role_members m join sys.server_principals g on g.principal_id = m.role_principal_id join sys.server_principals l on l.principal_id = m.member_principal_id where l.sid = 0x00`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 1}
		for _, l := range q.seenLogins() {
			if l.sid == a[0] {
				for _, role := range l.roles {
					set.rows = append(set.rows, []any{role})
				}
			}
		}
		return set, nil
	}},
	{fmt.Sprintf(sqlMarked, ""), func(q *sqlRun, _ []string) (*rowSet, error) { return q.marked(q.as.database), nil }},
	{`select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = N''`, func(q *sqlRun, a []string) (*rowSet, error) {
		set := &rowSet{columns: 1}
		if p := q.as.database.principal(a[0]); p != nil {
			set.rows = append(set.rows, []any{p.sid})
		}
		return set, nil
	}},
	{`select cast(N'' as nvarchar(8)), cast(o.name as nvarchar(128)), cast(N'' as nvarchar(128)) from sys.schemas o join sys.database_principals p on p.principal_id = o.principal_id where p.name = N''
	union all select cast(N'' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.objects o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'' and o.parent_object_id = 0
	union all select cast(N'' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.types o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'' and o.is_user_defined = 1`, func(q *sqlRun, a []string) (*rowSet, error) {
		set, d := &rowSet{columns: 3}, q.as.database
		p := d.principal(a[2])
		if p == nil {
			return set, nil
		}
		for _, schema := range d.schemas {
			if schema.owner == p.id {
				set.rows = append(set.rows, []any{"schema", schema.name, ""})
			}
		}
		for _, o := range d.objects {
			if o.owner == p.id {
				class := "object"
				if o.kind == "type" {
					class = "type"
				}
				set.rows = append(set.rows, []any{class, o.schema, o.name})
			}
		}
		return set, nil
	}},
	{`select cast(p.name as nvarchar(128)), cast(count(*) as int) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id where m.state in (N'', N'') and
	(p.name = N'' and m.class = 0 and m.permission_name = N'' or p.name = N'' and (m.class = 3 or m.class = 1 and m.major_id > 0 or m.class = 0 and m.permission_name in (N'', N'', N'', N'', N'', N'', N''))) group by p.name order by p.name`, func(q *sqlRun, _ []string) (*rowSet, error) {
		set, d := &rowSet{columns: 2}, q.as.database
		for id, name := range map[int]string{0: "public", 2: "guest"} {
			if n := len(d.grantsOf(id)); n > 0 {
				set.rows = append(set.rows, []any{name, n})
			}
		}
		return set, nil
	}},
	{`select cast(count(*) as int) from sys.sql_modules m where m.execute_as_principal_id is not null`, func(q *sqlRun, _ []string) (*rowSet, error) {
		n := 0
		for _, o := range q.as.database.objects {
			if o.runsAs != 0 {
				n++
			}
		}
		return one(n), nil
	}},
	{`select cast(d.name as nvarchar(128)) from sys.databases d where has_dbaccess(d.name) = 1 and d.name <> db_name() and d.name not in (N'', N'', N'', N'') order by d.name`, func(q *sqlRun, _ []string) (*rowSet, error) {
		set := &rowSet{columns: 1}
		for _, d := range q.server.databases {
			if d != q.as.database && d.state == "ONLINE" && q.as.server != nil && (d.of(q.as.server) != nil || len(d.grantsOf(2)) > 0) {
				set.rows = append(set.rows, []any{d.name})
			}
		}
		slices.SortFunc(set.rows, func(a, b []any) int { return strings.Compare(fmt.Sprint(a[0]), fmt.Sprint(b[0])) })
		return set, nil
	}},
	{`select 1`, func(*sqlRun, []string) (*rowSet, error) { return one(1), nil }},
	{`select count(*) from items`, func(q *sqlRun, _ []string) (*rowSet, error) {
		o := q.as.database.object(&sqlThing{schema: "dbo", name: "items"})
		if !q.server.may(q.as, "SELECT", o) {
			return nil, refused(229, "The SELECT permission was denied on the object 'items'")
		}
		return one(1), nil
	}},
})

// visible are the principals that a session is shown.
func (q *sqlRun) visible() []*sqlPrincipal {
	if q.server.may(q.as, "ALTER ANY USER", nil) {
		return q.as.database.principals
	}
	return []*sqlPrincipal{q.as.user}
}

func (q *sqlRun) seenLogins() (all []*sqlLogin) {
	for _, l := range q.server.logins {
		if q.server.mayServer(q.as, "ALTER ANY LOGIN") || l == q.as.server {
			all = append(all, l)
		}
	}
	return all
}

func (q *sqlRun) marked(d *sqlDatabase) *rowSet {
	set := &rowSet{columns: 3}
	for _, p := range d.principals {
		if p.marked {
			set.rows = append(set.rows, []any{p.name, p.sid, p.mark})
		}
	}
	return set
}

// normal is a statement without what its strings say.
func normal(tokens []sqlToken) (text string, arguments []string) {
	var words []string
	for _, t := range tokens {
		words = append(words, t.String())
		if t.kind == 's' || t.kind == 'x' {
			arguments = append(arguments, t.text)
		}
	}
	return strings.Join(words, " "), arguments
}

func normalized(queries []sqlQuery) map[string]sqlQuery {
	all := map[string]sqlQuery{}
	for _, q := range queries {
		tokens, err := sqlTokens(q.text)
		if err != nil {
			panic(err)
		}
		text, _ := normal(tokens)
		all[text] = q
	}
	return all
}

func (q *sqlRun) selects() ([]*rowSet, error) {
	text, arguments := normal(q.rest)
	if known, ok := sqlQueries[text]; ok {
		q.skip()
		set, err := known.give(q, arguments)
		return []*rowSet{set}, err
	}
	tokens := q.rest
	switch {
	case len(tokens) == 2 && tokens[1].kind == 'v':
		q.skip()
		n := 0
		_, err := fmt.Sscan(q.variables[tokens[1].text], &n)
		return []*rowSet{one(n)}, err
	case strings.HasPrefix(text, "select cast ( has_perms_by_name ("):
		return q.hasRights()
	case q.accept("select", "*", "from"):
		return q.selectAll()
	}
	// Those of another database, by its name.
	if i := slices.IndexFunc(tokens, func(t sqlToken) bool { return t.kind == 'i' }); i > 0 {
		other := q.server.databases[strings.ToLower(tokens[i].text)]
		var rest []sqlToken
		for j := 0; j < len(tokens); j++ {
			if tokens[j].kind == 'i' && j+1 < len(tokens) && tokens[j+1].text == "." {
				j++
				continue
			}
			rest = append(rest, tokens[j])
		}
		in, _ := normal(rest)
		is := func(query string) bool {
			tokens, err := sqlTokens(query)
			if err != nil {
				return false
			}
			want, _ := normal(tokens)
			return in == want
		}
		marked, own := is(fmt.Sprintf(sqlMarked, "")), is(sqlOwnUser)
		if !marked && !own {
			return nil, q.unknown()
		}
		q.skip()
		if other == nil {
			return nil, refused(911, "Database '%s' does not exist.", tokens[i].text)
		}
		if other.state != "ONLINE" {
			return nil, refused(942, "Database '%s' cannot be opened because it is offline.", other.name)
		}
		user := other.of(q.as.server)
		switch {
		case user == nil && len(other.grantsOf(2)) == 0:
			return nil, refused(916, "The server principal \"%s\" is not able to access the database \"%s\" under the current security context.", q.as.login, other.name)
		case marked:
			return []*rowSet{q.marked(other)}, nil
		case user == nil:
			return []*rowSet{one(0)}, nil
		}
		return []*rowSet{one(1)}, nil
	}
	return nil, q.unknown()
}

// hasRights is a list of cast(has_perms_by_name(…) as int).
func (q *sqlRun) hasRights() ([]*rowSet, error) {
	var values []any
	q.accept("select")
	for {
		if !q.accept("cast", "(", "has_perms_by_name", "(") {
			return nil, q.unknown()
		}
		server := q.accept("null", ",", "null", ",")
		if !server {
			if !q.accept("quotename", "(", "db_name", "(", ")", ")", ",") {
				return nil, q.unknown()
			}
			if class, ok := q.value(); !ok || class != "DATABASE" || !q.accept(",") {
				return nil, q.unknown()
			}
		}
		right, ok := q.value()
		if !ok || !q.accept(")", "as", "int", ")") {
			return nil, q.unknown()
		}
		has := 0
		switch {
		case server && q.server.azure:
			return nil, q.unknown() // the server's are not asked there
		case server && q.server.mayServer(q.as, right), !server && q.server.may(q.as, right, nil):
			has = 1
		}
		values = append(values, has)
		if !q.accept(",") {
			return []*rowSet{one(values...)}, nil
		}
	}
}

// selectAll is SELECT * FROM something.
func (q *sqlRun) selectAll() ([]*rowSet, error) {
	var parts []string
	for {
		name, ok := q.name()
		if !ok {
			return nil, q.unknown()
		}
		parts = append(parts, name)
		if !q.accept(".") {
			break
		}
	}
	as := *q.as
	if len(parts) == 3 {
		other := q.server.databases[strings.ToLower(parts[0])]
		if other == nil || as.server == nil || other.of(as.server) == nil {
			return nil, refused(916, "The server principal \"%s\" is not able to access the database \"%s\" under the current security context.", as.login, parts[0])
		}
		as.database, as.user = other, other.of(as.server)
	}
	schema := "dbo"
	if len(parts) > 1 {
		schema = parts[len(parts)-2]
	}
	o := as.database.object(&sqlThing{schema: schema, name: parts[len(parts)-1]})
	if o == nil {
		return nil, refused(208, "Invalid object name '%s'.", parts[len(parts)-1])
	}
	if !q.server.may(&as, "SELECT", o) {
		return nil, refused(229, "The SELECT permission was denied on the object '%s'", o.name)
	}
	return []*rowSet{{columns: 2, rows: [][]any{{1, "one"}}}}, nil
}
