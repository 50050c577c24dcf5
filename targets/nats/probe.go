package nats

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// probedSubjects bounds how many subjects a probe subscribes to.
const probedSubjects = 8

// facts are what a probe has to know, besides the registration.
type facts struct {
	Captured []string `json:"captured"` // subjects of the streams that it may use
}

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	for _, server := range t.advertised {
		_, address, _ := strings.Cut(server, "://")
		r.Servers = append(r.Servers, address)
	}
	if r.Access == "" {
		return r, nil
	}
	sc, err := t.scopeOf(r.Access, r.Options)
	if err != nil {
		return r, err
	}
	var f facts
	if f.Captured, _, err = t.captured(ctx, sc.streams); err != nil {
		return r, err
	}
	r.Facts, err = json.Marshal(f)
	return r, err
}

// tryLogin is the driver's Probe. A message that it published into a subject
// would reach applications and stay in streams. So what may be published is
// compared with what the server says that it allows this very connection; what
// may be subscribed to, and one of each that is forbidden, is tried.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	const what = "sign in to NATS"
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	t := &target{config: cfg}
	l, err := loginOf(r.Credential)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	if r.Access == "" {
		nc, err := t.connect(ctx, what, t.advertised, r.Dialer, l, patchbay.LoginRefused)
		if err != nil {
			return driver.ProbeResult{}, err
		}
		defer nc.Close()
		p := prober{ctx: ctx, nc: nc}
		if err := p.flush(); err != nil {
			return driver.ProbeResult{}, err
		}
		return p.result(started, []string{"sign in"}, nil), nil
	}
	var known facts
	if err := json.Unmarshal(r.Facts, &known); err != nil {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "%s: the probe was not prepared", what)
	}
	sc, err := t.scopeOf(r.Access, r.Options)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	claims, err := jwt.DecodeUserClaims(l.jwt)
	if err != nil || !nameForm.MatchString(claims.Name) {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "%s: the credential is not one that Patchbay made", what)
	}
	nc, err := t.connect(ctx, what, t.advertised, r.Dialer, l, patchbay.LoginRefused, natsgo.CustomInboxPrefix(inboxPrefix(claims.Name)))
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer nc.Close()
	p := prober{ctx: ctx, nc: nc}
	want := t.rightsOf(claims.Name, r.Access, sc, known.Captured)
	if err := p.compare(want); err != nil {
		return driver.ProbeResult{}, err
	}
	allowed := []string{"sign in"}
	for i, subject := range sc.subjects {
		if i == probedSubjects {
			break
		}
		ok, err := p.subscribe(subject)
		if err != nil {
			return driver.ProbeResult{}, err
		}
		if !ok {
			return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsMissing, "it may not subscribe to %s", subject)
		}
		allowed = append(allowed, "subscribe to "+subject)
	}
	for _, subject := range want.pub {
		allowed = append(allowed, "publish to "+subject+" (as the server says)")
	}
	// No scope covers a subject of this one token.
	nobodys := "patchbay_probe_" + rand.Text()
	var denied []string
	for verb, try := range map[string]func(string) (bool, error){"subscribe to": p.subscribe, "publish to": p.publish} {
		ok, err := try(nobodys)
		if err != nil {
			return driver.ProbeResult{}, err
		}
		if ok {
			return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it may %s subjects that nobody gave it", verb)
		}
		denied = append(denied, verb+" other subjects")
	}
	return p.result(started, allowed, sorted(denied)), nil
}

// loginOf reads what signs in: jwt and seed, or, of a login that was given,
// the content of a creds file, a user name and password, or a token.
func loginOf(c driver.Credential) (login, error) {
	value := func(name string) string {
		if v, ok := c.Secret[name]; ok {
			return v.Reveal()
		}
		return c.Public[name]
	}
	bad := func(what string) (login, error) {
		return login{}, patchbay.Errorf(patchbay.LoginRefused, "the credential has a %s that can't be used", what)
	}
	l := login{
		jwt: strings.TrimSpace(value(secretJWT)), seed: strings.TrimSpace(value(secretSeed)),
		username: value("username"), password: value("password"), token: value("token"),
	}
	creds := value("creds")
	if creds == "" && strings.Contains(l.password, "BEGIN NATS USER JWT") {
		creds = l.password
	}
	switch {
	case creds != "":
		l, err := parseCreds(creds)
		if err != nil {
			return bad("creds file")
		}
		return l, nil
	case l.jwt != "" || l.seed != "":
		if _, err := jwt.DecodeUserClaims(l.jwt); err != nil {
			return bad("JWT")
		}
		pair, err := nkeys.FromSeed([]byte(l.seed))
		if err != nil {
			return bad("seed")
		}
		if key, err := pair.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(key) {
			return bad("seed")
		}
	case l.username == "" && l.password == "" && l.token == "":
		return login{}, patchbay.Errorf(patchbay.LoginRefused, "the credential is empty")
	}
	return l, nil
}

