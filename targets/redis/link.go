package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// link is a connection to one node, for one call of the driver.
type link struct {
	redis.Conn
	at       string
	tls      driver.TLS
	protocol string // of TLS; "" in the clear
	budget   *driver.Budget
	user     string        // who signs in
	refusal  patchbay.Code // of a sign-in that is refused
	release  func() bool
}

// handshakeLimit is how long a server may take to agree on TLS.
const handshakeLimit = 5 * time.Second

// command is one, with its arguments.
type command []any

// reply is what was answered to one.
type reply struct {
	value any
	err   error // the server's own no
}

// connect opens a connection that ends with ctx. It says nothing yet.
func (c *config) connect(ctx context.Context, d driver.Dialer, at string) (*link, error) {
	l := &link{at: at, tls: c.tls, budget: driver.NewBudget(at, driver.CallBytes)}
	l.budget.Renew(ctx)
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, l.lost(ctx, err)
	}
	l.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	w := &wire{Conn: l.budget.Conn(conn), budget: l.budget}
	if c.secured != nil {
		host, _, _ := net.SplitHostPort(at)
		secured := tls.Client(w.Conn, driver.TLSTo(c.secured, host))
		shaking, cancel := context.WithTimeout(ctx, handshakeLimit)
		defer cancel()
		if err := secured.HandshakeContext(shaking); err != nil {
			e := l.lost(shaking, err)
			if errors.Is(ctx.Err(), context.Canceled) {
				e = l.lost(ctx, err)
			}
			l.release()
			_ = conn.Close()
			// One without TLS takes the handshake for the beginning of a command.
			if hop := driver.HopOf(e); hop == driver.HopTLS || e.Code == patchbay.Timeout {
				e.Fix = "a server without TLS is registered as redis://" + at + "; one that asks every client for a certificate needs tls-auth-clients optional"
			}
			return nil, e
		}
		l.protocol = tls.VersionName(secured.ConnectionState().Version)
		w.Conn = secured
	}
	l.Conn = redis.NewConn(w, 0, 0)
	return l, nil
}

func (l *link) close() {
	l.release()
	_ = l.Close()
	l.budget.End()
}

// signIn sends the login, and whatever else is to be asked, in one round trip. Where TLS
// says nothing of who answers, whoever registered the server said so.
func (l *link) signIn(ctx context.Context, u driver.UserPassword, refusal patchbay.Code, more ...command) ([]reply, error) {
	l.user, l.refusal = u.Username, refusal
	login := command{"AUTH", u.Username, u.Password.Reveal()}
	if u.Username == "" {
		login = command{"AUTH", u.Password.Reveal()}
	}
	all, err := l.ask(ctx, append([]command{login}, more...)...)
	if err != nil {
		return nil, err
	}
	if all[0].err != nil {
		return nil, l.fault(ctx, "sign in", all[0].err)
	}
	return all[1:], nil
}

// ask sends commands in one round trip. A refusal of one is in its reply; the error is
// of the connection.
func (l *link) ask(ctx context.Context, commands ...command) ([]reply, error) {
	for _, c := range commands {
		name, _ := c[0].(string)
		if err := l.Send(name, c[1:]...); err != nil {
			return nil, l.lost(ctx, err)
		}
	}
	if err := l.Flush(); err != nil {
		return nil, l.lost(ctx, err)
	}
	all := make([]reply, len(commands))
	for i := range commands {
		value, err := l.Receive()
		if said := redis.Error(""); err != nil && !errors.As(err, &said) {
			return nil, l.lost(ctx, err)
		}
		// A server that is busy or loads its data says so to every command, and nothing
		// else that is asked means anything.
		if hindered(err) {
			return nil, l.fault(ctx, "", err)
		}
		all[i] = reply{value, err}
	}
	return all, nil
}

// must is ask for commands of which none may be refused; what is what they are for.
func (l *link) must(ctx context.Context, what string, commands ...command) ([]any, error) {
	all, err := l.ask(ctx, commands...)
	if err != nil {
		return nil, err
	}
	values := make([]any, len(all))
	for i, r := range all {
		if r.err != nil {
			return nil, l.fault(ctx, what, r.err)
		}
		values[i] = r.value
	}
	return values, nil
}

