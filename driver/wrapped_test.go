package driver

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"patchbay.dev/patchbay"
)

// both is a driver whose every method does the same.
type both struct {
	do func(ctx context.Context) error
}

func (b both) Inspect(ctx context.Context, _ string) (TargetInfo, error) {
	return TargetInfo{}, b.do(ctx)
}
func (b both) PrepareProbe(ctx context.Context, r ProbeRequest) (ProbeRequest, error) {
	return r, b.do(ctx)
}
func (b both) NewCredential(ctx context.Context, _ LoginRequest) (Credential, error) {
	return Credential{}, b.do(ctx)
}
func (b both) Beyond(ctx context.Context, _ LoginRequest) ([]string, error) { return nil, b.do(ctx) }
func (b both) EnsureLogin(ctx context.Context, _ LoginRequest) error        { return b.do(ctx) }
func (b both) InspectLogin(ctx context.Context, _ LoginRequest) (LoginState, error) {
	return LoginState{}, b.do(ctx)
}
func (b both) RemoveLogin(ctx context.Context, _ LoginRequest) error  { return b.do(ctx) }
func (b both) CheckRemoval(ctx context.Context, _ LoginRequest) error { return b.do(ctx) }
func (b both) NewAdmin(ctx context.Context) (Secrets, error)          { return nil, b.do(ctx) }
func (b both) RotateAdmin(ctx context.Context, _ Secrets) error       { return b.do(ctx) }
func (b both) Owned(ctx context.Context) ([]Owned, error)             { return nil, b.do(ctx) }
func (b both) Given(string, string, patchbay.Secret) (Credential, error) {
	return Credential{}, b.do(context.Background())
}
func (b both) Registered(string) (Credential, error) { return Credential{}, b.do(context.Background()) }
func (b both) Close() error                          { return nil }

type bothSource struct{ both }

func (b bothSource) Inspect(ctx context.Context) (SourceInfo, error) {
	return SourceInfo{}, b.do(ctx)
}
func (b bothSource) ReadSettings(ctx context.Context) (Snapshot, error) {
	return Snapshot{}, b.do(ctx)
}
func (b bothSource) CheckChange(ctx context.Context, _ Change) error { return b.do(ctx) }
func (b bothSource) Advise(ctx context.Context, c Change) ([]string, error) {
	return []string{"what of " + c.Set[0].Value.Reveal()}, b.do(ctx)
}
func (b bothSource) WriteSettings(ctx context.Context, _ Change, _ string) (string, error) {
	return "", b.do(ctx)
}
func (b bothSource) RestoreSettings(ctx context.Context, _ Change, _ Snapshot) error {
	return b.do(ctx)
}
func (b bothSource) Restart(ctx context.Context) error           { return b.do(ctx) }
func (b bothSource) RestartLimit() time.Duration                 { return time.Minute }
func (b bothSource) Release(ctx context.Context, _ Change) error { return b.do(ctx) }
func (b bothSource) Egress(ctx context.Context, _ netip.Addr) ([]netip.Prefix, error) {
	return nil, b.do(ctx)
}
func (b bothSource) Dialer(ctx context.Context) (ClosingDialer, error) { return nil, b.do(ctx) }
func (b bothSource) Peer(ctx context.Context) (*Peer, error)           { return nil, b.do(ctx) }
func (b bothSource) Watch(ctx context.Context, _ func()) error         { return b.do(ctx) }

const (
	adminSecret    = "geheim-des-verwalters"
	loginSecret    = "geheim-des-logins"
	settingSecret  = "geheim-der-einstellung"
	previousSecret = "geheim-von-frueher"
	othersSecret   = "geheim-von-anderen"
	contentSecret  = "geheim-im-inhalt"
)

