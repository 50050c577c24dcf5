package rabbitmq

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	probeLimit  = 20 * time.Second // of a probe whose context has no deadline
	maxFrame    = 128 << 10        // bytes; the product's own default
	maxReceived = 1 << 20          // bytes in one probe
	probedNames = 8                // of queues and exchanges, at most
	heartbeat   = 30 * time.Second
)

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	for _, s := range t.servers {
		r.Servers = append(r.Servers, s.Address())
	}
	return r, nil
}

// tryLogin is the driver's Probe. What it tries for a right, it asks in a way that the
// server refuses after it has looked at the right: no message is sent or received but
// its own, nothing is declared but a queue of its own, which ends with the connection.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	vhost, err := vhostOf(r.Sub)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	var want rights
	if r.Access != "" {
		s, err := scopeOf(r.Access, r.Options)
		if err != nil {
			return driver.ProbeResult{}, err
		}
		want = rightsOf(r.Access, s)
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	p, err := cfg.signIn(ctx, r, vhost)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer p.close()
	result := driver.ProbeResult{Allowed: []string{"sign in"}, TLS: p.protocol}
	if r.Access == "" {
		result.Took = time.Since(started)
		return result, nil
	}
	if err := p.roundTrip(&result, want); err != nil {
		return driver.ProbeResult{}, err
	}
	for _, name := range want.samples() {
		if err := p.compare(&result, want, name); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	elsewhere := "/"
	if vhost == elsewhere {
		elsewhere = "patchbay-probe-" + rand.Text()
	}
	other, err := cfg.signIn(ctx, r, elsewhere)
	switch {
	case err == nil:
		other.close()
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it may enter the virtual host %s, which nobody gave it", elsewhere)
	case patchbay.CodeOf(err) == patchbay.RightsMissing:
		result.Refused = append(result.Refused, "enter another virtual host")
	default:
		return driver.ProbeResult{}, err
	}
	result.Took = time.Since(started)
	return result, nil
}

// samples are names that the rights are tried with: of what they are for, and one that
// nobody has.
func (r rights) samples() []string {
	var named []string
	for _, names := range r.names {
		named = append(named, names...)
	}
	named = slices.DeleteFunc(sorted(named), func(name string) bool { return name == temporary })
	named = named[:min(len(named), probedNames)]
	for i, name := range named {
		named[i] = strings.ReplaceAll(name, "*", "patchbay-probe-"+rand.Text())
		if len(named[i]) > maxName {
			named[i] = strings.ReplaceAll(name, "*", "")
		}
	}
	return append(named, "patchbay-probe-"+rand.Text())
}

// covers reports whether a list of rights.names has a name.
func covers(names []string, name string) bool {
	if names == nil {
		return true
	}
	return slices.ContainsFunc(names, func(pattern string) bool { return matches(pattern, name) })
}

// matches reports whether a name is as a pattern has it, in which * stands for any
// characters.
func matches(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	if name, wild = strings.CutPrefix(name, first); !wild {
		return false
	}
	for i := 0; i <= len(name); i++ {
		if matches(rest, name[i:]) {
			return true
		}
	}
	return false
}

// prober is a connection as the login.
type prober struct {
	ctx      context.Context
	conn     *amqp.Connection
	budget   *driver.Budget
	address  string
	tls      driver.TLS
	username string
	protocol string
	stop     func() bool
}

func (p *prober) close() {
	p.stop()
	_ = p.conn.CloseDeadline(time.Now().Add(time.Second))
}

// signIn connects to the first of the servers that can be connected to. A virtual host
// that it may not enter is RightsMissing.
func (c *config) signIn(ctx context.Context, r driver.ProbeRequest, vhost string) (*prober, error) {
	l := loginIn(r.Credential)
	if l.Username == "" {
		return nil, patchbay.Errorf(patchbay.LoginRefused, "the credential has no name to sign in with")
	}
	var failed error
	for _, address := range r.Servers {
		p, connected, err := c.signInAt(ctx, r, address, vhost, l)
		if err == nil {
			return p, nil
		}
		if failed = err; connected || ctx.Err() != nil {
			break
		}
	}
	if failed == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the probe was not prepared")
	}
	return nil, failed
}

// loginIn is what a credential signs in with.
func loginIn(c driver.Credential) driver.UserPassword {
	name := c.Public["username"]
	if secret, ok := c.Secret["username"]; ok {
		name = secret.Reveal()
	}
	return driver.UserPassword{Username: name, Password: c.Secret["password"]}
}

