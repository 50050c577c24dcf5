// Package client asks a Patchbay server over HTTP, in the words of package arm:
// with the token that it is given, which goes to no other address.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// ServerUnreachable is the code of an error that says that no Patchbay server
// answers at the client's address.
const ServerUnreachable patchbay.Code = "ServerUnreachable"

const (
	// clientVersion is the api-version of every request: the one that knows
	// everything.
	clientVersion = string(arm.V20261101)

	ownProvider = "/providers/" + arm.OwnProvider

	// maxAnswer bounds what one answer may make the client hold, in bytes.
	maxAnswer = 64 << 20

	// longPoll is how long the server is asked to hold one wait, in seconds; the
	// API's limit is 30.
	longPoll = 25

	clientTries   = 4
	maxRetryAfter = 30 * time.Second
	// watchPatience is how long a watch goes on without any answer: time for a
	// server to be restarted under it.
	watchPatience = time.Minute
)

// Config says which server a [Client] talks to.
type Config struct {
	// URL is https://host:port, or http:// on a loopback address; a path before
	// the routes is kept.
	URL   string
	Token patchbay.Secret
	// CA is PEM certificates, trusted in place of the system's; nil: the system's.
	CA []byte
	// UserAgent names the program, for the server's log.
	UserAgent string
	// Timeout bounds one request; 0 is a minute. It has to be longer than the
	// 30 seconds that a long poll is held.
	Timeout time.Duration
}

// Client speaks to a Patchbay server. Its methods may be called from several
// goroutines. Errors are [*patchbay.Error] with the server's own code, message
// and fix; the HTTP status is an [AnswerStatus] in their chain. A request that
// the server says it did not do (429, and 503 where a repetition is harmless)
// is repeated a few times.
type Client struct {
	base      *url.URL
	token     patchbay.Secret
	userAgent string
	http      *http.Client
}

// AnswerStatus is the HTTP status that came with an error.
type AnswerStatus int

func (s AnswerStatus) Error() string {
	return fmt.Sprintf("HTTP %d %s", int(s), http.StatusText(int(s)))
}

// New checks the configuration; it does not talk to the server. The
// token is never sent in the clear: http is refused for anything but loopback.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, patchbay.Errorf(patchbay.InvalidArgument,
			"the server's URL has to be of the form https://host:port")
	}
	switch {
	case base.Scheme == "https":
	case base.Scheme == "http" && loopback(base.Hostname()):
	case base.Scheme == "http":
		return nil, patchbay.Errorf(patchbay.InvalidArgument,
			"the token is not sent in the clear: %s is not a loopback address, so its URL has to begin with https://", base.Hostname())
	default:
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the server's URL has to begin with https://, not %q", base.Scheme+"://")
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	base.RawPath = ""

	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the authority's file holds no PEM certificate")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	return &Client{
		base: base, token: c.Token, userAgent: c.UserAgent,
		http: &http.Client{
			Transport: transport,
			Timeout:   timeout,
			// The API redirects nowhere, and the token must not follow.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// URL is the server's address.
func (c *Client) URL() string { return c.base.String() }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call; its path begins with a slash and is not yet escaped.
type request struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   any // marshaled when it is not nil
}

// send makes the call and decodes a 2xx answer into out, when it is not nil
// and there is one.
func (c *Client) send(ctx context.Context, r request, out any) (http.Header, int, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, 0, patchbay.Errorf(patchbay.Internal, "encode the request: %w", err)
		}
	}
	u := *c.base
	u.Path += r.path
	q := url.Values{"api-version": {clientVersion}}
	for k, v := range r.query {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	// The same for every try, so that a log shows that they are one request.
	requestID := uuid.NewString()

	for try := 1; ; try++ {
		header, status, answer, err := c.once(ctx, r, u.String(), requestID, body)
		if err != nil {
			return nil, 0, c.unreachable(ctx, err)
		}
		if status < 300 {
			if out != nil && len(answer) > 0 {
				if err := json.Unmarshal(answer, out); err != nil {
					return nil, status, patchbay.Errorf(patchbay.Internal,
						"the server's answer to %s %s is not what this version expects: %w", r.method, r.path, err)
				}
			}
			return header, status, nil
		}
		pause, again := retryAfter(r.method, status, header, try)
		if !again || sleep(ctx, pause) != nil {
			e := arm.ParseError(status, answer)
			e.Err = AnswerStatus(status)
			return header, status, e
		}
	}
}

func (c *Client) once(ctx context.Context, r request, u, requestID string, body []byte) (http.Header, int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, u, bytes.NewReader(body))
	if err != nil {
		return nil, 0, nil, err
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Ms-Client-Request-Id", requestID)
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, nil, err
	}
	if len(answer) > maxAnswer {
		return nil, 0, nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return res.Header, res.StatusCode, answer, nil
}

// retryAfter says whether the server did not do what was asked, so that asking
// again is right, and when.
func retryAfter(method string, status int, h http.Header, try int) (time.Duration, bool) {
	switch {
	case try >= clientTries:
		return 0, false
	case status == http.StatusTooManyRequests:
	case status == http.StatusServiceUnavailable && method != http.MethodPost:
	default:
		return 0, false
	}
	pause := time.Duration(try) * time.Second
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s >= 0 {
		pause = time.Duration(s) * time.Second
	}
	return pause, pause <= maxRetryAfter
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// unreachable turns the error of a call that got no answer into one that says
// what to do. It drops the request's URL: the address is enough.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	e := patchbay.Errorf(ServerUnreachable, "no Patchbay server answers at %s: %w", c.base, err)
	var unknown x509.UnknownAuthorityError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown):
		e.Code = patchbay.CertificateInvalid
		e.Message = fmt.Sprintf("the certificate of %s is of an authority that is not trusted here", c.base)
		e.Fix = "name the authority's file: --ca ca.crt (it is in the server's data directory)"
	case errors.As(err, &op):
		e.Fix = "patchbay serve"
	}
	return e
}

// page follows nextLinks until there is none or add says that it has enough.
// Only path and query of a link are followed, on the client's own address, so
// that the token goes nowhere else.
func page[T any](ctx context.Context, c *Client, r request, add func(T) bool) error {
	for {
		var answer struct {
			Value    []T    `json:"value"`
			NextLink string `json:"nextLink"`
		}
		if _, _, err := c.send(ctx, r, &answer); err != nil {
			return err
		}
		for _, v := range answer.Value {
			if !add(v) {
				return nil
			}
		}
		if answer.NextLink == "" {
			return nil
		}
		next, err := url.Parse(answer.NextLink)
		if err != nil || !strings.HasPrefix(next.Path, "/") {
			return patchbay.Errorf(patchbay.Internal, "the server's link to the next page is not a URL")
		}
		r = request{method: http.MethodGet, path: strings.TrimPrefix(next.Path, c.base.Path), query: next.Query()}
	}
}

func all[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	values := []T{}
	err := page(ctx, c, request{method: http.MethodGet, path: path, query: query}, func(v T) bool {
		values = append(values, v)
		return true
	})
	return values, err
}