// calls are all methods of the two wrappers, with the secrets that go in.
func calls(g Guard, do func(context.Context) error) map[string]func(context.Context) error {
	g.Admin = Secrets{"password": patchbay.NewSecret(adminSecret)}
	d := TargetDriver{
		Driver: patchbay.Driver{Logins: &patchbay.Logins{}},
		Probe: func(ctx context.Context, _ Config, _ ProbeRequest) (ProbeResult, error) {
			return ProbeResult{}, do(ctx)
		},
	}
	t := g.Target(d, Config{}, both{do})
	s := g.Source(bothSource{both{do}})
	credential := Credential{Secret: Secrets{"password": patchbay.NewSecret(loginSecret)}}
	r := LoginRequest{Credential: credential}
	c := Change{
		Set: []patchbay.Setting{{Name: "A", Value: patchbay.NewSecret(settingSecret), Secret: true}},
		Had: []patchbay.Setting{{Name: "B", Value: patchbay.NewSecret(previousSecret), Secret: true}},
	}
	before := Snapshot{
		Settings: map[string]patchbay.Secret{"C": patchbay.NewSecret(othersSecret)},
		Content:  patchbay.NewSecret(contentSecret),
	}
	return map[string]func(context.Context) error{
		"GuardedTarget.Inspect":       func(ctx context.Context) error { _, err := t.Inspect(ctx, ""); return err },
		"GuardedTarget.NewCredential": func(ctx context.Context) error { _, err := t.NewCredential(ctx, r); return err },
		"GuardedTarget.Beyond":        func(ctx context.Context) error { _, err := t.Beyond(ctx, r); return err },
		"GuardedTarget.EnsureLogin":   func(ctx context.Context) error { return t.EnsureLogin(ctx, r) },
		"GuardedTarget.InspectLogin":  func(ctx context.Context) error { _, err := t.InspectLogin(ctx, r); return err },
		"GuardedTarget.RemoveLogin":   func(ctx context.Context) error { return t.RemoveLogin(ctx, r) },
		"GuardedTarget.Owned":         func(ctx context.Context) error { _, err := t.Owned(ctx); return err },
		"GuardedTarget.PrepareProbe": func(ctx context.Context) error {
			_, err := t.PrepareProbe(ctx, ProbeRequest{Credential: credential})
			return err
		},
		"GuardedTarget.Probe": func(ctx context.Context) error {
			_, err := t.Probe(ctx, ProbeRequest{Credential: credential, Dialer: nowhere{}})
			return err
		},
		"GuardedTarget.CheckRemoval": func(ctx context.Context) error { return t.CheckRemoval(ctx, r) },
		"GuardedTarget.NewAdmin":     func(ctx context.Context) error { _, err := t.NewAdmin(ctx); return err },
		"GuardedTarget.RotateAdmin":  func(ctx context.Context) error { return t.RotateAdmin(ctx, credential.Secret) },
		"GuardedTarget.Given": func(context.Context) error {
			_, err := t.Given("", "", patchbay.NewSecret(loginSecret))
			return err
		},
		"GuardedTarget.Registered":      func(context.Context) error { _, err := t.Registered(""); return err },
		"GuardedSource.Inspect":         func(ctx context.Context) error { _, err := s.Inspect(ctx); return err },
		"GuardedSource.ReadSettings":    func(ctx context.Context) error { _, err := s.ReadSettings(ctx); return err },
		"GuardedSource.CheckChange":     func(ctx context.Context) error { return s.CheckChange(ctx, c) },
		"GuardedSource.Advise":          func(ctx context.Context) error { _, err := s.Advise(ctx, c); return err },
		"GuardedSource.WriteSettings":   func(ctx context.Context) error { _, err := s.WriteSettings(ctx, c, ""); return err },
		"GuardedSource.RestoreSettings": func(ctx context.Context) error { return s.RestoreSettings(ctx, c, before) },
		"GuardedSource.Restart":         func(ctx context.Context) error { return s.Restart(ctx) },
		"GuardedSource.Release":         func(ctx context.Context) error { return s.Release(ctx, c) },
		"GuardedSource.Dialer":          func(ctx context.Context) error { _, err := s.Dialer(ctx); return err },
		"GuardedSource.Egress":          func(ctx context.Context) error { _, err := s.Egress(ctx, netip.Addr{}); return err },
		"GuardedSource.Peer":            func(ctx context.Context) error { _, err := s.Peer(ctx); return err },
		"GuardedSource.Watch":           func(ctx context.Context) error { return s.Watch(ctx, func() {}) },
		"GuardedSource.Owned":           func(ctx context.Context) error { _, err := s.Owned(ctx); return err },
	}
}

