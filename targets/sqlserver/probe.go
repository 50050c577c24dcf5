package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	l, err := userPassword(driver.Secrets(r.Credential.Values()))
	switch {
	case err != nil:
		return driver.ProbeResult{}, err
	case !isName(r.Sub):
		return driver.ProbeResult{}, invalid("a probe of SQL Server needs a database")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probeLimit)
		defer cancel()
	}
	p := &probe{server: s, login: l}
	if p.session, err = s.signIn(ctx, r.Dialer, l, r.Sub, "patchbay probe"); err != nil {
		return driver.ProbeResult{}, p.error(ctx, err)
	}
	defer p.session.close()
	p.result.TLS = p.session.wire.protocol()
	if err := p.session.prepare(ctx); err != nil {
		return driver.ProbeResult{}, p.error(ctx, err)
	}
	p.result.Allowed = append(p.result.Allowed, "sign in to "+driver.Quoted(r.Sub))
	if r.Access != "" {
		err = p.try(ctx, r.Access)
	}
	p.result.Took = time.Since(started)
	return p.result, p.error(ctx, err)
}

// probe is one sign-in as the application.
type probe struct {
	server  *server
	login   driver.UserPassword
	session *session
	result  driver.ProbeResult
}

// nobodys are rights that no login of ours has: to give others rights, to be others, to
// take what is others', to run something when an administrator changes something.
var nobodys = []string{
	"CONTROL", "ALTER", "TAKE OWNERSHIP", "ALTER ANY USER", "ALTER ANY ROLE", "ALTER ANY APPLICATION ROLE", "ALTER ANY ASSEMBLY", "ALTER ANY CERTIFICATE",
	"ALTER ANY DATABASE DDL TRIGGER", "BACKUP DATABASE", "CREATE ROLE",
}

// nobodysServer are those on the server.
var nobodysServer = []string{"CONTROL SERVER", "ALTER ANY LOGIN", "ALTER ANY DATABASE", "ALTER ANY CONNECTION", "VIEW SERVER STATE"}

// try has the server judge the login's rights, which it does for each without effect:
// what it grants by itself, by roles, and what it denies, all together.
func (p *probe) try(ctx context.Context, access patchbay.Access) error {
	s := p.session
	if !strings.EqualFold(s.product.user, p.login.Username) {
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.server.address(), p.login.Username).
			WithFix("the login has no user of its own in the database, and comes in as guest or as dbo: see sys.database_principals")
	}
	if s.product.readOnly && access != patchbay.Reader {
		return p.server.readOnly()
	}
	wanted := rightsOf(access)
	var asked []string
	rights := slices.Concat(rightsOf(patchbay.Owner), nobodys)
	for _, right := range rights {
		asked = append(asked, "cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'"+right+"') as int)")
	}
	if !s.product.azure() {
		for _, right := range nobodysServer {
			rights = append(rights, right+" on the server")
			asked = append(asked, "cast(has_perms_by_name(null, null, N'"+right+"') as int)")
		}
	}
	all, err := s.ask(ctx, "select "+strings.Join(asked, ", "), len(asked))
	if err != nil {
		return err
	}
	if len(all[0]) != 1 {
		return p.server.misbehaved()
	}
	var missing, excess []string
	for i, right := range rights {
		has, want := all[0][0][i] == "1", slices.Contains(wanted, right)
		switch {
		case has && want:
			p.result.Allowed = append(p.result.Allowed, right)
		case has:
			excess = append(excess, right)
		case want:
			missing = append(missing, right)
		default:
			p.result.Refused = append(p.result.Refused, right)
		}
	}
	elsewhere, err := p.elsewhere(ctx)
	if err != nil {
		return err
	}
	excess = append(excess, elsewhere...)
	switch {
	case len(missing) > 0:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, p.server.address(), strings.Join(missing, ", "))
	case len(excess) > 0:
		return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", p.login.Username, p.server.address(), strings.Join(excess, ", "))
	}
	return nil
}

// mostElsewhere is how many other databases are looked into.
const mostElsewhere = 50

// elsewhere are the other databases in which the login has a user. Those that let every
// login in, as guest, are somebody else's affair.
func (p *probe) elsewhere(ctx context.Context) ([]string, error) {
	s := p.session
	all, err := s.ask(ctx, "select cast(d.name as nvarchar(128)) from sys.databases d where has_dbaccess(d.name) = 1 and d.name <> db_name() and d.name not in (N'master', N'tempdb', N'model', N'msdb') order by d.name", 1)
	if err != nil {
		return nil, err
	}
	if len(all[0]) == 0 {
		p.result.Refused = append(p.result.Refused, "CONNECT to another database")
	}
	var found []string
	for i, row := range all[0] {
		if i == mostElsewhere {
			p.result.NotChecked = append(p.result.NotChecked, fmt.Sprintf("%d more databases that let it in", len(all[0])-i))
			break
		}
		name := driver.Quoted(row[0])
		own, err := s.ask(ctx, "select cast(count(*) as int) from "+ident(row[0])+".sys.database_principals p where p.sid = suser_sid() and p.name <> N'guest'", 1)
		switch {
		case gone(err):
		case err != nil:
			return nil, err
		case len(own[0]) != 1 || own[0][0][0] != "0":
			found = append(found, "CONNECT to the database "+name)
		default:
			p.result.NotChecked = append(p.result.NotChecked, "the database "+name+", which lets every login in as guest")
		}
	}
	return found, nil
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
	number := numberOf(err)
	if number == 0 {
		return p.server.unreachable(err)
	}
	for _, n := range numbersOf(err) {
		if code, ok := passing[n]; ok {
			return patchbay.Errorf(code, "%s: error %d", p.server.address(), n).AsTransient()
		}
	}
	text, at := fmt.Sprintf("error %d", number), p.server.address()
	switch {
	case notThere(err):
		// It says so to the administrator whether the database is there.
		return patchbay.Errorf(patchbay.LoginRefused, "%s does not let %s into the database, or there is none of that name: %s", at, p.login.Username, text).
			WithFix("see that the database is online, and that the login has a user in it")
	case oneOf(err, admitNot):
		return patchbay.Errorf(patchbay.LoginRefused, "%s does not let %s in: %s", at, p.login.Username, text)
	case mayNot(err):
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, at, text)
	}
	return patchbay.Errorf(patchbay.Internal, "%s: %s", at, text)
}
