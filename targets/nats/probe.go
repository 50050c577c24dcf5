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

// probedSubjects bounds how many subjects, and streams, a probe tries.
const probedSubjects = 8

// facts are what a probe has to know, besides the registration.
type facts struct {
	Captured []string `json:"captured"` // subjects of the streams that it may use
	// Scoped says that its signing key limits it. Missing and Excess are what the
	// limits lack and have beyond its access.
	Scoped  bool     `json:"scoped"`
	Missing []string `json:"missing,omitempty"`
	Excess  []string `json:"excess,omitempty"`
}

// PrepareProbe implements [driver.Target]. What the login may publish is asked
// of the account here: a login that may ask the server itself may have the answer
// published anywhere.
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
	_, a, err := t.read(ctx)
	if err != nil {
		return r, err
	}
	var f facts
	if f.Captured, _, err = t.captured(ctx, sc.streams); err != nil {
		return r, err
	}
	// What is no login of ours the probe itself says.
	if claims, err := claimsOf(r.Credential); err == nil {
		have, scoped, err := a.rightsOf(claims.Issuer)
		if err != nil {
			return r, patchbay.Errorf(patchbay.NotSupported, "the scope of %s can't be read", claims.Name).WithSaid(err.Error())
		}
		want := t.rightsOf(claims.Name, r.Access, sc, f.Captured)
		f.Scoped = scoped
		f.Missing, f.Excess = compare(want, have)
	}
	r.Facts, err = json.Marshal(f)
	return r, err
}

// claimsOf reads the JWT of a credential that Patchbay made.
func claimsOf(c driver.Credential) (*jwt.UserClaims, error) {
	l, err := loginOf(c)
	if err != nil {
		return nil, err
	}
	claims, err := jwt.DecodeUserClaims(l.jwt)
	if err != nil || !nameForm.MatchString(claims.Name) {
		return nil, patchbay.Errorf(patchbay.LoginRefused, "the credential is not one that Patchbay made")
	}
	return claims, nil
}

// tryLogin is the driver's Probe. A message that it published into a subject
// would reach applications and stay in streams. So what may be published is
// compared with what the account says of its signing key; what may be subscribed
// to, whether it may look at its streams, and one of each that is forbidden, is
// tried.
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
	claims, err := claimsOf(r.Credential)
	if err != nil {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "%s: the credential is not one that Patchbay made", what)
	}
	nc, err := t.connect(ctx, what, t.advertised, r.Dialer, l, patchbay.LoginRefused)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer nc.Close()
	p := prober{ctx: ctx, nc: nc}
	if err := p.flush(); err != nil {
		return driver.ProbeResult{}, err
	}
	switch {
	case !known.Scoped:
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it may do everything in its account")
	case len(known.Missing) > 0:
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsMissing, "it lacks %d of the permissions of its access", len(known.Missing))
	case len(known.Excess) > 0:
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it has %d permissions that nobody gave it", len(known.Excess))
	}
	allowed := []string{"sign in"}
	for _, trial := range []struct {
		verb     string
		subjects []string
		subject  func(string) string
		try      func(string) (bool, error)
	}{
		{"subscribe to ", sc.subjects, func(s string) string { return s }, p.subscribe},
		{"look at the stream ", sc.streams, func(s string) string { return "$JS.API.STREAM.INFO." + s }, p.publish},
	} {
		for _, name := range trial.subjects[:min(len(trial.subjects), probedSubjects)] {
			ok, err := trial.try(trial.subject(name))
			if err != nil {
				return driver.ProbeResult{}, err
			}
			if !ok {
				return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsMissing, "it may not %s%s", trial.verb, name)
			}
			allowed = append(allowed, trial.verb+name)
		}
	}
	for _, subject := range t.rightsOf(claims.Name, r.Access, sc, known.Captured).pub {
		allowed = append(allowed, "publish to "+subject+" (as the account says)")
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

// publish tries to send an empty message. It is for subjects that nobody has, and
// for questions: with nowhere to send the answer to, they have no effect.
func (p prober) publish(subject string) (bool, error) {
	if err := p.nc.Publish(subject, nil); err != nil {
		return false, fault(p.ctx, "use NATS", err, p.nc.misbehaved(), patchbay.LoginRefused)
	}
	err := p.flush()
	return !p.violates("Publish to", subject), err
}