type nowhere struct{ Dialer }

// given are the secrets that a method is given, besides the administrator's.
func given(method string) []string {
	switch _, name, _ := strings.Cut(method, "."); name {
	case "EnsureLogin", "InspectLogin", "RemoveLogin", "CheckRemoval", "RotateAdmin", "PrepareProbe", "Probe", "Given", "NewCredential", "Beyond":
		return []string{loginSecret}
	case "Advise", "CheckChange", "WriteSettings":
		return []string{settingSecret, previousSecret}
	case "RestoreSettings":
		return []string{settingSecret, previousSecret, othersSecret, contentSecret}
	}
	return nil
}

// A method that is added to a wrapper is added to the tests below.
func TestEveryMethodOfTheWrappersIsTried(t *testing.T) {
	tried := calls(Guard{}, nil)
	for _, wrapper := range []any{&GuardedTarget{}, &GuardedSource{}} {
		typ := reflect.TypeOf(wrapper)
		for i := range typ.NumMethod() {
			name := typ.Elem().Name() + "." + typ.Method(i).Name
			if slices.Contains([]string{"Close", "OnClose", "RestartLimit", "Restarts"}, typ.Method(i).Name) {
				continue // they give nothing of the driver's but what it is
			}
			if tried[name] == nil {
				t.Errorf("%s is not tried", name)
			}
		}
	}
}

func TestNoMethodsErrorShowsWhatWentIn(t *testing.T) {
	all := []string{adminSecret, loginSecret, settingSecret, previousSecret, othersSecret, contentSecret}
	quote := errors.New(strings.Join(all, " and "))
	for kind, err := range map[string]error{
		"without a code": quote,
		"with a code":    patchbay.Errorf(patchbay.TargetUnreachable, "it said: %w", quote).WithFix("%v", quote).WithSaid(quote.Error()),
		"elsewhere":      &patchbay.Error{Code: patchbay.Internal, Op: quote.Error(), Subject: quote.Error(), Err: quote},
	} {
		for method, call := range calls(Guard{}, func(context.Context) error { return err }) {
			e := patchbay.AsError(call(t.Context()))
			if e == nil {
				t.Errorf("%s, %s: no error", method, kind)
				continue
			}
			text := e.Error() + e.Fix + e.Said + e.Subject
			for _, secret := range append(given(method), adminSecret) {
				if strings.Contains(text, secret) {
					t.Errorf("%s, %s: the error shows %s", method, kind, secret)
				}
			}
			if errors.Is(e, quote) {
				t.Errorf("%s, %s: the cause is still there", method, kind)
			}
		}
	}
}

func TestNoMethodIsWaitedForWithoutEnd(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	methods := calls(Guard{Timeout: time.Millisecond}, hang)
	delete(methods, "GuardedTarget.Given") // they reach nobody, and have no context
	delete(methods, "GuardedTarget.Registered")
	delete(methods, "GuardedSource.Watch") // that is what it is for
	for method, call := range methods {
		synctest.Test(t, func(t *testing.T) { // a restart takes its own time
			if err := call(t.Context()); patchbay.CodeOf(err) != patchbay.Timeout || !patchbay.IsTransient(err) {
				t.Errorf("%s: %v", method, err)
			}
		})
	}
}

// Who gives no bound has one, and who is stopped may be asked again.
func TestACallWithoutABoundHasOne(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := calls(Guard{}, hang)["GuardedTarget.Inspect"](t.Context())
		if took := time.Since(start); took != DefaultTimeout || patchbay.CodeOf(err) != patchbay.Timeout {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = calls(Guard{}, hang)["GuardedTarget.Inspect"](ctx)
		if patchbay.CodeOf(err) != patchbay.Canceled || !patchbay.IsTransient(err) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// Spans are kept elsewhere than logs are, and read by others.
func TestASpanTellsTheCodeAlone(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(spans)))
	defer otel.SetTracerProvider(before)
	_ = calls(Guard{Name: "d"}, func(context.Context) error { return patchbay.Errorf(patchbay.NotOurs, "orders is theirs") })["GuardedTarget.Owned"](t.Context())
	all := spans.GetSpans()
	if len(all) != 1 || all[0].Name != "d.Owned" || all[0].Status.Code != codes.Error || all[0].Status.Description != "NotOurs" {
		t.Errorf("%+v", all)
	}
}

