package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// probeLimit bounds a probe whose caller sets no deadline.
const probeLimit = 30 * time.Second

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.server.address()}
	return r, nil
}

// tryLogin is the driver's Probe.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	s, err := parsePlace(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	s.tls = s.tls.ReadBy(r.Reading)
	l, err := driver.Secrets(r.Credential.Values()).UserPassword()
	switch {
	case err != nil:
		return driver.ProbeResult{}, err
	case r.Sub == "" || strings.ContainsRune(r.Sub, 0):
		return driver.ProbeResult{}, invalid("a probe of MySQL needs a database")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probeLimit)
		defer cancel()
	}
	p := &probe{server: s, login: l, database: r.Sub}
	if p.session, err = s.signIn(ctx, r.Dialer, l, r.Sub, "patchbay probe"); err != nil {
		return driver.ProbeResult{}, p.error(ctx, err)
	}
	defer p.session.close()
	p.result.TLS = p.session.wire.protocol()
	if err := p.session.prepare(ctx); err != nil {
		return driver.ProbeResult{}, p.error(ctx, err)
	}
	p.allowed("sign in to " + driver.Quoted(r.Sub))
	if r.Access != "" {
		err = p.try(ctx, r.Access)
	}
	p.result.Took = time.Since(started)
	return p.result, p.error(ctx, err)
}

// probe is one sign-in as the application.
type probe struct {
	server   *server
	login    driver.UserPassword
	database string
	session  *session
	result   driver.ProbeResult
}

func (p *probe) allowed(what string) { p.result.Allowed = append(p.result.Allowed, what) }
func (p *probe) refused(what string) { p.result.Refused = append(p.result.Refused, what) }

// trial is a statement about something that is not there: the server looks for the
// right first. So it has no effect, and meets nothing that is somebody else's.
type trial struct {
	what      string
	least     patchbay.Access // that may; "": nobody
	statement string
}

// trials are of a database, with a name in it that nothing has.
func trials(database, name string) []trial {
	in := ident(database) + "." + ident(name)
	return []trial{
		{"SELECT", patchbay.Reader, "select 1 from " + in + " limit 0"},
		{"INSERT", patchbay.Writer, "insert into " + in + " values (1)"},
		{"UPDATE", patchbay.Writer, "update " + in + " set a = 1"},
		{"DELETE", patchbay.Writer, "delete from " + in},
		{"EXECUTE", patchbay.Writer, "call " + in + "()"},
		{"CREATE TEMPORARY TABLES", patchbay.Writer, "create temporary table " + in + " (a int, a int)"},
		{"CREATE", patchbay.Owner, "create table " + in + " (a int, a int)"},
		{"CREATE VIEW", patchbay.Owner, "create view " + in + " as select 1 as a, 2 as a"},
		{"ALTER", patchbay.Owner, "alter table " + in + " add a int"},
		{"INDEX", patchbay.Owner, "create index a on " + in + " (a)"},
		{"DROP", patchbay.Owner, "drop table " + in},
		{"TRIGGER", patchbay.Owner, "create trigger " + in + " before insert on " + in + " for each row set @a = 1"},
		{"ALTER ROUTINE", patchbay.Owner, "drop procedure " + in},
		{"EVENT", patchbay.Owner, "drop event " + in},
		{"CREATE USER", "", "drop user " + at(name, "%")},
		{"GRANT OPTION", "", "grant select on " + ident(pattern(database)) + ".* to " + at(name, "%")},
		{"SELECT on another database", "", "select 1 from " + ident(other(database, name)) + "." + ident(name) + " limit 0"},
		{"DROP on another database", "", "drop table " + ident(other(database, name)) + "." + ident(name)},
		{"SELECT on mysql.user", "", "select 1 from mysql.user limit 0"},
	}
}

// other is the name of a database that is not there, and that a grant would be for too
// whose % and _ were not escaped.
func other(database, name string) string {
	if strings.ContainsAny(database, "_%") {
		return strings.NewReplacer("_", "x", "%", "x").Replace(database) // may be there: only a right is asked for
	}
	return name
}

// try judges the login's rights: what its access has goes beyond the look for the right,
// what it has not is refused for the lack of it.
func (p *probe) try(ctx context.Context, access patchbay.Access) error {
	if user, _, _ := cutLast(p.session.product.admin, '@'); user != p.login.Username {
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.server.address(), p.login.Username).
			WithFix("there may be an account without a name, or a proxy: SELECT user, host FROM mysql.user; SELECT * FROM mysql.proxies_priv")
	}
	if p.session.product.readOnly && access != patchbay.Reader {
		return p.server.readOnly("")
	}
	order := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	var missing, excess []string
	for _, t := range trials(p.database, nobody()) {
		err := p.session.exec(ctx, t.statement)
		wanted := t.least != "" && slices.Index(order, t.least) <= slices.Index(order, access)
		number := numberOf(err)
		switch {
		case err != nil && number == 0:
			return err
		case number == errReadOnly || number == 1836:
			p.result.NotChecked = append(p.result.NotChecked, t.what+": the server lets nobody write")
		case mayNot(err) && wanted:
			missing = append(missing, t.what)
		case mayNot(err):
			p.refused(t.what)
		case wanted:
			p.allowed(t.what)
		default:
			excess = append(excess, t.what)
		}
	}
	switch {
	case len(missing) > 0:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, p.server.address(), strings.Join(missing, ", "))
	case len(excess) > 0:
		return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", p.login.Username, p.server.address(), strings.Join(excess, ", "))
	}
	return nil
}

// error says what err means when the application met it, in our words alone: who may try
// a login need not be who administers the server.
func (p *probe) error(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) && ctx.Err() == nil {
		return e
	}
	if e := p.server.lost(ctx, err); e != nil {
		return e
	}
	var said *mysql.MySQLError
	if !errors.As(err, &said) {
		return p.server.unreachable(err)
	}
	text, at := fmt.Sprintf("error %d", said.Number), p.server.address()
	switch {
	case slices.Contains(admitNot, said.Number):
		e := patchbay.Errorf(patchbay.LoginRefused, "%s does not let %s in: %s", at, p.login.Username, text)
		switch said.Number {
		case 3159:
			return e.WithFix("the server takes sign-ins in TLS alone: register it with sslmode require or stricter")
		case errHostDenied, errAccessDenied:
			return e.WithFix("see from where it may: SHOW GRANTS; an account for one address does not let in from another, and a server behind a proxy sees the proxy's")
		}
		return e
	case said.Number == errNoSuchDatabase:
		return p.server.noDatabase()
	case mayNot(err):
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, at, text)
	}
	if code, ok := passing[said.Number]; ok {
		return patchbay.Errorf(code, "%s: %s", at, text).AsTransient()
	}
	return patchbay.Errorf(patchbay.Internal, "%s: %s", at, text)
}
