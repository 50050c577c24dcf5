package arm

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
)

// ServerUnreachable is the code of an error that says that no Patchbay server
// answers at the client's address.
const ServerUnreachable patchbay.Code = "ServerUnreachable"

const (
	// clientVersion is the api-version of every request: the one that knows
	// everything.
	clientVersion = string(V20261101)

	ownProvider = "/providers/" + OwnProvider

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

// ClientConfig says which server a [Client] talks to.
type ClientConfig struct {
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

// NewClient checks the configuration; it does not talk to the server. The
// token is never sent in the clear: http is refused for anything but loopback.
func NewClient(c ClientConfig) (*Client, error) {
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
			e := ParseError(status, answer)
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

// ConnectionView is a linker as the server answers it: what a client decides
// by, and the whole of it.
type ConnectionView struct {
	ID         patchbay.ID `json:"id"`
	Name       string      `json:"name"`
	Properties struct {
		State  patchbay.State      `json:"provisioningState"`
		Client patchbay.ClientType `json:"clientType"`
		Target struct {
			Type     patchbay.TargetType `json:"type"`
			ID       patchbay.ID         `json:"id"`
			Endpoint string              `json:"endpoint"`
		} `json:"targetService"`
		Auth *struct {
			Type patchbay.AuthType `json:"authType"`
			Name string            `json:"name"`
		} `json:"authInfo"`
		Patchbay *struct {
			Access     patchbay.Access   `json:"access"`
			Naming     patchbay.Naming   `json:"naming"`
			Options    map[string]string `json:"options"`
			Generation int64             `json:"generation"`
			Principal  string            `json:"principal"`
			Operation  string            `json:"operation"`
			Keys       []string          `json:"keys"`
		} `json:"patchbay"`
	} `json:"properties"`
	ETag string          `json:"-"`
	Raw  json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the whole answer beside the members that are known.
func (v *ConnectionView) UnmarshalJSON(b []byte) error {
	type plain ConnectionView
	if err := json.Unmarshal(b, (*plain)(v)); err != nil {
		return err
	}
	v.Raw = bytes.Clone(b)
	return nil
}

// Source is the id of the connection's source; of a local one, its location's.
func (v ConnectionView) Source() patchbay.ID {
	source, _, _ := v.ID.ConnectionSource()
	return source
}

// TargetName is the target's id or, of one that has none, its endpoint.
func (v ConnectionView) TargetName() string {
	if v.Properties.Target.ID != "" {
		return string(v.Properties.Target.ID)
	}
	return v.Properties.Target.Endpoint
}

// Connection reads one; ResourceNotFound when there is none.
func (c *Client) Connection(ctx context.Context, id patchbay.ID) (ConnectionView, error) {
	var v ConnectionView
	h, _, err := c.send(ctx, request{method: http.MethodGet, path: string(id)}, &v)
	if err == nil {
		v.ETag = h.Get("ETag")
	}
	return v, err
}

// Connections lists those of a source, or of a location.
func (c *Client) Connections(ctx context.Context, source patchbay.ID) ([]ConnectionView, error) {
	if IsLocation(source) {
		return all[ConnectionView](ctx, c, string(source)+"/connectors", nil)
	}
	return all[ConnectionView](ctx, c, string(source)+"/providers/"+Provider+"/linkers", nil)
}

// IsLocation reports whether id is that of a location, which local connections
// are in.
func IsLocation(id patchbay.ID) bool { return id.Connector("x").IsConnector() }

// PutConnection begins to make or to replace a connection; properties are the
// linker's, in the words of the wire. operation is the id to watch.
func (c *Client) PutConnection(ctx context.Context, id patchbay.ID, properties map[string]any) (v ConnectionView, operation string, err error) {
	return c.writeConnection(ctx, http.MethodPut, id, properties, "")
}

// PatchConnection begins to change a connection that still has that ETag; ""
// is no condition. Members that are not in properties stay as they are.
func (c *Client) PatchConnection(ctx context.Context, id patchbay.ID, properties map[string]any, ifMatch string) (v ConnectionView, operation string, err error) {
	return c.writeConnection(ctx, http.MethodPatch, id, properties, ifMatch)
}

func (c *Client) writeConnection(ctx context.Context, method string, id patchbay.ID, properties map[string]any, ifMatch string) (v ConnectionView, operation string, err error) {
	r := request{method: method, path: string(id), body: map[string]any{"properties": properties}, header: atOnce()}
	if ifMatch != "" {
		r.header.Set("If-Match", ifMatch)
	}
	h, _, err := c.send(ctx, r, &v)
	if err != nil {
		return v, "", err
	}
	operation = operationOf(h)
	if operation == "" && v.Properties.Patchbay != nil {
		operation = v.Properties.Patchbay.Operation
	}
	return v, operation, nil
}

// DeleteConnection begins to delete; operation is "" when there was nothing to
// delete.
func (c *Client) DeleteConnection(ctx context.Context, id patchbay.ID) (operation string, err error) {
	h, _, err := c.send(ctx, request{method: http.MethodDelete, path: string(id), header: atOnce()}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// atOnce asks for an answer as soon as the operation has begun: whoever watches
// it sees its steps, and does not wait for the server to wait for its end.
func atOnce() http.Header { return http.Header{"Prefer": {"respond-async"}} }

// ValidateConnection begins a validation; the report is in the ended
// operation. fix applies what is safe first.
func (c *Client) ValidateConnection(ctx context.Context, id patchbay.ID, fix bool) (operation string, err error) {
	h, _, err := c.send(ctx, request{
		method: http.MethodPost, path: string(id) + ownProvider + "/validate", body: map[string]any{"fix": fix},
	}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// Rotation is what a rotate may be told: the new login of a connection whose
// login was given, and whether the old one ends at once.
type Rotation struct {
	Name      string
	Secret    patchbay.Secret
	RevokeNow bool
}

// RotateConnection begins to replace the connection's credential.
func (c *Client) RotateConnection(ctx context.Context, id patchbay.ID, r Rotation) (operation string, err error) {
	body := map[string]any{}
	if r.Name != "" {
		body["name"] = r.Name
	}
	if !r.Secret.IsZero() {
		body["secret"] = r.Secret.Reveal()
	}
	if r.RevokeNow {
		body["revokeNow"] = true
	}
	h, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + ownProvider + "/rotate", body: body}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// operationOf is the operation's id in the URL that Azure's clients poll:
// …/operationStatuses/{id}, or {id}*{hash}.
func operationOf(h http.Header) string {
	for _, name := range []string{"Azure-Asyncoperation", "Location"} {
		u, err := url.Parse(h.Get(name))
		if err != nil || u.Path == "" {
			continue
		}
		last := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
		if id, _, _ := strings.Cut(last, "*"); id != "" {
			return id
		}
	}
	return ""
}

// PreviewView is what a PUT would do.
type PreviewView struct {
	Kind  patchbay.OperationKind `json:"kind"`
	Steps []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"steps"`
	Settings []SettingView     `json:"settings"`
	Problems []*patchbay.Error `json:"problems,omitempty"`
}

// SettingView is a setting as the server answers it. Value is plain text: only
// the calls that are made to show values answer them.
type SettingView struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Secret      bool   `json:"secret"`
	ConfigType  string `json:"configType,omitempty"`
	Description string `json:"description,omitempty"`
}

// PreviewConnection says what PutConnection would do; it changes nothing.
func (c *Client) PreviewConnection(ctx context.Context, id patchbay.ID, properties map[string]any) (PreviewView, error) {
	var v PreviewView
	_, _, err := c.send(ctx, request{
		method: http.MethodPost, path: string(id) + ownProvider + "/preview", body: map[string]any{"properties": properties},
	}, &v)
	return v, err
}

// Configurations are the connection's settings with their values. A local
// connection has none written; they are computed.
func (c *Client) Configurations(ctx context.Context, id patchbay.ID) ([]SettingView, error) {
	var answer struct {
		Configurations []SettingView `json:"configurations"`
	}
	action := "/listConfigurations"
	if id.IsConnector() {
		action = "/generateConfigurations"
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + action}, &answer)
	return answer.Configurations, err
}

// Environment is every setting of a source.
func (c *Client) Environment(ctx context.Context, source patchbay.ID) (map[string]patchbay.Secret, error) {
	var answer struct {
		Environment map[string]patchbay.Secret `json:"environment"`
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(source) + ownProvider + "/environment"}, &answer)
	return answer.Environment, err
}

// OperationQuery narrows a list of operations.
type OperationQuery struct {
	Connection patchbay.ID
	Source     patchbay.ID
	Active     bool // only those that have not ended
	Limit      int  // at most so many, newest first; 0: all
}

// Operations lists operations, newest first.
func (c *Client) Operations(ctx context.Context, q OperationQuery) ([]patchbay.Operation, error) {
	query := url.Values{}
	if q.Connection != "" {
		query.Set("connection", string(q.Connection))
	}
	if q.Source != "" {
		query.Set("source", string(q.Source))
	}
	if q.Active {
		query.Set("active", "true")
	}
	ops := []patchbay.Operation{}
	err := page(ctx, c, request{method: http.MethodGet, path: ownProvider + "/operations", query: query},
		func(op patchbay.Operation) bool {
			ops = append(ops, op)
			return q.Limit == 0 || len(ops) < q.Limit
		})
	return ops, err
}

// Operation reads one.
func (c *Client) Operation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodGet, id, "", nil)
}

// Watch calls see with every version of the operation that the server shows,
// until it has ended. A server that is restarted meanwhile is waited for.
func (c *Client) Watch(ctx context.Context, id string, see func(patchbay.Operation)) (patchbay.Operation, error) {
	op, err := c.Operation(ctx, id)
	if err != nil {
		return op, err
	}
	see(op)
	lastAnswer := time.Now()
	for !op.State.Ended() {
		next, err := c.operation(ctx, http.MethodGet, id, "", url.Values{
			"wait": {strconv.Itoa(longPoll)}, "version": {strconv.FormatInt(op.Version, 10)},
		})
		switch {
		case err == nil:
			lastAnswer = time.Now()
			op = next
			see(op)
		case patchbay.CodeOf(err) != ServerUnreachable || time.Since(lastAnswer) > watchPatience:
			return op, err
		default:
			if err := sleep(ctx, time.Second); err != nil {
				return op, err
			}
		}
	}
	return op, nil
}

// CancelOperation asks a running operation to go back.
func (c *Client) CancelOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/cancel", nil)
}

// RetryOperation lets one that waits for its next attempt make it now.
func (c *Client) RetryOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/retry", nil)
}

// AbandonOperation gives one up; what it made becomes leftovers.
func (c *Client) AbandonOperation(ctx context.Context, id string) (patchbay.Operation, error) {
	return c.operation(ctx, http.MethodPost, id, "/abandon", nil)
}

func (c *Client) operation(ctx context.Context, method, id, action string, query url.Values) (patchbay.Operation, error) {
	var op patchbay.Operation
	if id == "" || strings.ContainsAny(id, "/?#\\") || strings.Contains(id, "..") {
		return op, patchbay.Errorf(patchbay.InvalidArgument, "%q is not an operation's id", id)
	}
	_, _, err := c.send(ctx, request{method: method, path: ownProvider + "/operations/" + id + action, query: query}, &op)
	return op, err
}

// Leftovers are what is left where, and why.
func (c *Client) Leftovers(ctx context.Context) ([]patchbay.Leftover, error) {
	return all[patchbay.Leftover](ctx, c, ownProvider+"/leftovers", nil)
}

// ForgetLeftover strikes one off the list; what it stands for stays where it is.
func (c *Client) ForgetLeftover(ctx context.Context, id string) error {
	if id == "" || strings.ContainsAny(id, "/?#\\") || strings.Contains(id, "..") {
		return patchbay.Errorf(patchbay.InvalidArgument, "%q is not a leftover's id", id)
	}
	_, _, err := c.send(ctx, request{method: http.MethodDelete, path: ownProvider + "/leftovers/" + id}, nil)
	return err
}

// Sweep begins an operation that tries every leftover now.
func (c *Client) Sweep(ctx context.Context) (patchbay.Operation, error) {
	var op patchbay.Operation
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: ownProvider + "/sweep"}, &op)
	return op, err
}

// ResourceView is an entry of the inventory as the server answers it.
type ResourceView struct {
	ID         patchbay.ID `json:"id"`
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	Location   string      `json:"location"`
	Properties struct {
		Driver   string         `json:"driver"`
		Endpoint string         `json:"endpoint"`
		State    patchbay.State `json:"provisioningState"`
		Warnings []string       `json:"warnings"`
	} `json:"properties"`
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the whole answer beside the members that are known.
func (v *ResourceView) UnmarshalJSON(b []byte) error {
	type plain ResourceView
	if err := json.Unmarshal(b, (*plain)(v)); err != nil {
		return err
	}
	v.Raw = bytes.Clone(b)
	return nil
}

// Resources lists the inventory.
func (c *Client) Resources(ctx context.Context) ([]ResourceView, error) {
	return all[ResourceView](ctx, c, ownProvider+"/resources", nil)
}

// Resource reads one.
func (c *Client) Resource(ctx context.Context, id patchbay.ID) (ResourceView, error) {
	var v ResourceView
	_, _, err := c.send(ctx, request{method: http.MethodGet, path: string(id)}, &v)
	return v, err
}

// PutResource registers a resource or changes it; check asks the resource
// itself whether what is said of it is true.
func (c *Client) PutResource(ctx context.Context, id patchbay.ID, body map[string]any, check bool) (v ResourceView, created bool, err error) {
	r := request{method: http.MethodPut, path: string(id), body: body}
	if !check {
		r.query = url.Values{"check": {"false"}}
	}
	_, status, err := c.send(ctx, r, &v)
	return v, status == http.StatusCreated, err
}

// DeleteResource forgets a resource; existed is false when there was none.
func (c *Client) DeleteResource(ctx context.Context, id patchbay.ID) (existed bool, err error) {
	_, status, err := c.send(ctx, request{method: http.MethodDelete, path: string(id)}, nil)
	return status != http.StatusNoContent, err
}

// Subscriptions lists them.
func (c *Client) Subscriptions(ctx context.Context) ([]patchbay.Subscription, error) {
	return all[patchbay.Subscription](ctx, c, "/subscriptions", nil)
}

// ResourceGroups lists those of a subscription.
func (c *Client) ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	return all[patchbay.ResourceGroup](ctx, c, "/subscriptions/"+subscription+"/resourceGroups", nil)
}

// SettingsKind is a kind of target that the settings table has names for.
type SettingsKind struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	CLI   []string `json:"cli"` // az's words for it
}

// SettingsKinds lists what the settings table knows.
func (c *Client) SettingsKinds(ctx context.Context) ([]SettingsKind, error) {
	return all[SettingsKind](ctx, c, ownProvider+"/settings", nil)
}

// SettingsView is the settings of one kind, for one client type, one way to
// sign in and one naming.
type SettingsView struct {
	Kind     string `json:"kind"`
	Client   string `json:"client"`
	Auth     string `json:"auth"`
	Naming   string `json:"naming"`
	Settings []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Secret      bool   `json:"secret"`
		Optional    bool   `json:"optional"`
		File        bool   `json:"file"`
	} `json:"settings"`
}

// SettingsTable is what the settings table has for a kind of target; "" for
// the others is the kind's default.
func (c *Client) SettingsTable(ctx context.Context, kind, client, auth, naming string) (SettingsView, error) {
	query := url.Values{}
	for name, value := range map[string]string{"kind": kind, "client": client, "auth": auth, "naming": naming} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var v SettingsView
	_, _, err := c.send(ctx, request{method: http.MethodGet, path: ownProvider + "/settings", query: query}, &v)
	return v, err
}