func TestEveryCallIsObserved(t *testing.T) {
	var seen []string
	g := Guard{Name: "d", Observe: func(driver, method string, _ time.Duration, code patchbay.Code) {
		seen = append(seen, driver+"."+method+" "+string(code))
	}}
	methods := calls(g, func(context.Context) error { return patchbay.Errorf(patchbay.NotOurs, "no") })
	delete(methods, "GuardedTarget.Given")
	delete(methods, "GuardedTarget.Registered")
	delete(methods, "GuardedSource.Watch") // it is no call that takes some time
	for method, call := range methods {
		seen = nil
		_ = call(t.Context())
		_, name, _ := strings.Cut(method, ".")
		if want := []string{"d." + name + " NotOurs"}; !slices.Equal(seen, want) {
			t.Errorf("%s: %q, want %q", method, seen, want)
		}
	}
}

func TestAdviceDoesNotShowWhatWentIn(t *testing.T) {
	s := Guard{}.Source(bothSource{both{func(context.Context) error { return nil }}})
	advice, err := s.Advise(t.Context(), Change{Set: []patchbay.Setting{{Name: "A", Value: patchbay.NewSecret(settingSecret), Secret: true}}})
	if err != nil || len(advice) != 1 || strings.Contains(advice[0], settingSecret) || !strings.HasPrefix(advice[0], "what of ") {
		t.Errorf("%q, %v", advice, err)
	}
}

// What is no Administrator has no login of ours, and can be given none.
func TestATargetThatMakesNoLogins(t *testing.T) {
	type plain struct{ Target }
	target := Guard{}.Target(TargetDriver{}, Config{ID: "/subscriptions/s/resourceGroups/g/providers/N.S/servers/db"}, plain{both{}})
	r := LoginRequest{}
	if _, err := target.NewCredential(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("a credential is made: %v", err)
	}
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("a login is made: %v", err)
	}
	state, err := target.InspectLogin(t.Context(), r)
	owned, ownedErr := target.Owned(t.Context())
	if err := errors.Join(err, ownedErr, target.RemoveLogin(t.Context(), r)); err != nil || state.Exists || len(owned) > 0 {
		t.Errorf("%+v, %v, %v", state, owned, err)
	}
}

