package driver

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
)

// DefaultTimeout bounds a call of a driver whose caller's context does not.
const DefaultTimeout = 30 * time.Second

// Guard is what is added to every driver: a bound on time, a span and a
// measurement for each call, and errors from which the secrets that went in
// are taken out. The zero Guard only bounds and redacts.
type Guard struct {
	Name    string        // of the driver
	Timeout time.Duration // 0: DefaultTimeout
	Admin   Secrets       // never shown in an error
	// Observe is told of every call; code is "" when it succeeded.
	Observe func(driver, method string, took time.Duration, code patchbay.Code)
	// Isolate runs the driver's Probe apart from this process; nil: in it.
	Isolate Isolator
	// Share is in whose part of what all calls share they are, from the outside in.
	Share []string
	// Replaced is asked when the administrator is refused: whether its credential was
	// replaced since the target was opened. The call is then worth repeating, with what
	// is opened anew. It may wait for a replacement that is under way; nil: it never is.
	Replaced func(ctx context.Context) bool
}

// Isolator runs the Probe of d, the driver of that name, where nothing that a
// server answers can hurt this process. TargetMisbehaved is its finding.
type Isolator interface {
	Probe(ctx context.Context, name string, d TargetDriver, c Config, r ProbeRequest) (ProbeResult, error)
}

