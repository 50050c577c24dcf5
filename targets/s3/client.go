package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Bounds on a server: on an answer, in bytes (a list of a hundred thousand users is half
// of it), on what stands before one, on how long a connection and a call may take, and on
// how many connections there are.
const (
	maxAnswer   = 32 << 20
	maxHeader   = 64 << 10
	dialLimit   = 10 * time.Second
	callLimit   = 30 * time.Second
	idleLimit   = 30 * time.Second
	connections = 4
)

// keys are what requests are signed with. The secret itself is told to nobody.
type keys struct {
	id     string
	secret patchbay.Secret
}

// client speaks S3, or the admin API, to one server.
type client struct {
	api    string // whose
	server driver.Server
	asked  string // what a message calls it
	region string
	keys   keys
	tls    driver.TLS
	http   *http.Client
	pool   *http.Transport
	// protocol is that of TLS that the last answer came with, "" in the clear.
	protocol atomic.Value
}

// newClient is for a server. to is the only address that is dialed; "" is the server's.
func newClient(c config, server driver.Server, to string, d driver.Dialer, who keys) (*client, error) {
	if to == "" {
		to = server.Address()
	}
	encryption, err := c.tls.Config(server.Host)
	if err != nil {
		return nil, err
	}
	a := &client{api: c.api, server: server, asked: server.Address(), region: c.region, keys: who, tls: c.tls}
	a.protocol.Store("")
	dial := func(ctx context.Context) (*link, error) {
		conn, err := d.DialContext(ctx, "tcp", to)
		if err != nil {
			return nil, err
		}
		l := &link{budget: driver.NewBudget(a.asked, maxAnswer)}
		l.Conn = l.budget.Conn(conn)
		return l, nil
	}
	a.pool = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialLimit)
			defer cancel()
			l, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return l, nil
		},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialLimit)
			defer cancel()
			l, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			secured := tls.Client(l.Conn, encryption)
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
	a.http = &http.Client{Transport: a.pool, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return a, nil
}

func (c *client) close() { c.pool.CloseIdleConnections() }

// link is a connection, whose bounds are each request's.
type link struct {
	net.Conn
	budget   *driver.Budget
	protocol string // of TLS; "" in the clear
}

// request is one to make. Its path is as it is, not as a URL has it.
type request struct {
	method string
	path   string
	query  url.Values
	header map[string]string
	body   []byte
	// unsigned has it made as nobody.
	unsigned bool
}

// answer is what a server said.
type answer struct {
	status int
	server string // what it calls itself
	body   []byte
	// code and region are what an error says; "" where it says nothing.
	code, region, message string
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// as is the same client for who has other keys. It shares the connections.
func (c *client) as(who keys) *client {
	other := &client{api: c.api, server: c.server, asked: c.asked, region: c.region, keys: who, tls: c.tls, http: c.http, pool: c.pool}
	other.protocol.Store("")
	return other
}

// do sends a request. An answer that refuses is none of its errors.
func (c *client) do(ctx context.Context, what string, q request) (answer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	var l *link
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) {
		if l, _ = g.Conn.(*link); l != nil {
			l.budget.Renew(ctx)
		}
	}})
	r, err := http.NewRequestWithContext(traced, q.method, c.server.URL()+"/", bytes.NewReader(q.body))
	if err != nil {
		return answer{}, patchbay.Errorf(patchbay.InvalidArgument, "%s: the endpoint makes no URL", what)
	}
	r.URL.Path, r.URL.RawPath = q.path, s3utils.EncodePath(q.path)
	r.URL.RawQuery = q.query.Encode()
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	r.Header.Set("User-Agent", "patchbay")
	sum := sha256.Sum256(q.body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if !q.unsigned {
		r = signer.SignV4(*r, c.keys.id, c.keys.secret.Reveal(), "", c.region)
	}
	var got answer
	response, err := c.http.Do(r)
	if errors.Is(err, http.ErrSchemeMismatch) {
		err = tls.RecordHeaderError{} // which the library has made that of
	}
	if err == nil {
		got.status, got.server = response.StatusCode, response.Header.Get("Server")
		got.body, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if l != nil {
		c.protocol.Store(l.protocol)
		if e := l.budget.Fault(); e != nil {
			err = e
		}
		l.budget.End()
	}
	if err != nil {
		return answer{}, c.unreachable(ctx, what, err)
	}
	if !got.ok() {
		var said struct {
			XMLName xml.Name `xml:"Error" json:"-"`
			Code    string
			Message string
			Region  string
		}
		if xml.Unmarshal(got.body, &said) == nil { // what is no error of S3's says nothing
			got.code, got.message, got.region = said.Code, said.Message, said.Region
		} else if json.Unmarshal(got.body, &said) == nil { // as MinIO's admin API has them
			got.code, got.message, got.region = said.Code, said.Message, said.Region
		}
	}
	return got, nil
}