// What a driver describes and what it opens agree.
func TestADriverThatOpensSomethingElse(t *testing.T) {
	type plain struct{ Target }
	opens := func(target Target) func(context.Context, Config) (Target, error) {
		return func(context.Context, Config) (Target, error) { return target, nil }
	}
	logins := patchbay.Driver{Logins: &patchbay.Logins{}}
	rotates := patchbay.Driver{Logins: &patchbay.Logins{RotatesAdmin: true}}
	type administrator struct{ Administrator }
	for what, d := range map[string]TargetDriver{
		"a new administrator is described, and none can be had": {Driver: rotates, Open: opens(administrator{both{}})},
		"logins are described, and nobody makes them":           {Driver: logins, Open: opens(plain{both{}})},
		"logins are made, and nobody says so":                   {Open: opens(both{})},
	} {
		if _, err := (Guard{}).OpenTarget(t.Context(), d, Config{}); patchbay.CodeOf(err) != patchbay.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, d := range map[string]TargetDriver{
		"both": {Driver: logins, Open: opens(both{})}, "neither": {Open: opens(plain{both{}})}, "all": {Driver: rotates, Open: opens(both{})},
	} {
		if _, err := (Guard{}).OpenTarget(t.Context(), d, Config{}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A refusal is repeated only where the credential was replaced since.
func TestARefusedAdministratorIsRepeatedWhenItsCredentialWasReplaced(t *testing.T) {
	for _, c := range []struct {
		code     patchbay.Code
		replaced func(context.Context) bool
		want     bool
	}{
		{patchbay.AdminRefused, nil, false},
		{patchbay.AdminRefused, func(context.Context) bool { return false }, false},
		{patchbay.AdminRefused, func(context.Context) bool { return true }, true},
		{patchbay.AdminRights, func(context.Context) bool { t.Error("asked about a right"); return true }, false},
	} {
		refuse := func(context.Context) error { return patchbay.Errorf(c.code, "no") }
		err := calls(Guard{Replaced: c.replaced}, refuse)["GuardedTarget.EnsureLogin"](t.Context())
		if patchbay.CodeOf(err) != c.code || patchbay.IsTransient(err) != c.want {
			t.Errorf("%s: %v, transient %t, want %t", c.code, err, patchbay.IsTransient(err), c.want)
		}
	}
}

// What can't replace its administrator's credential says so.
func TestATargetWhoseAdministratorStays(t *testing.T) {
	type administrator struct{ Administrator }
	target := Guard{}.Target(TargetDriver{}, Config{}, administrator{both{}})
	_, err := target.NewAdmin(t.Context())
	if patchbay.CodeOf(err) != patchbay.NotSupported || patchbay.CodeOf(target.RotateAdmin(t.Context(), nil)) != patchbay.NotSupported {
		t.Errorf("it can: %v", err)
	}
}

// A source that can neither be told nor spoken from.
func TestASourceThatIsNothingElse(t *testing.T) {
	type plain struct{ Source }
	source := Guard{}.Source(plain{bothSource{}})
	from, err := source.Egress(t.Context(), netip.Addr{})
	if source.Restarts() || len(from) > 0 || err != nil {
		t.Errorf("it can more than it can: %v, %v", from, err)
	}
	if d, err := source.Dialer(t.Context()); d != nil || patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("it speaks: %v, %v", d, err)
	}
	if err := source.Release(t.Context(), Change{}); err != nil {
		t.Errorf("it kept nothing, and can't let go of it: %v", err)
	}
	if err := source.Restart(t.Context()); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("it restarts: %v", err)
	}
	if err := source.Watch(t.Context(), func() { t.Error("it tells") }); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("it watches: %v", err)
	}
}

// Watching ends with its context, which is no error, and with none but that it ends in one.
func TestWatchingLastsAsLongAsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*DefaultTimeout)
		defer cancel()
		start := time.Now()
		s := Guard{Timeout: time.Second}.Source(bothSource{both{func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}})
		if err := s.Watch(ctx, func() {}); err != nil || time.Since(start) != 100*DefaultTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
	s := Guard{}.Source(bothSource{both{func(context.Context) error { return nil }}})
	if err := s.Watch(t.Context(), func() {}); patchbay.CodeOf(err) != patchbay.Internal || !patchbay.IsTransient(err) {
		t.Errorf("a driver that stops without a word: %v", err)
	}
}

func TestACatalogIsDescribedAdministeredKindsFirst(t *testing.T) {
	c := NewCatalog([]TargetDriver{
		{Driver: patchbay.Driver{Name: "b", Logins: &patchbay.Logins{}}, Kind: "zebra"}, {Driver: patchbay.Driver{Name: "a"}},
	}, []SourceDriver{{Driver: patchbay.Driver{Name: "s"}}}, []HostDriver{{Driver: patchbay.Driver{Name: "h"}}}, []NetworkDriver{{Driver: patchbay.Driver{Name: "n"}}})
	all := c.Describe([]patchbay.TargetKind{{Name: "ape"}, {Name: "bear"}, {Name: "zebra"}})
	var kinds []string
	for _, k := range all.Kinds {
		kinds = append(kinds, k.Name)
	}
	if !slices.Equal(kinds, []string{"zebra", "ape", "bear"}) || all.Targets[0].Name != "a" || all.Targets[1].Name != "b" || all.Sources[0].Name != "s" || all.Hosts[0].Name != "h" || all.Guards[0].Name != "n" {
		t.Errorf("%+v", all)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(c.Targets)), []string{"a", "b"}) {
		t.Errorf("%v", c.Targets)
	}
}
