package driver

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"patchbay.dev/patchbay"
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
}

// OpenTarget opens d and wraps what it gives.
func (g Guard) OpenTarget(ctx context.Context, d TargetDriver, c Config) (Target, error) {
	var t Target
	err := g.call(ctx, "Open", nil, func(ctx context.Context) (err error) {
		t, err = d.Open(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return g.Target(t), nil
}

// OpenSource opens d and wraps what it gives.
func (g Guard) OpenSource(ctx context.Context, d SourceDriver, c Config) (Source, error) {
	var s Source
	err := g.call(ctx, "Open", nil, func(ctx context.Context) (err error) {
		s, err = d.Open(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return g.Source(s), nil
}

// Target wraps t.
func (g Guard) Target(t Target) Target { return &guardedTarget{g, t} }

// Source wraps s.
func (g Guard) Source(s Source) Source { return &guardedSource{g, s} }

// call runs f, which is t's method.
func (g Guard) call(ctx context.Context, method string, secrets Secrets, f func(context.Context) error) error {
	timeout := g.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, span := otel.Tracer("patchbay.dev/patchbay/driver").Start(ctx, g.Name+"."+method,
		trace.WithAttributes(attribute.String("patchbay.driver", g.Name)))
	defer span.End()
	start := time.Now()
	err := g.redact(f(ctx), secrets)
	code := patchbay.CodeOf(err)
	if g.Observe != nil {
		g.Observe(g.Name, method, time.Since(start), code)
	}
	if err != nil {
		span.SetStatus(codes.Error, string(code)) // the code only: a message may name what is nobody's business
	}
	return err
}

// redact gives err with every secret in its words replaced. An error without a
// code becomes one: a driver that was cut off by its context timed out, and
// may have had its effect.
func (g Guard) redact(err error, secrets Secrets) error {
	if err == nil {
		return nil
	}
	var e *patchbay.Error
	if !errors.As(err, &e) {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			e = patchbay.Errorf(patchbay.Timeout, "no answer in time: %w", err).AsTransient()
		case errors.Is(err, context.Canceled):
			e = patchbay.Errorf(patchbay.Canceled, "stopped: %w", err).AsTransient()
		default:
			e = patchbay.Errorf(patchbay.Internal, "%w", err)
		}
	}
	clean := *e
	for _, set := range []Secrets{g.Admin, secrets} {
		for name, s := range set {
			if name == "username" {
				continue // it came with a secret, and is none
			}
			clean.Message = redactText(clean.Message, s)
			clean.Subject = redactText(clean.Subject, s)
			clean.Fix = redactText(clean.Fix, s)
			if clean.Err != nil && redactText(clean.Err.Error(), s) != clean.Err.Error() {
				clean.Err = nil // the cause says it too
			}
		}
	}
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

type guardedTarget struct {
	g Guard
	t Target
}

func (w *guardedTarget) Inspect(ctx context.Context, sub string) (info TargetInfo, err error) {
	err = w.g.call(ctx, "Inspect", nil, func(ctx context.Context) (err error) {
		info, err = w.t.Inspect(ctx, sub)
		return err
	})
	return info.bounded(), err
}

func (w *guardedTarget) NewCredential(ctx context.Context, r PrincipalRequest) (c Credential, err error) {
	err = w.g.call(ctx, "NewCredential", nil, func(ctx context.Context) (err error) {
		c, err = w.t.NewCredential(ctx, r)
		return err
	})
	return c, err
}

func (w *guardedTarget) EnsurePrincipal(ctx context.Context, r PrincipalRequest) error {
	return w.g.call(ctx, "EnsurePrincipal", r.Credential.Secret, func(ctx context.Context) error {
		return w.t.EnsurePrincipal(ctx, r)
	})
}

func (w *guardedTarget) InspectPrincipal(ctx context.Context, r PrincipalRequest) (state PrincipalState, err error) {
	err = w.g.call(ctx, "InspectPrincipal", r.Credential.Secret, func(ctx context.Context) (err error) {
		state, err = w.t.InspectPrincipal(ctx, r)
		return err
	})
	state.Missing, state.Excess = few(state.Missing), few(state.Excess)
	return state, err
}

func (w *guardedTarget) RemovePrincipal(ctx context.Context, r PrincipalRequest) error {
	return w.g.call(ctx, "RemovePrincipal", r.Credential.Secret, func(ctx context.Context) error {
		return w.t.RemovePrincipal(ctx, r)
	})
}

func (w *guardedTarget) Probe(ctx context.Context, r ProbeRequest) (result ProbeResult, err error) {
	err = w.g.call(ctx, "Probe", r.Credential.Secret, func(ctx context.Context) (err error) {
		result, err = w.t.Probe(ctx, r)
		return err
	})
	result.Allowed, result.Refused, result.TLS = few(result.Allowed), few(result.Refused), clip(result.TLS)
	return result, err
}

func (w *guardedTarget) Owned(ctx context.Context) (owned []Owned, err error) {
	err = w.g.call(ctx, "Owned", nil, func(ctx context.Context) (err error) {
		if owned, err = w.t.Owned(ctx); err != nil {
			return err
		}
		return checkOwned(owned)
	})
	return owned, err
}

// Given implements [GivenLogins] for targets that do and for those that don't.
func (w *guardedTarget) Given(sub, name string, secret patchbay.Secret) (Credential, error) {
	c, err := GivenLogin(w.t, sub, name, secret)
	return c, w.g.redact(err, Secrets{"given": secret})
}

// Registered implements [RegisteredLogins] for targets that do and for those
// that don't.
func (w *guardedTarget) Registered(sub string) (Credential, error) {
	own, ok := w.t.(RegisteredLogins)
	if !ok {
		return Credential{}, patchbay.Errorf(patchbay.NotSupported, "this target has no login of its own to hand out")
	}
	c, err := own.Registered(sub)
	return c, w.g.redact(err, nil)
}

func (w *guardedTarget) Close() error { return w.t.Close() }

// GivenLogin makes the credential of a login that the caller gave: in t's own
// form, or of a user name and a password.
func GivenLogin(t Target, sub, name string, secret patchbay.Secret) (Credential, error) {
	if own, ok := t.(GivenLogins); ok {
		return own.Given(sub, name, secret)
	}
	return Credential{Public: map[string]string{"username": name}, Secret: Secrets{"password": secret}}, nil
}

type guardedSource struct {
	g Guard
	s Source
}

func (w *guardedSource) Inspect(ctx context.Context) (info SourceInfo, err error) {
	err = w.g.call(ctx, "Inspect", nil, func(ctx context.Context) (err error) {
		info, err = w.s.Inspect(ctx)
		return err
	})
	return info, err
}

func (w *guardedSource) ReadSettings(ctx context.Context) (snapshot Snapshot, err error) {
	err = w.g.call(ctx, "ReadSettings", nil, func(ctx context.Context) (err error) {
		snapshot, err = w.s.ReadSettings(ctx)
		return err
	})
	return snapshot, err
}

func (w *guardedSource) CheckChange(ctx context.Context, c Change) error {
	return w.g.call(ctx, "CheckChange", secretsOf(c), func(ctx context.Context) error {
		return w.s.CheckChange(ctx, c)
	})
}

func (w *guardedSource) WriteSettings(ctx context.Context, c Change, ifVersion string) (version string, err error) {
	err = w.g.call(ctx, "WriteSettings", secretsOf(c), func(ctx context.Context) (err error) {
		version, err = w.s.WriteSettings(ctx, c, ifVersion)
		return err
	})
	return version, err
}

func (w *guardedSource) RestoreSettings(ctx context.Context, c Change, before Snapshot) error {
	return w.g.call(ctx, "RestoreSettings", secretsOf(c), func(ctx context.Context) error {
		return w.s.RestoreSettings(ctx, c, before)
	})
}

func (w *guardedSource) Restart(ctx context.Context) error {
	return w.g.call(ctx, "Restart", nil, w.s.Restart)
}

func (w *guardedSource) Egress(ctx context.Context) (from []netip.Prefix, err error) {
	err = w.g.call(ctx, "Egress", nil, func(ctx context.Context) (err error) {
		from, err = w.s.Egress(ctx)
		return err
	})
	return from, err
}

func (w *guardedSource) Dialer() Dialer { return w.s.Dialer() }

func (w *guardedSource) Owned(ctx context.Context) (owned []Owned, err error) {
	err = w.g.call(ctx, "Owned", nil, func(ctx context.Context) (err error) {
		owned, err = w.s.Owned(ctx)
		return err
	})
	return owned, err
}

func (w *guardedSource) Close() error { return w.s.Close() }

// secretsOf are the values of the settings that hold a credential.
func secretsOf(c Change) Secrets {
	secrets := Secrets{}
	for _, s := range c.Set {
		if s.Secret {
			secrets[s.Name] = s.Value
		}
	}
	return secrets
}
