package external

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	s, err := t.session(r.Sub)
	if err != nil {
		return r, err
	}
	at, err := s.locate(ctx)
	if errors.Is(err, errNowhere) {
		return r, nil
	}
	r.Servers, r.Asked = []string{at}, s.asked
	return r, err
}

// session is one with what sub names.
func (t *target) session(sub string) (*session, error) {
	kind, err := t.kindOf(sub)
	if err != nil {
		return nil, err
	}
	facts, err := t.facts(kind, sub)
	if err != nil {
		return nil, err
	}
	return &session{target: t, service: t.service(kind), facts: facts}, nil
}

// probe is the driver's Probe: it opens a connection from the source's vantage
// point and, with a login that has a secret, signs in as the application would
// and changes nothing. Allowed is empty when there was no signing in: an
// identity's token is not ours to ask for, and some kinds have no harmless way.
func (c catalogue) probe(ctx context.Context, cfg driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	parsed, err := c.parse(cfg)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	s, err := (&target{catalogue: c, config: parsed}).session(r.Sub)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	if len(r.Servers) == 0 {
		return driver.ProbeResult{Took: time.Since(started)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	s.login, s.over, s.dialer, s.reading = r.Credential.Values(), ctx, r.Dialer, r.Reading
	if err := s.talkTo(r.Servers[0]); err != nil {
		return driver.ProbeResult{}, err
	}
	if err := s.reach(ctx); err != nil {
		return driver.ProbeResult{}, err
	}
	var result driver.ProbeResult
	if s.service.probe != nil && signsIn(r.Credential) {
		if err := s.checkLogin(); err != nil {
			return driver.ProbeResult{}, err
		}
		if err := s.service.probe(ctx, s); err != nil {
			return driver.ProbeResult{}, s.answered(ctx, err)
		}
		result.Allowed = []string{"sign in"}
	}
	result.TLS, result.Took = s.protocol, time.Since(started)
	return result, nil
}

// checkLogin refuses what would end a word or a line in a protocol.
func (s *session) checkLogin() error {
	for name, value := range s.login {
		if hostile(value.Reveal()) {
			return patchbay.Errorf(patchbay.LoginRefused, "the login's %s has control characters", name)
		}
	}
	return nil
}

// value is one of the login's, or of the place's.
func (s *session) value(name string) string {
	if v := s.login[name].Reveal(); v != "" {
		return v
	}
	return s.facts[name]
}

// refused is the service's no to the login. Its own words are not kept: they
// may be anything.
func (s *session) refused(error) error {
	return patchbay.Errorf(patchbay.LoginRefused, "%s refuses the login", s.asked)
}

// answered says what an error of a client library means, when it is not a
// refusal: the connection was there a moment ago.
func (s *session) answered(ctx context.Context, err error) error {
	var already *patchbay.Error
	var network net.Error
	isNetwork := errors.As(err, &network)
	switch {
	case errors.As(err, &already):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return s.fault(ctx, err)
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), isNetwork && network.Timeout():
		return patchbay.Errorf(patchbay.Timeout, "%s takes connections and does not answer", s.asked).AsTransient()
	}
	e := driver.DialError(err, s.asked)
	if e.Code == patchbay.TargetUnreachable && !isNetwork && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return s.strange("no answer that its client knows")
	}
	return s.fault(ctx, err)
}

// strange is an answer that no service of this kind gives; how is in our words.
func (s *session) strange(how string) error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, but not as a service of this kind would (%s)", s.asked, how).AsTransient()
}

// seen notes the protocol of a connection.
func (s *session) seen(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		s.protocol = tls.VersionName(t.ConnectionState().Version)
	}
}

// says reports whether err's words have one of these in them: some libraries
// have no other way to tell.
func says(err error, words ...string) bool {
	text := strings.ToLower(err.Error())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

func missing(what, name string) error {
	return patchbay.Errorf(patchbay.ChildMissing, "there is no %s %s", what, clip(name))
}