// prober tries things on one connection.
type prober struct {
	ctx context.Context
	nc  *link
}

func (p prober) result(started time.Time, allowed, denied []string) driver.ProbeResult {
	r := driver.ProbeResult{Allowed: allowed, Refused: denied, Took: time.Since(started)}
	if state, err := p.nc.TLSConnectionState(); err == nil {
		r.TLS = tls.VersionName(state.Version)
	}
	return r
}

// flush returns when the server has judged everything that was sent.
func (p prober) flush() error {
	ctx, cancel := bounded(p.ctx)
	defer cancel()
	defer p.nc.during(ctx)()
	if err := p.nc.FlushWithContext(ctx); err != nil {
		// A server that takes a sign-in back says so before it hangs up.
		if last := p.nc.LastError(); refused(last) {
			err = last
		}
		return fault(ctx, "use NATS", err, p.nc.misbehaved(), patchbay.LoginRefused)
	}
	return nil
}

// violates reports whether the last thing tried was a violation of the
// permissions. The library sets it before it reads the answer to a flush.
func (p prober) violates(verb, subject string) bool {
	err := p.nc.LastError()
	return errors.Is(err, natsgo.ErrPermissionViolation) &&
		strings.Contains(err.Error(), " for "+verb+" ") && strings.Contains(err.Error(), strconv.Quote(subject))
}

// subscribe tries a subscription and takes it back.
func (p prober) subscribe(subject string) (bool, error) {
	s, err := p.nc.SubscribeSync(subject)
	if err != nil {
		return false, fault(p.ctx, "use NATS", err, p.nc.misbehaved(), patchbay.LoginRefused)
	}
	defer func() { _ = s.Unsubscribe() }()
	err = p.flush()
	return !p.violates("Subscription to", subject), err
}

// publish tries to send an empty message. It is for subjects that nobody has.
func (p prober) publish(subject string) (bool, error) {
	if err := p.nc.Publish(subject, nil); err != nil {
		return false, fault(p.ctx, "use NATS", err, p.nc.misbehaved(), patchbay.LoginRefused)
	}
	err := p.flush()
	return !p.violates("Publish to", subject), err
}

// compare asks the server what it allows this connection.
func (p prober) compare(want rights) error {
	const what = "ask NATS for our permissions"
	ctx, cancel := bounded(p.ctx)
	defer cancel()
	m, err := p.nc.RequestWithContext(ctx, userInfoSubject, nil)
	if err != nil {
		if p.violates("Publish to", userInfoSubject) || p.nc.IsConnected() && errors.Is(p.nc.LastError(), natsgo.ErrPermissionViolation) {
			return patchbay.Errorf(patchbay.RightsMissing, "%s: it may not", what)
		}
		return fault(ctx, what, err, p.nc.misbehaved(), patchbay.LoginRefused)
	}
	var info struct {
		Data struct {
			Permissions *struct {
				Publish   permission `json:"publish"`
				Subscribe permission `json:"subscribe"`
				Responses *struct {
					Max int `json:"max"`
				} `json:"responses"`
			} `json:"permissions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s: the answer can't be read", what)
	}
	if info.Data.Permissions == nil {
		return patchbay.Errorf(patchbay.RightsExcess, "it may do everything in its account")
	}
	have := rights{
		pub: sorted(info.Data.Permissions.Publish.Allow), pubDeny: sorted(info.Data.Permissions.Publish.Deny),
		sub: sorted(info.Data.Permissions.Subscribe.Allow), subDeny: sorted(info.Data.Permissions.Subscribe.Deny),
	}
	if r := info.Data.Permissions.Responses; r != nil {
		have.responses = r.Max
	}
	switch missing, excess := compare(want, have); {
	case len(missing) > 0:
		return patchbay.Errorf(patchbay.RightsMissing, "it lacks %d of the permissions of its access", len(missing))
	case len(excess) > 0:
		return patchbay.Errorf(patchbay.RightsExcess, "it has %d permissions that nobody gave it", len(excess))
	}
	return nil
}

type permission struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}
