package rabbitmq

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Bounds on the management API: on what an answer holds, in bytes, on how long a
// connection may take to be made, and on how many there are.
const (
	maxAnswer   = 16 << 20
	maxHeader   = 64 << 10
	dialLimit   = 10 * time.Second
	idleLimit   = 30 * time.Second
	connections = 4
)

// api is the management API of a server, or of one of a cluster's.
type api struct {
	urls   []string
	admin  driver.UserPassword
	tls    driver.TLS
	client *http.Client
	pool   *http.Transport
	good   atomic.Int32 // which of the urls answered last
	// protocol is that of TLS that the last answer came with, "" in the clear.
	protocol atomic.Value
}

func newAPI(c config, d driver.Dialer, admin driver.UserPassword) (*api, error) {
	encryption, err := c.tls.Config("")
	if err != nil {
		return nil, err
	}
	a := &api{urls: c.management, admin: admin, tls: c.tls}
	a.protocol.Store("")
	dial := func(ctx context.Context, network, address string) (*link, error) {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l := &link{budget: driver.NewBudget(address, maxAnswer)}
		l.Conn = l.budget.Conn(conn)
		return l, nil
	}
	a.pool = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			l, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			l, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			host, _, _ := net.SplitHostPort(address)
			secured := tls.Client(l.Conn, driver.TLSTo(encryption, host))
			ctx, cancel := context.WithTimeout(ctx, dialLimit)
			defer cancel()
			if err := secured.HandshakeContext(ctx); err != nil {
				_ = l.Close()
				return nil, err
			}
			l.Conn, l.protocol = secured, tls.VersionName(secured.ConnectionState().Version)
			return l, nil
		},
		MaxResponseHeaderBytes: maxHeader, MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: idleLimit,
		DisableCompression: true,
	}
	a.client = &http.Client{Transport: a.pool, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return a, nil
}

func (a *api) close() { a.pool.CloseIdleConnections() }

// link is a connection to the API, whose bounds are each request's.
type link struct {
	net.Conn
	budget   *driver.Budget
	protocol string // of TLS; "" in the clear
}

// answer is what the API said.
type answer struct {
	status int
	body   []byte
}

// do sends a request, to the next server where one can't be connected to. path is
// encoded; in is what is sent as JSON, nil for nothing. A status that is none of
// success is an error, but for those that are allowed.
func (a *api) do(ctx context.Context, what, method, path string, in any, allowed ...int) (answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answer{}, patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
		}
	}
	first := int(a.good.Load())
	var failed error
	for i := range a.urls {
		at := (first + i) % len(a.urls)
		got, connected, err := a.ask(ctx, a.urls[at], method, path, body)
		if err == nil {
			a.good.Store(int32(at))
			return got, a.meaning(what, a.urls[at], got, allowed)
		}
		failed = a.unreachable(ctx, what, a.urls[at], err)
		if connected || ctx.Err() != nil {
			break // it may have been done
		}
	}
	return answer{}, failed
}

// ask sends a request to one server; connected says that it had a connection.
func (a *api) ask(ctx context.Context, base, method, path string, body []byte) (got answer, connected bool, err error) {
	var l *link
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if l, _ = c.Conn.(*link); l != nil {
			l.budget.Renew(ctx)
		}
	}})
	r, err := http.NewRequestWithContext(traced, method, base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, false, err
	}
	r.SetBasicAuth(a.admin.Username, a.admin.Password.Reveal())
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "patchbay")
	r.Header.Set("X-Reason", "Patchbay removes the login") // of a connection that is closed
	response, err := a.client.Do(r)
	if errors.Is(err, http.ErrSchemeMismatch) {
		err = tls.RecordHeaderError{} // which the library has made that of
	}
	if err == nil {
		got.status = response.StatusCode
		got.body, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if l != nil {
		a.protocol.Store(l.protocol)
		if e := l.budget.Fault(); e != nil {
			err = e
		}
		l.budget.End()
	}
	return got, l != nil, err
}

// unreachable says what a request means that had no answer.
func (a *api) unreachable(ctx context.Context, what, base string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	}
	address := strings.TrimPrefix(strings.TrimPrefix(base, "https://"), "http://")
	e := *a.tls.DialError(err, address)
	if e.Code == patchbay.CertificateInvalid {
		e = *e.WithFix("%s", certificateFix(&e))
	}
	e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
	e.Message = what + ": " + e.Message
	return &e
}

