package postgres

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// SQLSTATEs that mean something to us (PostgreSQL manual, appendix A).
const (
	invalidPassword       = "28P01"
	invalidAuthorization  = "28000" // no such login, NOLOGIN, pg_hba.conf
	invalidCatalogName    = "3D000" // no such database
	insufficientPrivilege = "42501"
	readOnlyTransaction   = "25006"
	featureNotSupported   = "0A000" // of a transaction that is to write: the server is a standby
	lockTimeout           = "55P03"
	tooManyConnections    = "53300"
	notInState            = "55000" // at a sign-in: the database takes none
	dependentObjects      = "2BP01"
)

// adminError says what err means when the administrator met it. What the server
// said is beside it: a connection's caller, who sees the errors of its steps, does
// not administer the server.
func (t *target) adminError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return err
	}
	if e := t.settings.Lost(ctx, err); e != nil {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return t.settings.Unreachable(err)
	}
	admin := t.settings.Admin
	text := driver.SQLState(pg.Code)
	if what != "" {
		text = what + ": " + text
	}
	e := t.settings.Refusal(pg, text)
	switch pg.Code {
	case invalidPassword, invalidAuthorization:
		e = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator %q in: %s", t.settings.Address(), admin.Username, text).
			WithFix("%s", pgconnect.HBAFix(pg, admin.Username, "register the server again with an admin credential that signs in"))
	case invalidCatalogName:
		e = patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", t.settings.Address())
	case dependentObjects:
		e = patchbay.Errorf(patchbay.AdminRights, "%s does not drop a role that something depends on: %s", t.settings.Address(), text).
			WithFix("see what: select pg_describe_object(classid, objid, objsubid), dbid from pg_shdepend where refobjid = '{role}'::regrole; as a superuser, in the database with that oid: DROP OWNED BY {role}")
	case insufficientPrivilege:
		e = patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not do what is needed on %s: %s", admin.Username, t.settings.Address(), text).
			WithFix(lacksRights)
	case readOnlyTransaction:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s lets nobody write: %s", t.settings.Address(), text).
			WithFix("see what keeps it from writing: a standby, a disk that is full, a pooler's setting")
	case tooManyConnections:
		e = e.WithFix("see who has them: select datname, usename, count(*) from pg_stat_activity group by 1, 2; max_connections, and the CONNECTION LIMIT of the database and of %s, have to leave room for %d of ours (maxSessions)", admin.Username, t.settings.Sessions)
	}
	if strings.HasPrefix(pg.Code, "08") && strings.Contains(pg.Message, "statement pooling") {
		e = patchbay.Errorf(patchbay.NotSupported, "the connection pooler at %s allows no transactions, and logins are made in transactions", t.settings.Address()).
			WithFix("register the server itself; or set pool_mode to transaction or session in pgbouncer.ini, for these databases or for the user %s", admin.Username)
	}
	if name := codeOf(pg); name != "" {
		e = patchbay.Errorf(patchbay.AdminRights, "code of the database's own, %s, fails on what Patchbay does: %s", driver.Quoted(name), text).
			WithFix("an event trigger runs it (list them: \\dy): let it pass the administrator %q; or, if it finds no name, give it its own path: ALTER FUNCTION … SET search_path = …", admin.Username)
	}
	return e.WithSaid(pg.Message)
}

// codeIn finds the function in an error's context.
var codeIn = regexp.MustCompile(`(?m)^(?:PL/|SQL )\S* ?function (.{1,200}?)(?: line | statement | during |$)`)

// codeOf is the function in which an error came up, "" when it was the statement's
// own. No statement of ours calls one that is not PostgreSQL's.
func codeOf(pg *pgconn.PgError) string {
	if m := codeIn.FindStringSubmatch(pg.Where); m != nil {
		return strings.Trim(m[1], `"`)
	}
	return ""
}

// signInError says why the administrator can't sign in to a database.
func (t *target) signInError(ctx context.Context, database string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != notInState {
		return t.adminError(ctx, "sign in", err)
	}
	shut := shuts["closed"]
	if strings.Contains(pg.Hint, "DROP DATABASE") {
		shut = shuts["invalid"]
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "the database %s on %s %s", driver.Quoted(database), t.settings.Address(), shut.why).
		WithFix(shut.fix, ident(database)).WithSaid(pg.Message)
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}