func (c *config) signInAt(ctx context.Context, r driver.ProbeRequest, address, vhost string, l driver.UserPassword) (p *prober, connected bool, err error) {
	asked := address
	if r.Asked != "" {
		asked = r.Asked
	}
	p = &prober{ctx: ctx, budget: driver.NewBudget(asked, maxReceived), address: asked, tls: c.tls.ReadBy(r.Reading), username: l.Username}
	p.budget.Renew(ctx)
	raw, err := r.Dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, false, p.fault(err)
	}
	// The library knows no contexts: a connection that is closed ends what it waits for.
	p.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn := p.budget.Conn(raw)
	host, _, _ := net.SplitHostPort(address)
	encryption, err := c.encryption(host, r.Reading)
	if err != nil {
		return nil, true, p.ended(raw, err)
	}
	if encryption != nil {
		secured := tls.Client(conn, encryption)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, true, p.ended(raw, err)
		}
		conn, p.protocol = secured, tls.VersionName(secured.ConnectionState().Version)
	}
	properties := amqp.Table{"product": "patchbay", "connection_name": "patchbay probe"}
	p.conn, err = amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{&plain{amqp.PlainAuth{Username: l.Username, Password: l.Password.Reveal()}, properties}}, Vhost: vhost,
		FrameSize: maxFrame, ChannelMax: 16, Heartbeat: heartbeat, Locale: "en_US", Properties: properties,
	})
	if err != nil {
		return nil, true, p.ended(raw, err)
	}
	return p, true, nil
}

// plain has the server say that it refuses a sign-in, instead of hanging up without a
// word three seconds later. The library has no other place to ask for it.
type plain struct {
	amqp.PlainAuth
	properties amqp.Table
}

func (a *plain) Response() string {
	if capabilities, ok := a.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return a.PlainAuth.Response()
}

// ended closes a connection that did not come to be a session, and says why.
func (p *prober) ended(conn net.Conn, err error) error {
	failed := p.fault(err)
	p.stop()
	_ = conn.Close()
	return failed
}