// OpenTarget opens d and wraps what it gives.
func (g Guard) OpenTarget(ctx context.Context, d TargetDriver, c Config) (*GuardedTarget, error) {
	var t Target
	err := g.call(ctx, "Open", nil, func(ctx context.Context) (err error) {
		if t, err = d.Open(ctx, c); err != nil {
			return err
		}
		if _, administers := t.(Administrator); administers != d.Administers() {
			return patchbay.Errorf(patchbay.Internal, "the driver makes logins, or it does not: what it describes and what it opens differ")
		}
		if _, rotates := t.(AdminRotator); d.Administers() && d.Logins.RotatesAdmin && !rotates {
			return patchbay.Errorf(patchbay.Internal, "the driver describes that the administrator's credential can be replaced, and what it opens can't")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g.Target(d, c, t), nil
}

// OpenSource opens d and wraps what it gives.
func (g Guard) OpenSource(ctx context.Context, d SourceDriver, c Config) (*GuardedSource, error) {
	var s Source
	err := g.call(ctx, "Open", nil, func(ctx context.Context) (err error) {
		if s, err = d.Open(ctx, c); err != nil {
			return err
		}
		if _, keeps := s.(Keeper); keeps != d.Keeps {
			return patchbay.Errorf(patchbay.Internal, "the driver keeps what it replaces, or it does not: what it says and what it opens differ")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g.Source(s), nil
}

// Discover searches with d. What it finds is nobody's secret but Revealed, which no
// error shows.
func (g Guard) Discover(ctx context.Context, d SourceDriver, c Config, reveal func(Found) Reveal) ([]Found, error) {
	var found []Found
	err := g.call(ctx, "Discover", nil, func(ctx context.Context) (err error) {
		found, err = d.Discover(ctx, c, reveal)
		return err
	})
	return found, err
}

// OpenHost opens d. A host is used by drivers, whose calls are bounded and redacted.
func (g Guard) OpenHost(ctx context.Context, d HostDriver, c Config) (hosts.Remote, error) {
	var h hosts.Remote
	err := g.call(ctx, "Open", nil, func(ctx context.Context) (err error) {
		h, err = d.Open(ctx, c)
		return err
	})
	return h, err
}

// OpenNetwork opens d for a target and wraps what it gives. No error shows the
// target's admin credential either.
func (g Guard) OpenNetwork(ctx context.Context, d NetworkDriver, c Config, guarded Config) (*GuardedNetwork, error) {
	var n Network
	err := g.call(ctx, "Open", guarded.Admin, func(ctx context.Context) (err error) {
		n, err = d.Open(ctx, c, guarded)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &GuardedNetwork{g: g, n: n, secrets: guarded.Admin, anyTo: d.AnyTo}, nil
}

// Target wraps t, which d opened with c.
func (g Guard) Target(d TargetDriver, c Config, t Target) *GuardedTarget {
	return &GuardedTarget{g: g, d: d, c: c.forProbe(), t: t}
}

// Source wraps s.
func (g Guard) Source(s Source) *GuardedSource { return &GuardedSource{g: g, s: s} }

// call runs f, which is t's method.
func (g Guard) call(ctx context.Context, method string, secrets Secrets, f func(context.Context) error) error {
	return g.callWithin(ctx, cmp.Or(g.Timeout, DefaultTimeout), method, secrets, f)
}

func (g Guard) callWithin(ctx context.Context, timeout time.Duration, method string, secrets Secrets, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callerKey{}, g.Share), timeout)
	defer cancel()
	ctx, span := otel.Tracer("patchbay.dev/patchbay/driver").Start(ctx, g.Name+"."+method,
		trace.WithAttributes(attribute.String("patchbay.driver", g.Name)))
	defer span.End()
	start := time.Now()
	err := g.redact(f(ctx), secrets)
	if patchbay.CodeOf(err) == patchbay.AdminRefused && g.Replaced != nil && g.Replaced(ctx) {
		e := *patchbay.AsError(err)
		e.Message += "; that credential was replaced meanwhile"
		e.Fix, e.Transient = "try again", true
		err = &e
	}
	code := patchbay.CodeOf(err)
	if g.Observe != nil {
		g.Observe(g.Name, method, time.Since(start), code)
	}
	if err != nil {
		span.SetStatus(codes.Error, string(code)) // the code only: a message may name what is nobody's business
	}
	return err
}

// redact gives err with every secret in its words replaced, and without its
// cause, whose words may be anybody's, unless it is a [Hop]. An error without a code becomes one: a
// driver that was cut off by its context timed out, and may have had its effect.
func (g Guard) redact(err error, secrets Secrets) error {
	if err == nil {
		return nil
	}
	var e *patchbay.Error
	if !errors.As(err, &e) {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			e = patchbay.Errorf(patchbay.Timeout, "no answer in time").AsTransient()
		case errors.Is(err, context.Canceled):
			e = patchbay.Errorf(patchbay.Canceled, "stopped").AsTransient()
		default:
			e = patchbay.Errorf(patchbay.Internal, "the driver met something that it has no words for")
		}
		e.Said = err.Error()
	}
	clean := *e
	clean.Err = nil
	if hop := HopOf(e); hop != "" {
		clean.Err = hop
	}
	var all []patchbay.Secret
	for _, set := range []Secrets{g.Admin, secrets} {
		for name, s := range set {
			if name != "username" { // it came with a secret, and is none
				all = append(all, s)
			}
		}
	}
	// The longest first: one that begins another would leave the other's end.
	slices.SortFunc(all, func(a, b patchbay.Secret) int { return len(b.Reveal()) - len(a.Reveal()) })
	for _, s := range all {
		for _, text := range []*string{&clean.Op, &clean.Message, &clean.Subject, &clean.Fix, &clean.Said} {
			*text = redactText(*text, s)
		}
	}
	clean.Said = Quoted(clean.Said)
	// Only now: half of a secret is none that would be found.
	clean.Message, clean.Subject, clean.Fix = clip(clean.Message), clip(clean.Subject), clip(clean.Fix)
	return &clean
}

// redactText takes a secret out of a text, in every form that an error may quote it
// in: as it is, escaped, or one line of several.
func redactText(text string, s patchbay.Secret) string {
	plain := s.Reveal()
	if plain == "" {
		return text
	}
	forms := []string{plain, strings.Trim(strconv.Quote(plain), `"`), url.QueryEscape(plain), url.PathEscape(plain)}
	if strings.Contains(plain, "\n") {
		for line := range strings.Lines(plain) {
			// What is short or a heading is in every file of its kind.
			if line = strings.TrimSpace(line); len(line) >= 16 && !strings.HasPrefix(line, "--") {
				forms = append(forms, line)
			}
		}
	}
	for _, form := range forms {
		if len(form) >= 4 {
			text = strings.ReplaceAll(text, form, s.String())
			continue
		}
		// Something so short is a part of many words: only where it is a word.
		if word, err := regexp.Compile(`(^|[^\pL\pN])` + regexp.QuoteMeta(form) + `($|[^\pL\pN])`); err == nil {
			text = word.ReplaceAllString(text, "${1}"+s.String()+"${2}")
		}
	}
	return text
}

// GuardedTarget is a target with what a [Guard] adds, and with its driver's
// Probe. On a target that is no [Administrator] there is no login of ours:
// none can be made, and none has to be removed.
type GuardedTarget struct {
	g Guard
	d TargetDriver
	c Config // what a probe may know of it
	t Target
}

// A method of these interfaces that a wrapper has not is one that nobody bounds:
// it does not compile.
var (
	_ interface {
		Administrator
		RemovalChecker
		AdminRotator
		GivenLogins
		RegisteredLogins
		WarnedLogins
	} = (*GuardedTarget)(nil)
	_ interface {
		Source
		Restarter
		Keeper
		Vantage
		Watcher
	} = (*GuardedSource)(nil)
	_ Network = (*GuardedNetwork)(nil)
)

// administrator is the target as one.
func (w *GuardedTarget) administrator() (Administrator, error) {
	if t, ok := w.t.(Administrator); ok {
		return t, nil
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "%s is not administered by Patchbay, and no login can be made there", w.c.ID.Name()).
		WithFix("give the connection a login, or register one with the resource")
}

// Inspect is [Target].Inspect.
func (w *GuardedTarget) Inspect(ctx context.Context, sub string) (info TargetInfo, err error) {
	err = w.g.call(ctx, "Inspect", nil, func(ctx context.Context) (err error) {
		info, err = w.t.Inspect(ctx, sub)
		return err
	})
	if _, administers := w.t.(Administrator); administers && err != nil {
		return TargetInfo{}, err // what is administered from here is reached from here
	}
	info.Version = Quoted(info.Version)
	return info.bounded(), err
}

// NewCredential is [Administrator].NewCredential.
func (w *GuardedTarget) NewCredential(ctx context.Context, r LoginRequest) (c Credential, err error) {
	err = w.g.call(ctx, "NewCredential", r.Credential.Secret, func(ctx context.Context) (err error) {
		t, err := w.administrator()
		if err == nil {
			c, err = t.NewCredential(ctx, r)
		}
		return err
	})
	return c, err
}

// Beyond is [WarnedLogins].Beyond; of any other target there is nothing to say.
func (w *GuardedTarget) Beyond(ctx context.Context, r LoginRequest) (beyond []string, err error) {
	t, ok := w.t.(WarnedLogins)
	if !ok {
		return nil, nil
	}
	err = w.g.call(ctx, "Beyond", r.Credential.Secret, func(ctx context.Context) (err error) {
		beyond, err = t.Beyond(ctx, r)
		return err
	})
	return few(beyond), err
}

// EnsureLogin is [Administrator].EnsureLogin.
func (w *GuardedTarget) EnsureLogin(ctx context.Context, r LoginRequest) error {
	return w.g.call(ctx, "EnsureLogin", r.Credential.Secret, func(ctx context.Context) error {
		t, err := w.administrator()
		if err != nil {
			return err
		}
		return t.EnsureLogin(ctx, r)
	})
}

// InspectLogin is [Administrator].InspectLogin.
func (w *GuardedTarget) InspectLogin(ctx context.Context, r LoginRequest) (state LoginState, err error) {
	err = w.g.call(ctx, "InspectLogin", r.Credential.Secret, func(ctx context.Context) (err error) {
		if t, ok := w.t.(Administrator); ok {
			state, err = t.InspectLogin(ctx, r)
		}
		return err
	})
	state.Missing, state.Excess = few(state.Missing), few(state.Excess)
	for _, rights := range [][]string{state.Missing, state.Excess} {
		for i, name := range rights {
			rights[i] = Quoted(name)
		}
	}
	return state, err
}

// RemoveLogin is [Administrator].RemoveLogin.
func (w *GuardedTarget) RemoveLogin(ctx context.Context, r LoginRequest) error {
	return w.g.call(ctx, "RemoveLogin", r.Credential.Secret, func(ctx context.Context) error {
		if t, ok := w.t.(Administrator); ok {
			return t.RemoveLogin(ctx, r)
		}
		return nil
	})
}

// CheckRemoval is [RemovalChecker].CheckRemoval; nil where there is none.
func (w *GuardedTarget) CheckRemoval(ctx context.Context, r LoginRequest) error {
	t, ok := w.t.(RemovalChecker)
	if !ok {
		return nil
	}
	return w.g.call(ctx, "CheckRemoval", r.Credential.Secret, func(ctx context.Context) error { return t.CheckRemoval(ctx, r) })
}

// rotator is the target as one that replaces its administrator's credential.
func (w *GuardedTarget) rotator() (AdminRotator, error) {
	if t, ok := w.t.(AdminRotator); ok {
		return t, nil
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "the administrator's credential of %s can't be replaced by its driver", w.c.ID.Name()).
		WithFix("replace it by hand, and register the new one")
}

// NewAdmin is [AdminRotator].NewAdmin; NotSupported where there is none.
func (w *GuardedTarget) NewAdmin(ctx context.Context) (next Secrets, err error) {
	err = w.g.call(ctx, "NewAdmin", nil, func(ctx context.Context) error {
		t, err := w.rotator()
		if err == nil {
			next, err = t.NewAdmin(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return next, CheckAdmin(w.d.Driver, next)
}

// RotateAdmin is [AdminRotator].RotateAdmin; NotSupported where there is none.
func (w *GuardedTarget) RotateAdmin(ctx context.Context, next Secrets) error {
	return w.g.call(ctx, "RotateAdmin", next, func(ctx context.Context) error {
		t, err := w.rotator()
		if err == nil {
			err = t.RotateAdmin(ctx, next)
		}
		return err
	})
}

// PrepareProbe is [Target].PrepareProbe.
func (w *GuardedTarget) PrepareProbe(ctx context.Context, r ProbeRequest) (prepared ProbeRequest, err error) {
	err = w.g.call(ctx, "PrepareProbe", r.Credential.Secret, func(ctx context.Context) (err error) {
		prepared, err = w.t.PrepareProbe(ctx, r)
		return err
	})
	return prepared, err
}

// Probe prepares a probe and runs it.
func (w *GuardedTarget) Probe(ctx context.Context, r ProbeRequest) (result ProbeResult, err error) {
	err = w.g.call(ctx, "Probe", r.Credential.Secret, func(ctx context.Context) (err error) {
		result, err = w.d.prepared(ctx, w.t, r, func(r ProbeRequest) (ProbeResult, error) {
			if w.g.Isolate != nil {
				return w.g.Isolate.Probe(ctx, w.g.Name, w.d, w.c, r)
			}
			return w.d.Probe(ctx, w.c, r)
		})
		return err
	})
	result.NotChecked, result.Warnings = few(result.NotChecked), few(result.Warnings)
	result.Allowed, result.Refused, result.TLS = few(result.Allowed), few(result.Refused), clip(result.TLS)
	return result, err
}

// Owned is [Administrator].Owned.
func (w *GuardedTarget) Owned(ctx context.Context) (owned []Owned, err error) {
	err = w.g.call(ctx, "Owned", nil, func(ctx context.Context) (err error) {
		t, ok := w.t.(Administrator)
		if !ok {
			return nil
		}
		if owned, err = t.Owned(ctx); err != nil {
			return err
		}
		return checkOwned(owned)
	})
	return owned, err
}

// Given makes the credential of a login that the caller gave: in the target's own
// form ([GivenLogins]), or of a user name and a password.
func (w *GuardedTarget) Given(sub, name string, secret patchbay.Secret) (Credential, error) {
	own, ok := w.t.(GivenLogins)
	if !ok {
		return Credential{Public: map[string]string{"username": name}, Secret: Secrets{"password": secret}}, nil
	}
	c, err := own.Given(sub, name, secret)
	return c, w.g.redact(err, Secrets{"given": secret})
}

// Registered is a login that was given with the registration
// ([RegisteredLogins]); NotSupported where there can be none.
func (w *GuardedTarget) Registered(sub string) (Credential, error) {
	own, ok := w.t.(RegisteredLogins)
	if !ok {
		return Credential{}, patchbay.Errorf(patchbay.NotSupported, "this target has no login of its own to hand out; give one with the connection")
	}
	c, err := own.Registered(sub)
	return c, w.g.redact(err, nil)
}

// Close is [Target].Close.
func (w *GuardedTarget) Close() error { return w.t.Close() }

// GuardedSource is a source with what a [Guard] adds.
type GuardedSource struct {
	g      Guard
	s      Source
	closed []func()
}

// Inspect is [Source].Inspect.
func (w *GuardedSource) Inspect(ctx context.Context) (info SourceInfo, err error) {
	err = w.g.call(ctx, "Inspect", nil, func(ctx context.Context) (err error) {
		info, err = w.s.Inspect(ctx)
		return err
	})
	return info, err
}

// ReadSettings is [Source].ReadSettings.
func (w *GuardedSource) ReadSettings(ctx context.Context) (snapshot Snapshot, err error) {
	err = w.g.call(ctx, "ReadSettings", nil, func(ctx context.Context) (err error) {
		snapshot, err = w.s.ReadSettings(ctx)
		return err
	})
	return snapshot, err
}

// CheckChange is [Source].CheckChange.
func (w *GuardedSource) CheckChange(ctx context.Context, c Change) error {
	return w.g.call(ctx, "CheckChange", secretsOf(c), func(ctx context.Context) error {
		return w.s.CheckChange(ctx, c)
	})
}

// Advise is [Adviser].Advise; nothing when the source is none.
func (w *GuardedSource) Advise(ctx context.Context, c Change) (advice []string, err error) {
	err = w.g.call(ctx, "Advise", secretsOf(c), func(ctx context.Context) (err error) {
		if s, ok := w.s.(Adviser); ok {
			advice, err = s.Advise(ctx, c)
		}
		return err
	})
	for i := range advice {
		for _, secret := range secretsOf(c) {
			advice[i] = redactText(advice[i], secret)
		}
	}
	return advice, err
}

// WriteSettings is [Source].WriteSettings.
func (w *GuardedSource) WriteSettings(ctx context.Context, c Change, ifVersion string) (version string, err error) {
	err = w.g.call(ctx, "WriteSettings", secretsOf(c), func(ctx context.Context) (err error) {
		version, err = w.s.WriteSettings(ctx, c, ifVersion)
		return err
	})
	return version, err
}

// RestoreSettings is [Source].RestoreSettings.
func (w *GuardedSource) RestoreSettings(ctx context.Context, c Change, before Snapshot) error {
	secrets := secretsOf(c)
	for name, value := range before.Settings {
		// Nobody says which of them are credentials; what is shorter is a word of
		// every other message.
		if len(value.Reveal()) >= 8 {
			secrets["before."+name] = value
		}
	}
	secrets["before"] = before.Content
	return w.g.call(ctx, "RestoreSettings", secrets, func(ctx context.Context) error {
		return w.s.RestoreSettings(ctx, c, before)
	})
}

// Restarts reports whether the application can be told of its settings.
func (w *GuardedSource) Restarts() bool {
	_, ok := w.s.(Restarter)
	return ok
}

// Restart is [Restarter].Restart; NotSupported when the source is none.
func (w *GuardedSource) Restart(ctx context.Context) error {
	return w.g.callWithin(ctx, w.RestartLimit(), "Restart", nil, func(ctx context.Context) error {
		s, ok := w.s.(Restarter)
		if !ok {
			return patchbay.Errorf(patchbay.NotSupported, "the source has no way to tell its application of new settings").
				WithFix("restart the application")
		}
		return s.Restart(ctx)
	})
}

// RestartLimit is [Restarter].RestartLimit.
func (w *GuardedSource) RestartLimit() time.Duration {
	if s, ok := w.s.(Restarter); ok {
		return s.RestartLimit()
	}
	return cmp.Or(w.g.Timeout, DefaultTimeout)
}

// Release is [Keeper].Release; nothing when the source is none.
func (w *GuardedSource) Release(ctx context.Context, c Change) error {
	return w.g.call(ctx, "Release", secretsOf(c), func(ctx context.Context) error {
		if s, ok := w.s.(Keeper); ok {
			return s.Release(ctx, c)
		}
		return nil
	})
}

// Dialer is [Vantage].Dialer; NotSupported when the source is none.
func (w *GuardedSource) Dialer(ctx context.Context) (d ClosingDialer, err error) {
	limit := cmp.Or(w.g.Timeout, DefaultTimeout)
	if s, ok := w.s.(Starter); ok {
		limit = cmp.Or(s.DialerLimit(), limit)
	}
	err = w.g.callWithin(ctx, limit, "Dialer", nil, func(ctx context.Context) (err error) {
		s, ok := w.s.(Vantage)
		if !ok {
			return patchbay.Errorf(patchbay.NotSupported, "its driver has no way to speak from there")
		}
		d, err = s.Dialer(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tcpOnly{d}, nil
}

// tcpOnly is what whoever names an address may speak to: no socket of a program of
// the machine's own, such as a container engine's, which would make its caller root.
type tcpOnly struct{ ClosingDialer }

func (d tcpOnly) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "no connection is made to what has no IP address")
	}
	return d.ClosingDialer.DialContext(ctx, network, address)
}

// Egress is [Vantage].Egress; empty when the source is none.
func (w *GuardedSource) Egress(ctx context.Context, to netip.Addr) (from []netip.Prefix, err error) {
	err = w.g.call(ctx, "Egress", nil, func(ctx context.Context) (err error) {
		if s, ok := w.s.(Vantage); ok {
			from, err = s.Egress(ctx, to)
		}
		return err
	})
	return from, err
}

// Peer is [Platformed].Peer; nil when no platform knows the source.
func (w *GuardedSource) Peer(ctx context.Context) (p *Peer, err error) {
	s, ok := w.s.(Platformed)
	if !ok {
		return nil, nil
	}
	err = w.g.call(ctx, "Peer", nil, func(ctx context.Context) (err error) {
		p, err = s.Peer(ctx)
		return err
	})
	return p, err
}

// Watch is [Watcher].Watch, for as long as ctx lasts; NotSupported when the source is
// none. It is neither measured nor traced: it takes as long as nothing goes wrong.
func (w *GuardedSource) Watch(ctx context.Context, changed func()) error {
	s, ok := w.s.(Watcher)
	if !ok {
		return patchbay.Errorf(patchbay.NotSupported, "its platform does not say when it changes")
	}
	err := s.Watch(context.WithValue(ctx, callerKey{}, w.g.Share), changed)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // whatever it was that could not be done any more
	case err == nil: // the caller would believe that it goes on
		return patchbay.Errorf(patchbay.Internal, "the driver stopped watching, and does not say why").AsTransient()
	}
	return w.g.redact(err, nil)
}

// Owned is [Source].Owned.
func (w *GuardedSource) Owned(ctx context.Context) (owned []Owned, err error) {
	err = w.g.call(ctx, "Owned", nil, func(ctx context.Context) (err error) {
		owned, err = w.s.Owned(ctx)
		return err
	})
	return owned, err
}

// OnClose adds what is to be done when the source is closed.
func (w *GuardedSource) OnClose(f func()) { w.closed = append(w.closed, f) }

// Close is [Source].Close.
func (w *GuardedSource) Close() error {
	err := w.s.Close()
	for _, f := range w.closed {
		f()
	}
	return err
}

// secretsOf are the values of the settings that hold a credential.
func secretsOf(c Change) Secrets {
	secrets := Secrets{}
	for i, s := range slices.Concat(c.Set, c.Had) {
		if s.Secret {
			secrets[strconv.Itoa(i)] = s.Value
		}
	}
	return secrets
}

// GuardedNetwork is a network with what a [Guard] adds.
type GuardedNetwork struct {
	g       Guard
	n       Network
	secrets Secrets // the target's
	anyTo   bool
	closed  []func()
}

// EnsureRule is [Network].EnsureRule. A rule for nobody is no rule: what a guard
// would make of it is not left to it.
func (w *GuardedNetwork) EnsureRule(ctx context.Context, r Rule) error {
	return w.g.call(ctx, "EnsureRule", w.secrets, func(ctx context.Context) error {
		if len(r.From) == 0 && r.Peer == nil || len(r.To) == 0 && len(r.Servers) == 0 {
			return patchbay.Errorf(patchbay.InvalidArgument, "an opening is from somewhere to somewhere")
		}
		return w.n.EnsureRule(ctx, r)
	})
}

// AnyTo is its driver's.
func (w *GuardedNetwork) AnyTo() bool { return w.anyTo }

// Platform reports whether it is a [Platform], whose rules have other words.
func (w *GuardedNetwork) Platform() bool {
	_, ok := w.n.(Platform)
	return ok
}

// Knows is [Platform].Knows; false when the network is none.
func (w *GuardedNetwork) Knows(ctx context.Context, p Peer) (known bool, err error) {
	platform, ok := w.n.(Platform)
	if !ok {
		return false, nil
	}
	err = w.g.call(ctx, "Knows", w.secrets, func(ctx context.Context) (err error) {
		known, err = platform.Knows(ctx, p)
		return err
	})
	return known, err
}

// Reach is [Platform].Reach; nothing when the network is none.
func (w *GuardedNetwork) Reach(ctx context.Context, r Rule) (to map[string]string, err error) {
	platform, ok := w.n.(Platform)
	if !ok {
		return nil, nil
	}
	err = w.g.call(ctx, "Reach", w.secrets, func(ctx context.Context) (err error) {
		to, err = platform.Reach(ctx, r)
		return err
	})
	return to, err
}

// InspectRule is [Network].InspectRule.
func (w *GuardedNetwork) InspectRule(ctx context.Context, r Rule) (state RuleState, err error) {
	err = w.g.call(ctx, "InspectRule", w.secrets, func(ctx context.Context) (err error) {
		state, err = w.n.InspectRule(ctx, r)
		return err
	})
	state.Despite = Quoted(state.Despite)
	return state, err
}

// RemoveRule is [Network].RemoveRule.
func (w *GuardedNetwork) RemoveRule(ctx context.Context, r Rule) error {
	return w.g.call(ctx, "RemoveRule", w.secrets, func(ctx context.Context) error { return w.n.RemoveRule(ctx, r) })
}

// Owned is [Network].Owned.
func (w *GuardedNetwork) Owned(ctx context.Context) (owned []Owned, err error) {
	err = w.g.call(ctx, "Owned", w.secrets, func(ctx context.Context) (err error) {
		owned, err = w.n.Owned(ctx)
		return err
	})
	return owned, err
}

// Check is [NetworkChecker].Check. A network that is none has nothing to say.
func (w *GuardedNetwork) Check(ctx context.Context) (warnings []string, err error) {
	c, ok := w.n.(NetworkChecker)
	if !ok {
		return nil, nil
	}
	err = w.g.call(ctx, "Check", w.secrets, func(ctx context.Context) (err error) {
		warnings, err = c.Check(ctx)
		return err
	})
	for i, text := range warnings {
		warnings[i] = Quoted(text)
	}
	return warnings, err
}

// OnClose adds what is to be done when the network is closed.
func (w *GuardedNetwork) OnClose(f func()) { w.closed = append(w.closed, f) }

// Close is [Network].Close.
func (w *GuardedNetwork) Close() error {
	err := w.n.Close()
	for _, f := range w.closed {
		f()
	}
	return err
}