func certificateFix(e *patchbay.Error) string {
	if driver.HopOf(e) == driver.HopTLS {
		return "where the server speaks in the clear, say so: the endpoint as amqp://, and the property management as http://"
	}
	return driver.CertificateFix(e, "the property tlsServerName", "the property ca")
}

// meaning says what a status means.
func (a *api) meaning(what, base string, got answer, allowed []int) error {
	if got.status >= 200 && got.status < 300 {
		return nil
	}
	for _, status := range allowed {
		if got.status == status {
			return nil
		}
	}
	var said struct {
		Reason any `json:"reason"`
	}
	_ = json.Unmarshal(got.body, &said) // what is none says nothing
	reason := fmt.Sprint(said.Reason)
	var e *patchbay.Error
	switch {
	case got.status == http.StatusUnauthorized && reason == "User can only log in via localhost":
		e = patchbay.Errorf(patchbay.AdminRefused, "%s: the server lets %q in from its own machine alone", what, a.admin.Username).
			WithFix("make an administrator for Patchbay: rabbitmqctl add_user patchbay; rabbitmqctl set_user_tags patchbay administrator")
	case got.status == http.StatusUnauthorized && strings.HasPrefix(reason, "Not "), got.status == http.StatusForbidden:
		// "Not management user", "Not administrator user": it is signed in.
		e = patchbay.Errorf(patchbay.AdminRights, "%s: the administrator %q has not the tag administrator, without which nobody may make users", what, a.admin.Username).
			WithFix("rabbitmqctl set_user_tags %s administrator", word(a.admin.Username))
	case got.status == http.StatusUnauthorized:
		e = patchbay.Errorf(patchbay.AdminRefused, "%s: the server does not let the administrator %q in", what, a.admin.Username).
			WithFix("register the server again with an admin credential that signs in")
	case got.status == http.StatusTooManyRequests || got.status >= 500:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: the management API can't at the moment (HTTP %d)", what, got.status).AsTransient().
			WithFix("see whether the node has its cluster: rabbitmqctl cluster_status")
	case got.status == http.StatusBadRequest && reason == "vhost_or_user_not_found":
		e = patchbay.Errorf(patchbay.Conflict, "%s: the virtual host or the login went away meanwhile", what).AsTransient()
	case got.status == http.StatusBadRequest && strings.Contains(reason, "user_already_exists"):
		e = patchbay.Errorf(patchbay.Conflict, "%s: somebody else makes it at the same moment", what).AsTransient()
	case got.status == http.StatusBadRequest:
		e = patchbay.Errorf(patchbay.NotSupported, "%s: the server does not take it (HTTP 400)", what)
	default:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s answers, and not as RabbitMQ's management API would (HTTP %d)", what, base, got.status).
			WithFix("see that the management plugin is on: rabbitmq-plugins enable rabbitmq_management; and give its URL as the property management")
	}
	if said.Reason != nil {
		e = e.WithSaid(reason)
	}
	return e
}

// get reads what is at a path; found is false where there is nothing.
func (a *api) get(ctx context.Context, what, path string, into any) (found bool, err error) {
	got, err := a.do(ctx, what, http.MethodGet, path, nil, http.StatusNotFound)
	if err != nil || got.status == http.StatusNotFound {
		return false, err
	}
	if err := json.Unmarshal(got.body, into); err != nil {
		return false, patchbay.Errorf(patchbay.TargetUnreachable, "%s: the answer is none of RabbitMQ's management API", what).
			WithFix("give its URL as the property management")
	}
	return true, nil
}

// remove deletes what is at a path; absent is success.
func (a *api) remove(ctx context.Context, what, path string) error {
	_, err := a.do(ctx, what, http.MethodDelete, path, nil, http.StatusNotFound)
	return err
}

// path is one of the API, of names as they are.
func path(names ...string) string {
	var b strings.Builder
	b.WriteString("/api")
	for _, name := range names {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(name))
	}
	return b.String()
}

// word is a name as a shell takes it, and anybody may be shown it.
func word(name string) string {
	name = driver.Quoted(name)
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@", r))
	}) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