// lost says what an error of the connection means.
func (l *link) lost(ctx context.Context, err error) *patchbay.Error {
	var already *patchbay.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case l.budget.Fault() != nil:
		return l.budget.Fault()
	case errors.As(err, &already):
		return already
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no answer from %s in time", l.at).AsTransient()
	case strings.HasPrefix(err.Error(), "redigo: ") && !errors.Is(err, net.ErrClosed):
		return patchbay.Errorf(patchbay.TargetMisbehaved, "%s does not answer as Redis does", l.at).
			WithFix("see what listens on %s", l.at)
	}
	e := l.tls.DialError(err, l.at)
	switch host, _, _ := net.SplitHostPort(l.at); {
	case e.Code == patchbay.NameNotResolved: // it was registered, so it will have an address again
		e = e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", host)
	case e.Code == patchbay.PortClosed:
		e.Fix = "see that the server runs, and its bind and port"
	case e.Code == patchbay.CertificateInvalid && e.Fix == "":
		e.Fix = driver.CertificateFix(e, "the property tls.serverName", "the property tls.ca")
	}
	if driver.HopOf(e) == driver.HopEnd && l.protocol == "" && l.tls.Mode == driver.TLSDisable && l.user != "" {
		e.Fix = "if the server speaks TLS on this port, register it as rediss://"
	}
	return e
}

// The first words of an error of the server, which are its code.
func codeOf(err error) string {
	var said redis.Error
	if !errors.As(err, &said) {
		return ""
	}
	code, _, _ := strings.Cut(string(said), " ")
	return code
}

// hindered reports that the server answers so to whatever it is asked.
func hindered(err error) bool {
	switch codeOf(err) {
	case "LOADING", "BUSY", "DENIED":
		return true
	}
	return says(err, "max number of clients reached")
}

// forbidden reports that the user may not do that.
func forbidden(err error) bool { return codeOf(err) == "NOPERM" }

// unknown reports that the server has no such command, or somebody renamed it.
func unknown(err error) bool {
	return codeOf(err) == "ERR" && says(err, "unknown command", "unknown subcommand")
}

// says reports whether the server's words have one of these in them: it has one code
// for most errors.
func says(err error, words ...string) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// fault says what the server's no means, in our words. What it said itself is beside
// it where the administrator asked.
func (l *link) fault(ctx context.Context, what string, err error) *patchbay.Error {
	if said := redis.Error(""); !errors.As(err, &said) {
		return l.lost(ctx, err)
	}
	e := l.meaning(err)
	if what != "" {
		e.Message = what + ": " + e.Message
	}
	if l.refusal == patchbay.AdminRefused {
		e.Said = err.Error()
	}
	return e
}

func (l *link) meaning(err error) *patchbay.Error {
	admin := l.refusal == patchbay.AdminRefused
	switch code := codeOf(err); {
	case code == "LOADING":
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s is loading its data", l.at).AsTransient()
	case code == "BUSY":
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s is busy with a script", l.at).AsTransient().
			WithFix("end the script: SCRIPT KILL")
	case code == "DENIED":
		return patchbay.Errorf(l.refusal, "%s is in protected mode: it talks to its own machine alone, for its default user has no password", l.at).
			WithFix("give it one: ACL SETUSER default resetpass >PASSWORD")
	case says(err, "max number of clients reached"):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s has as many connections as it allows", l.at).AsTransient().
			WithFix("see who has them: CLIENT LIST; CONFIG SET maxclients")
	case code == "WRONGPASS", code == "NOAUTH", says(err, "invalid password", "invalid username-password"):
		e := patchbay.Errorf(l.refusal, "%s does not let %s in: its name or password is wrong, or it is off", l.at, named(l.user))
		if admin {
			return e.WithFix("register the server again with an admin credential that signs in")
		}
		return e
	case says(err, "without any password configured", "no password is set"):
		e := patchbay.Errorf(l.refusal, "%s has no password for %s: everybody may sign in as that", l.at, named(l.user))
		if admin {
			return e.WithFix("give it one: ACL SETUSER %s resetpass >PASSWORD", named(l.user))
		}
		return e
	case says(err, "wrong number of arguments for 'auth'"):
		return tooOld(l.at, "5 or older")
	case forbidden(err) && admin:
		return patchbay.Errorf(patchbay.AdminRights, "the administrator %s may not do what is needed on %s", named(l.user), l.at).
			WithFix("%s", grant(l.user, neededCommands()))
	case forbidden(err):
		return patchbay.Errorf(patchbay.RightsMissing, "%s may not do that on %s", named(l.user), l.at)
	case unknown(err) && admin:
		return patchbay.Errorf(patchbay.NotSupported, "%s does not let users be administered by its own commands", l.at).
			WithFix("where an API of the provider makes the users, register it as external: patchbay resource add external NAME --kind redis")
	case code == "READONLY", code == "MASTERDOWN":
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s is a replica", l.at).WithFix("register the primary")
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers with an error that is not known", l.at)
}

// tooOld is said of a server before version 7.0.
func tooOld(at, version string) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotSupported, "%s is Redis %s, and logins are made from version 7.0: before it a user can't be held to reading, nor bear a mark", at, driver.Quoted(version)).
		WithFix("upgrade the server, or register it as external: patchbay resource add external NAME --kind redis")
}

func named(user string) string {
	if user == "" {
		user = defaultUser
	}
	return driver.Quoted(user)
}
