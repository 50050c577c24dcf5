package external

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Bounds on what is tried.
const (
	dialLimit  = 5 * time.Second
	probeLimit = 15 * time.Second
)

// Inspect implements [driver.Target]. There is nobody to ask: it says what is
// known of the place, and tries the way there.
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	s, err := t.session(sub)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	s.dialer = t.dialer
	info := driver.TargetInfo{Values: s.facts}
	switch at, err := s.locate(ctx); {
	case errors.Is(err, errNowhere):
		info.Warnings = append(info.Warnings, "nothing says where this service is, so the way there was not tried")
		return info, nil
	case err != nil:
		return info, err
	default:
		if err := s.talkTo(at); err != nil {
			return info, err
		}
	}
	if err := s.reach(ctx); err != nil {
		return info, err // what is known of the place stays known
	}
	info.TLS = s.protocol
	return info, nil
}

// session is one attempt to talk to a service from some vantage point.
type session struct {
	*target
	service  service
	facts    map[string]string
	login    map[string]patchbay.Secret
	reading  driver.Reading
	over     context.Context // of the whole attempt: its connections end with it
	dialer   driver.Dialer
	asked    string      // host:port, as the registration or the caller has it
	at       string      // host:port that is dialed: a name server may have said it
	tls      *tls.Config // nil: in the clear
	protocol string      // of TLS, once it was seen
}

var errNowhere = errors.New("nothing says where it is")

// locate finds the address.
func (s *session) locate(ctx context.Context) (at string, err error) {
	at, _ = s.where(s.service, s.facts)
	if at == "" {
		return "", errNowhere
	}
	s.asked = at
	if s.service.kind == "mongodb-atlas" {
		if at, err = s.seed(ctx, at); err != nil {
			return "", err
		}
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil || !driver.IsHost(host) {
		return "", invalid("%s is not host:port", clip(s.asked))
	}
	return at, nil
}

// talkTo makes at the session's address, and decides how it is spoken to.
func (s *session) talkTo(at string) (err error) {
	s.at = at
	asked, secure := s.where(s.service, s.facts)
	s.asked = asked
	if !secure && s.service.cover == tlsScheme || s.facts["ssl"] == "false" || s.facts["sslmode"] == "disable" {
		return nil
	}
	if s.noTLS && s.reading.Mode != driver.TLSVerifyFull && s.reading.Mode != driver.TLSVerifyCA && s.reading.Mode != driver.TLSRequire {
		return nil
	}
	host, _, _ := net.SplitHostPort(at)
	s.tls, err = s.secure().Config(host)
	return err
}

// secure is how far TLS is insisted on: as the registration says, and no less than
// the application's library will.
func (s *session) secure() driver.TLS { return s.encryption().ReadBy(s.reading) }

// reach opens a connection, with TLS where that comes first.
func (s *session) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := s.dialer.DialContext(ctx, "tcp", s.at)
	if err != nil {
		return s.fault(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	if s.tls == nil || s.service.cover == tlsLater || s.service.kind == "nats" {
		return nil
	}
	secured := tls.Client(conn, s.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return s.fault(ctx, err)
	}
	s.protocol = tls.VersionName(secured.ConnectionState().Version)
	return nil
}

// DialContext makes s a dialer to its own address, whatever it is asked for: a
// client library looks no name up here, and a server can't send it elsewhere.
// The connection ends with the attempt, whatever the library thinks of contexts.
func (s *session) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := s.dialer.DialContext(ctx, "tcp", s.at)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(s.over, func() { _ = conn.Close() })
	return conn, nil
}

// HostName tells go-mssqldb that names are looked up where the dialer stands.
func (s *session) HostName() string { return "" }

// fault says what a failed connection means.
func (s *session) fault(ctx context.Context, err error) error {
	var already *patchbay.Error
	switch {
	case errors.As(err, &already):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return &patchbay.Error{Code: patchbay.Canceled, Message: "canceled while talking to " + s.asked, Err: context.Canceled}
	}
	e := s.secure().DialError(err, s.asked)
	switch {
	case errors.As(err, new(tls.RecordHeaderError)) && s.noTLS:
		e.Message += ", as it was registered; but the settings of a connection to " + s.kinds[s.service.kind].Title + " make its clients insist on TLS"
		e.Fix = "turn TLS on there, and register it without tls.off"
	case errors.As(err, new(tls.RecordHeaderError)):
		e.Fix = s.plainly()
	case e.Code == patchbay.CertificateInvalid:
		e.Fix = driver.CertificateFix(e, "the property tls.serverName", "the property tls.ca")
	}
	return e
}

// plainly is how a service without TLS is registered.
func (s *session) plainly() string {
	if name := switchOf(s.kinds[s.service.kind]); name == "ssl" {
		return "register it as " + s.service.clear() + "://, or with the value ssl=false"
	} else if name != "" {
		return "register it with the value sslmode=disable"
	}
	if s.service.cover == tlsScheme {
		return "register it with an endpoint that says http"
	}
	return "register it with the property tls.off"
}

// resolver looks SRV records up.
type resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

type systemResolver struct{}

func (systemResolver) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	return net.DefaultResolver.LookupSRV(ctx, service, proto, name)
}
