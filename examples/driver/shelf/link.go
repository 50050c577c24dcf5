package shelf

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxAnswer bounds what the server may send for one question, in bytes.
const maxAnswer = 8 << 20

// server is where one is.
type server struct {
	driver.Server
	tls driver.TLS
}

// question is a request.
type question struct {
	method string // "" is GET
	path   string // see [path]
	match  string // the ETag of what is to be changed; "" for what is not to be there
	body   any    // what is sent as JSON; nil for nothing
}

// never is the ETag of nothing.
const never = `"never"`

// answer is what the server said to it.
type answer struct {
	status int
	tag    string
	body   []byte
	tls    string // protocol; "" in the clear
	from   string // who said it
}

// path is a path of names as they are.
func path(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString("/" + url.PathEscape(name))
	}
	return b.String()
}

// ask asks on a connection of its own. The error is of one that failed; what the server
// thinks of the question is in the answer.
func (s server) ask(ctx context.Context, d driver.Dialer, user driver.UserPassword, q question) (answer, *patchbay.Error) {
	budget := driver.NewBudget(s.Address(), maxAnswer)
	budget.Renew(ctx)
	defer budget.End()
	conn, err := s.connect(ctx, d, budget)
	if err != nil {
		return answer{}, s.fault(ctx, budget, err)
	}
	defer conn.Close()
	r, err := q.request(ctx, s.URL(), user)
	if err != nil {
		return answer{}, patchbay.Errorf(patchbay.Internal, "a request can't be made: %w", err)
	}
	// The transport gets the connection that is there, so that what goes wrong when one is
	// made is known for what it is; and nobody follows a redirection.
	made := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := http.Transport{DialContext: made, DialTLSContext: made, DisableKeepAlives: true, DisableCompression: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, s.fault(ctx, budget, err)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, tag: response.Header.Get("ETag"), from: s.Address()}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		return answer{}, s.fault(ctx, budget, err)
	}
	if response.TLS != nil {
		a.tls = tls.VersionName(response.TLS.Version)
	}
	if a.status == 429 || a.status >= 500 {
		return a, patchbay.Errorf(patchbay.TargetUnreachable, "%s can't at the moment (HTTP %d)", s.Address(), a.status).AsTransient()
	}
	return a, nil
}

func (s server) connect(ctx context.Context, d driver.Dialer, budget *driver.Budget) (net.Conn, error) {
	conn, err := d.DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return nil, err
	}
	conn = budget.Conn(conn)
	if s.Scheme == "http" {
		return conn, nil
	}
	settings, err := s.tls.Config(s.Host)
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, settings)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

func (q question) request(ctx context.Context, base string, user driver.UserPassword) (*http.Request, error) {
	method, body := q.method, []byte(nil)
	if method == "" {
		method = http.MethodGet
	}
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, base+q.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(user.Username, user.Password.Reveal())
	switch {
	case method == http.MethodGet:
	case q.match == "":
		r.Header.Set("If-None-Match", "*")
	default:
		r.Header.Set("If-Match", q.match)
	}
	return r, nil
}

// fault says what a question means that had no answer. None of its words are the
// server's.
func (s server) fault(ctx context.Context, budget *driver.Budget, err error) *patchbay.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	}
	if e := budget.Fault(); e != nil {
		return e
	}
	e := s.tls.DialError(err, s.Address())
	var limit net.Error
	switch {
	case driver.HopOf(e) == "" && e.Code == patchbay.TargetUnreachable && !(errors.As(err, &limit) && limit.Timeout()):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s gives no answer that can be used: it is in trouble, or no Shelf", s.Address()).AsTransient()
	case e.Code == patchbay.NameNotResolved:
		return e.AsTransient() // it was registered, so it will have one again
	case driver.HopOf(e) == driver.HopTLS:
		return e.WithFix("where it has no TLS, and whoever is in between may read the passwords, register it with http://")
	case e.Code == patchbay.CertificateInvalid:
		return e.WithFix("%s", driver.CertificateFix(e, "the property serverName", "the property ca"))
	}
	return e
}

// read reads an answer that has to have a status.
func (a answer) read(status int, into any) error {
	if a.status == status && json.Unmarshal(a.body, into) == nil {
		return nil
	}
	return a.strange()
}

// strange is the error for an answer that no Shelf gives.
func (a answer) strange() error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, and not as Shelf does (HTTP %d)", a.from, a.status).
		WithFix("see what listens there, and of which version it is").WithSaid(a.said())
}

// said is the server's own word for what is wrong, which only its administrator hears.
func (a answer) said() string {
	var said struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(a.body, &said) // what is none says nothing
	return said.Error
}

// during says what was tried when it failed.
func during(what string, err error) error {
	e := *patchbay.AsError(err)
	e.Message = what + ": " + e.Message
	return &e
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
