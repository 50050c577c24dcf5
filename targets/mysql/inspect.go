package mysql

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// systemDatabases are no application's.
var systemDatabases = []string{"information_schema", "mysql", "performance_schema", "sys", markSchema}

// nobody is the name of an account, a table or the like that is not there: a statement
// about it is refused for the lack of a right, or because it is not there, and has no
// effect in any case.
func nobody() string { return "pb_probe_" + strings.ToLower(rand.Text()[:14]) }

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	s, release, err := t.acquire(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer release()
	info, err := s.inspect(ctx, sub)
	return info, t.adminError(ctx, "", err)
}

func (s *session) inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	info := driver.TargetInfo{
		Version: s.product.version, TLS: s.wire.protocol(),
		Values: map[string]string{"host": s.server.host, "port": strconv.Itoa(int(s.server.port)), "sslmode": string(s.server.tls.Mode)},
	}
	maps.Copy(info.Values, s.server.security)
	// What the application is told to do is what was seen to work.
	if s.server.tls.Mode == driver.TLSPrefer {
		info.Values["sslmode"] = string(driver.TLSRequire)
		if !s.wire.secured {
			info.Values["sslmode"] = string(driver.TLSDisable)
		}
	}
	rows, err := s.query(ctx, "select schema_name from information_schema.schemata order by 1")
	if err != nil {
		return driver.TargetInfo{}, err
	}
	for _, row := range rows {
		if !slices.Contains(systemDatabases, strings.ToLower(row[0])) {
			info.Subs = append(info.Subs, row[0])
		}
	}
	database := ""
	if sub != "" {
		if database, err = s.database(ctx, sub); err != nil {
			return driver.TargetInfo{}, err
		}
		if database == "" {
			return driver.TargetInfo{}, s.noDatabase(ctx, sub)
		}
		info.Values["database"] = database
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	if s.product.readOnly {
		warn("the server is read-only, as a replica is: nothing can be changed on it")
	}
	if info.TLS == "" {
		warn("the connection is not encrypted: give the server a certificate (ssl_cert, ssl_key)")
	}
	if err := s.checkAdmin(ctx, database); err != nil {
		return driver.TargetInfo{}, err
	}
	sees, err := s.seesOthers(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	if !sees {
		warn("the administrator is not shown the sessions of others, so that those of a login are not counted: GRANT PROCESS ON *.* TO %s", s.adminName())
	}
	return info, s.warnOfEverybody(ctx, warn)
}

// warnOfEverybody warns of what others than our logins have for everybody.
func (s *session) warnOfEverybody(ctx context.Context, warn func(string, ...any)) error {
	rows, err := s.query(ctx, "select Host from mysql.user where User = '' limit 5")
	if err != nil {
		return err
	}
	for _, row := range rows {
		who := driver.Quoted(at("", row[0]))
		warn("there is an account without a name, %s: whoever signs in from there may get it in place of a login: DROP USER %s", who, who)
	}
	rows, err = s.query(ctx, "select distinct Db from mysql.db where User in ('', 'PUBLIC') limit 5")
	if err != nil {
		return err
	}
	var all []string
	for _, row := range rows {
		all = append(all, row[0])
	}
	if len(all) > 0 {
		warn("every login has rights on the databases %s, which were given to everybody: see mysql.db", driver.Quoted(strings.Join(all, ", ")))
	}
	return nil
}

// lack is a right that the administrator needs and has not.
type lack struct {
	what, statement string
}

// lacks are the rights that the administrator has not, of those that it needs for the
// logins of that database, or where there is none for any. They are asked by trying:
// what a role of its own gives it is then seen too.
func (s *session) lacks(ctx context.Context, database string) ([]lack, error) {
	nobody := nobody()
	who := s.adminName()
	tables := []string{"mysql.user", "mysql.db", "mysql.tables_priv", "mysql.procs_priv", "mysql.proxies_priv"}
	if s.product.mariadb {
		tables = append(tables, "mysql.global_priv", "mysql.roles_mapping", "mysql.proc", "mysql.event")
	} else {
		tables = append(tables, "mysql.role_edges", "mysql.default_roles", "mysql.global_grants")
	}
	for i, table := range tables {
		tables[i] = fmt.Sprintf("%s t%d", table, i)
	}
	type trial struct {
		statement string
		lack
	}
	trials := []trial{
		{"drop user " + at(nobody, "%"), lack{"CREATE USER", "GRANT CREATE USER ON *.* TO " + who}},
		{"select 1 from " + strings.Join(tables, ", ") + " limit 0", lack{"SELECT on the database mysql, to read back what logins have", "GRANT SELECT ON mysql.* TO " + who}},
	}
	giving := func(database string, rights []string) trial {
		on := onDatabase(pattern(database))
		return trial{"grant " + strings.Join(rights, ", ") + " on " + on + " to " + at(nobody, "%"),
			lack{"all rights on the database " + driver.Quoted(database) + ", to give them on", "GRANT ALL PRIVILEGES ON " + driver.Quoted(on) + " TO " + who + " WITH GRANT OPTION"}}
	}
	if s.product.mariadb {
		trials = append(trials, giving(markSchema, []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "REFERENCES"}))
	}
	if database != "" {
		trials = append(trials, giving(database, s.product.rights(patchbay.Owner)))
	}
	var all []lack
	for _, t := range trials {
		err := s.exec(ctx, t.statement)
		switch {
		case err == nil, !mayNot(err) && numberOf(err) != 0:
		case !mayNot(err):
			return nil, err
		default:
			all = append(all, t.lack)
		}
	}
	return all, nil
}