// fault says what an error of a connection means, in words of ours.
func (p *prober) fault(err error) error {
	var said *amqp.Error
	switch {
	case p.budget.Fault() != nil:
		return p.budget.Fault()
	case errors.Is(p.ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case p.ctx.Err() != nil:
		return patchbay.Errorf(patchbay.Timeout, "%s does not answer in time", p.address).AsTransient()
	case errors.As(err, &said) && said.Server:
		return p.refusal(said)
	case errors.As(err, &said), errors.Is(err, amqp.ErrClosed), errors.Is(err, io.EOF):
		if said != nil && said.Code == amqp.ErrSASL.Code && said.Reason == amqp.ErrSASL.Reason {
			return patchbay.Errorf(patchbay.NotSupported, "%s lets nobody sign in with a password (PLAIN)", p.address).
				WithFix("have auth_mechanisms in rabbitmq.conf list PLAIN")
		}
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s ends the connection, or does not speak AMQP 0-9-1", p.address).AsTransient()
	}
	e := p.tls.DialError(err, p.address)
	if e.Code == patchbay.CertificateInvalid {
		e = e.WithFix("%s", certificateFix(e))
	}
	e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
	return e
}

// refusal says what a connection was ended for.
func (p *prober) refusal(said *amqp.Error) error {
	switch said.Code {
	case amqp.AccessRefused:
		return patchbay.Errorf(patchbay.LoginRefused, "%s refuses the login", p.address)
	case amqp.NotAllowed:
		if strings.Contains(said.Reason, "limit") {
			return patchbay.Errorf(patchbay.TargetUnreachable, "%s has as many connections as the login, or the virtual host, may have", p.address).AsTransient()
		}
		return patchbay.Errorf(patchbay.RightsMissing, "it may not enter its virtual host, or there is none of that name")
	case amqp.ConnectionForced:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s closes its connections: it stops, or somebody had it close this one", p.address).AsTransient()
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s ends the connection (AMQP %d)", p.address, said.Code).AsTransient()
}

// on runs f on a channel of its own, and gives the code that the server closed it with;
// 0 when it did not.
func (p *prober) on(f func(*amqp.Channel) error) (code int, err error) {
	ch, err := p.conn.Channel()
	if err != nil {
		return 0, p.fault(err)
	}
	ended := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err = f(ch); err == nil {
		return 0, closed(ch.Close())
	}
	if errors.Is(err, amqp.ErrClosed) { // which may be all that the library says of it
		select {
		case e := <-ended:
			if e != nil {
				err = e
			}
		case <-p.ctx.Done():
		}
	}
	var said *amqp.Error
	if errors.As(err, &said) && said.Server && said.Recover {
		return said.Code, nil
	}
	return 0, p.fault(err)
}

// closed is nil for what is closed already.
func closed(err error) error {
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return err
}

// roundTrip does an application's work in a queue of its own: it declares it, sends a
// message through it where it may, and takes what is there.
func (p *prober) roundTrip(result *driver.ProbeResult, want rights) error {
	sends := covers(want.names[1], defaultExchange)
	step := "declare a queue of its own"
	code, err := p.on(func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return err
		}
		result.Allowed = append(result.Allowed, step)
		if sends {
			step = "send a message to it"
			if err := ch.Confirm(false); err != nil {
				return err
			}
			confirmed := ch.NotifyPublish(make(chan amqp.Confirmation, 1))
			if err := ch.PublishWithContext(p.ctx, "", q.Name, false, false, amqp.Publishing{Body: []byte("patchbay")}); err != nil {
				return err
			}
			select {
			case _, ok := <-confirmed:
				if !ok {
					return amqp.ErrClosed
				}
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
			result.Allowed = append(result.Allowed, step)
		}
		step = "take messages from it"
		if _, _, err := ch.Get(q.Name, true); err != nil {
			return err
		}
		result.Allowed = append(result.Allowed, step)
		return nil
	})
	switch {
	case err != nil:
		return err
	case code == amqp.AccessRefused:
		return patchbay.Errorf(patchbay.RightsMissing, "it may not %s", step)
	case code != 0:
		result.NotChecked = append(result.NotChecked, step+": the server does not do it at the moment")
	}
	return nil
}

// compare tries a name with each of the verbs.
func (p *prober) compare(result *driver.ProbeResult, want rights, name string) error {
	shown := driver.Quoted(name)
	if strings.Contains(name, "patchbay-probe-") {
		shown = "what has another name"
		if covers(want.names[2], name) && want.names[2] != nil || covers(want.names[1], name) && want.names[1] != nil {
			shown = "what its * stands for"
		} else if want.names[2] == nil {
			shown = "everything"
		}
	}
	for i, verb := range verbs {
		if name == defaultExchange && verb != "write" {
			continue // there is nothing to declare or to read
		}
		may := covers(want.names[i], name)
		does, err := p.tries(verb, name, want.keyAt(name))
		switch {
		case err != nil:
			return err
		case may && !does:
			return patchbay.Errorf(patchbay.RightsMissing, "it may not %s %s", verb, shown)
		case does && !may:
			return patchbay.Errorf(patchbay.RightsExcess, "it may %s %s, which nobody gave it", verb, shown)
		case does:
			result.Allowed = append(result.Allowed, verb+" "+shown)
		default:
			result.Refused = append(result.Refused, verb+" "+shown)
		}
	}
	if want.keyAt(name) == "" || !covers(want.names[1], name) {
		return nil
	}
	return p.otherKey(result, name)
}

// keyAt is a routing key that the login may use at an exchange; "" is any.
func (r rights) keyAt(exchange string) string {
	if !slices.ContainsFunc(r.topics, func(p topicPermission) bool { return p.Exchange == exchange }) {
		return ""
	}
	return r.key
}

// otherKey tries a routing key that nobody gave it.
func (p *prober) otherKey(result *driver.ProbeResult, exchange string) error {
	code, err := p.on(func(ch *amqp.Channel) error { return p.publish(ch, exchange, "patchbay-probe-"+rand.Text()) })
	switch {
	case err != nil:
		return err
	case code == amqp.NotFound:
		result.NotChecked = append(result.NotChecked, "other routing keys: there is no exchange "+driver.Quoted(exchange))
	case code == amqp.AccessRefused:
		result.Refused = append(result.Refused, "use another routing key at "+driver.Quoted(exchange))
	default:
		return patchbay.Errorf(patchbay.RightsExcess, "it may use every routing key at %s", driver.Quoted(exchange))
	}
	return nil
}

const noNumber = "patchbay" // for an argument that should be one

// tries asks for what the server does not do for any login, and says no to those that
// may not before it says no to all: to declare a queue, and to consume one, with
// arguments that are none, and to publish in somebody else's name.
func (p *prober) tries(verb, name, key string) (may bool, err error) {
	code, err := p.on(func(ch *amqp.Channel) error {
		switch verb {
		case "configure":
			_, err := ch.QueueDeclare(name, false, true, false, false, amqp.Table{"x-message-ttl": noNumber})
			return err
		case "read":
			_, err := ch.ConsumeWithContext(p.ctx, name, "", false, false, false, false, amqp.Table{"x-priority": noNumber})
			return err
		}
		if key == "" {
			key = "patchbay-probe-" + rand.Text()
		}
		return p.publish(ch, name, key)
	})
	if err != nil {
		return false, err
	}
	return code != amqp.AccessRefused, nil
}

// publish has the server refuse a message, whatever the login may.
func (p *prober) publish(ch *amqp.Channel, exchange, key string) error {
	if exchange == defaultExchange {
		exchange = ""
	}
	if err := ch.PublishWithContext(p.ctx, exchange, key, false, false, amqp.Publishing{UserId: p.username + "-not", Expiration: noNumber}); err != nil {
		return err
	}
	return ch.Qos(1, 0, false) // is answered after it
}
