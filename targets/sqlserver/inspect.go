package sqlserver

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// database is one of the server, as its catalogue has it.
type database struct {
	name, state string
	enters      bool // the administrator, as far as the server says
}

const online = "ONLINE"

// databases lists those that are not the server's own.
func (s *session) databases(ctx context.Context) ([]database, error) {
	all, err := s.ask(ctx, "select cast(d.name as nvarchar(128)), cast(d.state_desc as nvarchar(60)), cast(has_dbaccess(d.name) as int) from sys.databases d where d.name not in (N'master', N'tempdb', N'model', N'msdb') and d.source_database_id is null order by d.name", 3)
	if err != nil {
		return nil, err
	}
	var found []database
	for _, row := range all[0] {
		found = append(found, database{row[0], row[1], row[2] == "1"})
	}
	return found, nil
}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" && !isName(sub) {
		return driver.TargetInfo{}, t.server.noDatabase()
	}
	s, release, err := t.enter(ctx, sub)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer release()
	info, err := s.inspect(ctx, sub)
	return info, t.adminError(ctx, err)
}

func (s *session) inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	info := driver.TargetInfo{
		Version: s.product.version, TLS: s.wire.protocol(),
		Values: map[string]string{"host": s.server.host, "port": strconv.Itoa(int(s.server.port)), "encrypt": strconv.FormatBool(s.wire.protocol() != "")},
	}
	maps.Copy(info.Values, s.server.security)
	databases, err := s.databases(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	for _, d := range databases {
		info.Subs = append(info.Subs, d.name)
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	if info.TLS == "" {
		warn("the connection is not encrypted, and passwords go over it as good as in the clear: register the server with sslmode verify-full")
	} else if !s.server.tls.Verified() {
		warn("nothing proves who answers: register the server with its authority (ca) and sslmode verify-full; most libraries refuse a certificate that they can't check")
	}
	if err := s.checkAdmin(ctx); err != nil {
		return driver.TargetInfo{}, err
	}
	if sub == "" {
		return info, nil
	}
	info.Values["database"] = s.product.database
	if s.product.readOnly {
		warn("the database is read-only, as a replica's is: nothing can be changed in it")
	}
	if s.product.grouped && !s.product.contained {
		warn("the database is of an availability group and not contained: a login is made on this replica alone, and is not there after a failover: ALTER DATABASE CURRENT SET CONTAINMENT = PARTIAL")
	}
	return info, s.warnOfEverybody(ctx, warn)
}

// warnOfEverybody warns of what others than our logins have for everybody.
func (s *session) warnOfEverybody(ctx context.Context, warn func(string, ...any)) error {
	all, err := s.ask(ctx, "select cast(p.name as nvarchar(128)), cast(count(*) as int) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id where m.state in (N'G', N'W') and "+
		"(p.name = N'guest' and m.class = 0 and m.permission_name = N'CONNECT' or p.name = N'public' and (m.class = 3 or m.class = 1 and m.major_id > 0 or m.class = 0 and m.permission_name in (N'SELECT', N'INSERT', N'UPDATE', N'DELETE', N'EXECUTE', N'ALTER', N'CONTROL'))) group by p.name order by p.name", 2)
	if err != nil {
		return err
	}
	for _, row := range all[0] {
		if row[0] == "guest" {
			warn("every login of the server gets into the database, as guest: REVOKE CONNECT FROM GUEST")
			continue
		}
		warn("every login has rights in the database which were given to public (%s of them): see sys.database_permissions", row[1])
	}
	return nil
}

// lack is a right that the administrator needs and has not.
type lack struct {
	what, statement string
}

// lacks are the rights that the administrator has not, of those that it needs.
func (s *session) lacks(ctx context.Context) ([]lack, error) {
	user, own := driver.Quoted(ident(s.product.user)), s.database != ""
	in := "USE " + driver.Quoted(ident(s.product.database)) + "; "
	var all []lack
	if own && !s.product.owner {
		all = append(all, lack{"membership in db_owner of the database " + driver.Quoted(s.product.database), in + "ALTER ROLE db_owner ADD MEMBER " + user})
	}
	var rights []string
	class, to := "null, null", driver.Quoted(ident(s.product.login))
	switch {
	case !s.product.azure():
		rights = []string{"ALTER ANY CONNECTION", "VIEW SERVER STATE"}
		if own && !s.product.contained {
			rights = append(rights, "ALTER ANY LOGIN")
		}
	case own:
		rights = []string{"KILL DATABASE CONNECTION", "VIEW DATABASE STATE"}
		class, to = "quotename(db_name()), N'DATABASE'", user
	default:
		return all, nil
	}
	var asked []string
	for _, right := range rights {
		asked = append(asked, "cast(has_perms_by_name("+class+", N'"+right+"') as int)")
	}
	has, err := s.ask(ctx, "select "+strings.Join(asked, ", "), len(rights))
	if err != nil {
		return nil, err
	}
	for i, right := range rights {
		if len(has[0]) != 1 || has[0][0][i] != "1" {
			where := in
			if !s.product.azure() {
				where = "USE master; "
			}
			all = append(all, lack{right, where + "GRANT " + right + " TO " + to})
		}
	}
	return all, nil
}

// checkAdmin fails when the administrator lacks a right.
func (s *session) checkAdmin(ctx context.Context) error {
	all, err := s.lacks(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	return s.lacking(all)
}

func (s *session) lacking(all []lack) *patchbay.Error {
	var what, statements []string
	for _, l := range all {
		what, statements = append(what, l.what), append(statements, l.statement)
	}
	return patchbay.Errorf(patchbay.AdminRights, "the administrator %q lacks on %s: %s", s.server.admin.Username, s.server.address(), strings.Join(what, "; ")).
		WithFix("as a sysadmin: %s", strings.Join(statements, "; "))
}

// whyNot says why the administrator is not let into a database.
func (t *target) whyNot(ctx context.Context, name string, refused error) error {
	if name == "" {
		return t.adminError(ctx, refused)
	}
	s, release, err := t.acquire(ctx, "")
	if err != nil { // it may be an administrator of the one database
		return t.adminError(ctx, refused)
	}
	defer release()
	databases, err := s.databases(ctx)
	if err != nil {
		return t.adminError(ctx, err)
	}
	var found *database
	for i, d := range databases {
		if d.name == name || found == nil && strings.EqualFold(d.name, name) {
			found = &databases[i]
		}
	}
	at := t.server.address()
	switch {
	case found == nil:
		return t.server.noDatabase()
	case found.state != online:
		e := patchbay.Errorf(patchbay.TargetUnreachable, "the database on %s is not online (%s)", at, driver.Quoted(found.state)).
			WithFix("ALTER DATABASE %s SET ONLINE, if somebody has taken it off; one that is restored or recovered comes by itself", driver.Quoted(ident(found.name))).WithSaid(said(refused))
		return e.AsTransient()
	case !found.enters || s.product.azure():
		login := driver.Quoted(ident(s.product.login))
		return patchbay.Errorf(patchbay.AdminRights, "the administrator %q has no user in the database on %s", t.server.admin.Username, at).
			WithFix("as a sysadmin: USE %s; CREATE USER %s FOR LOGIN %s; ALTER ROLE db_owner ADD MEMBER %s", driver.Quoted(ident(found.name)), login, login, login).WithSaid(said(refused))
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "the database on %s lets nobody in at the moment", at).
		WithFix("see whether it is in single-user mode, or a replica that can't be read: SELECT user_access_desc, state_desc FROM sys.databases").WithSaid(said(refused)).AsTransient()
}

// Beyond implements [driver.WarnedLogins]: a module may do what others may, whoever calls
// it; and who can change modules and triggers has others run them.
func (t *target) Beyond(ctx context.Context, r driver.LoginRequest) ([]string, error) {
	if len(r.Roles) > 0 || r.Access == patchbay.Reader {
		return nil, nil
	}
	s, release, err := t.enter(ctx, r.Sub)
	if err != nil {
		return nil, err
	}
	defer release()
	all, err := s.ask(ctx, "select cast(count(*) as int) from sys.sql_modules m where m.execute_as_principal_id is not null", 1)
	if err != nil {
		return nil, t.adminError(ctx, err)
	}
	var texts []string
	if n := all[0]; len(n) == 1 && n[0][0] != "0" {
		texts = append(texts, fmt.Sprintf("this login may call modules of the database that run as somebody else, whoever calls them (%.10s of them: sys.sql_modules, execute_as_principal_id)", n[0][0]))
	}
	if r.Access == patchbay.Owner {
		texts = append(texts, "this login may change every procedure, view and trigger of the database: they run with the rights of whoever calls them, an administrator's too, and those that run as somebody else with that one's")
	}
	return texts, nil
}