// noDatabase says that there is none, as far as the administrator is shown.
func (s *session) noDatabase(ctx context.Context, sub string) error {
	all, err := s.lacks(ctx, sub)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return s.server.noDatabase()
	}
	s.broken = true
	return patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s, or the administrator %q has no right to it", s.server.address(), s.server.admin.Username).
		WithFix("%s", all[len(all)-1].statement)
}

// checkAdmin fails when the administrator lacks a right.
func (s *session) checkAdmin(ctx context.Context, database string) error {
	all, err := s.lacks(ctx, database)
	if err != nil || len(all) == 0 {
		return err
	}
	return s.lacking(all)
}

// lacking is the error about rights that lack. The session is not used again: rights on
// the whole server are those that an account had when it signed in.
func (s *session) lacking(all []lack) *patchbay.Error {
	s.broken = true
	var what, statements []string
	for _, l := range all {
		what, statements = append(what, l.what), append(statements, l.statement)
	}
	return patchbay.Errorf(patchbay.AdminRights, "the administrator %q lacks on %s: %s", s.server.admin.Username, s.server.address(), strings.Join(what, "; ")).
		WithFix("%s", strings.Join(statements, "; "))
}

// Beyond implements [driver.WarnedLogins]: a routine does what whoever defined it may,
// whoever calls it, unless it was made to ask for the caller's rights.
func (t *target) Beyond(ctx context.Context, r driver.LoginRequest) ([]string, error) {
	if len(r.Roles) > 0 || r.Access == patchbay.Reader {
		return nil, nil
	}
	s, release, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	n, err := s.one(ctx, `select count(*) from information_schema.routines r join mysql.user u on cast(concat(u.User, '@', u.Host) as binary) = cast(r.definer as binary)
		where r.routine_schema = `+literal(r.Sub)+` and r.security_type = 'DEFINER' and 'Y' in (u.Select_priv, u.Update_priv, u.Super_priv, u.Create_user_priv, u.File_priv)`)
	if err != nil || n == "0" || n == "" {
		return nil, t.adminError(ctx, "", err)
	}
	return []string{fmt.Sprintf("this login may call routines of the database that run with an administrator's rights, whoever calls them (%s of them): ALTER PROCEDURE … SQL SECURITY INVOKER, where that is not meant", n)}, nil
}
