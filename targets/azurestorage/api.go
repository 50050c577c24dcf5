package azurestorage

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// version is of the protocol, for requests and signatures: the newest whose signatures
// have no field that only later ones know.
const version = "2020-10-02"

// Bounds on a connection: on what an answer holds, in bytes, on how long it may take to
// be made, and on how many there are to a host.
const (
	maxAnswer   = 16 << 20
	maxHeader   = 64 << 10
	dialLimit   = 10 * time.Second
	idleLimit   = 30 * time.Second
	connections = 4
)

// api speaks to an account's services: with a key, with a signature, or with neither.
type api struct {
	account string
	key     []byte
	sas     url.Values
	tls     driver.TLS
	asked   string        // what a message calls the server; "": its address
	refusal patchbay.Code // what it means not to be let in
	client  *http.Client
	pool    *http.Transport
	// protocol is that of TLS that the last answer came with, "" in the clear.
	protocol atomic.Value
}

func newAPI(t driver.TLS, d driver.Dialer, asked string, refusal patchbay.Code) (*api, error) {
	encryption, err := t.Config("")
	if err != nil {
		return nil, err
	}
	a := &api{tls: t, asked: asked, refusal: refusal}
	a.protocol.Store("")
	dial := func(ctx context.Context, network, address string) (*link, error) {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l := &link{budget: driver.NewBudget(a.called(address), maxAnswer)}
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

// as is the same connections, with a signature in place of the key.
func (a *api) as(sas url.Values) *api {
	other := &api{account: a.account, sas: sas, tls: a.tls, asked: a.asked, refusal: patchbay.LoginRefused, client: a.client, pool: a.pool}
	other.protocol.Store("")
	return other
}

func (a *api) close() { a.pool.CloseIdleConnections() }

func (a *api) called(address string) string {
	if a.asked != "" {
		return a.asked
	}
	return address
}

// link is a connection, whose bounds are each request's.
type link struct {
	net.Conn
	budget   *driver.Budget
	protocol string // of TLS; "" in the clear
}

// request is what a service is asked.
type request struct {
	method  string
	at      place
	table   bool   // it is signed as tables want it
	path    string // below the service's, escaped
	query   url.Values
	header  map[string]string
	body    []byte
	allowed []int // statuses, besides those of success
}

// answer is what a service said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request. A status that is none of success is an error, but for those that
// are allowed.
func (a *api) do(ctx context.Context, what string, q request) (answer, error) {
	got, err := a.ask(ctx, q)
	if err != nil {
		return answer{}, a.unreachable(ctx, what, q.at.server.Address(), err)
	}
	if got.status >= 200 && got.status < 300 || slices.Contains(q.allowed, got.status) {
		return got, nil
	}
	return got, a.meaning(what, q.at, got)
}

func (a *api) ask(ctx context.Context, q request) (got answer, err error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	var l *link
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if l, _ = c.Conn.(*link); l != nil {
			l.budget.Renew(ctx)
		}
	}})
	u := q.at.server.URL() + q.at.path + q.path
	query := url.Values{}
	for _, values := range []url.Values{q.query, a.sas} {
		for name, value := range values {
			query[name] = value
		}
	}
	// A + is a space for some, and itself for others.
	if encoded := strings.ReplaceAll(query.Encode(), "+", "%20"); encoded != "" {
		u += "?" + encoded
	}
	r, err := http.NewRequestWithContext(traced, q.method, u, bytes.NewReader(q.body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("User-Agent", "patchbay")
	r.Header.Set("X-Ms-Version", version)
	r.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if a.key != nil {
		text := canonical(r, q, a.account)
		r.Header.Set("Authorization", "SharedKey "+a.account+":"+sum(a.key, text))
	}
	response, err := a.client.Do(r)
	if errors.Is(err, http.ErrSchemeMismatch) {
		err = tls.RecordHeaderError{} // which the library has made that of
	}
	if err == nil {
		got.status, got.header = response.StatusCode, response.Header
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
	return got, err
}

// sum signs a text.
func sum(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// canonical is what of a request a key signs.
func canonical(r *http.Request, q request, account string) string {
	resource := "/" + account + r.URL.EscapedPath()
	if q.table {
		if comp := q.query.Get("comp"); comp != "" {
			resource += "?comp=" + comp
		}
		return strings.Join([]string{q.method, "", r.Header.Get("Content-Type"), r.Header.Get("X-Ms-Date"), resource}, "\n")
	}
	length := ""
	if len(q.body) > 0 {
		length = strconv.Itoa(len(q.body))
	}
	lines := []string{q.method, "", "", length, "", r.Header.Get("Content-Type"), "",
		r.Header.Get("If-Modified-Since"), r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), r.Header.Get("If-Unmodified-Since"), ""}
	var own []string
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			own = append(own, lower+":"+r.Header.Get(name))
		}
	}
	slices.Sort(own)
	lines = append(append(lines, own...), resource)
	var asked []string
	for name, values := range q.query {
		asked = append(asked, strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	slices.Sort(asked)
	return strings.Join(append(lines, asked...), "\n")
}

// unreachable says what a request means that had no answer.
func (a *api) unreachable(ctx context.Context, what, address string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	}
	e := *a.tls.DialError(err, a.called(address))
	if e.Code == patchbay.CertificateInvalid {
		fix := driver.CertificateFix(&e, "the endpoint", "the property tls.ca")
		if driver.HopOf(&e) == driver.HopTLS {
			fix = "where the service speaks in the clear, say so: give the endpoint as http://"
		}
		e = *e.WithFix("%s", fix)
	}
	e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
	e.Message = what + ": " + e.Message
	return &e
}

// code is the service's word for what went wrong; "" where it has none.
func (g answer) code() string {
	if word := g.header.Get("X-Ms-Error-Code"); word != "" {
		return word
	}
	var inXML struct {
		Code string `xml:"Code"`
		Word string `xml:"code"`
	}
	if xml.Unmarshal(bytes.TrimPrefix(g.body, []byte("\ufeff")), &inXML) == nil && inXML.Code+inXML.Word != "" {
		return inXML.Code + inXML.Word
	}
	var inJSON struct {
		Error struct {
			Code string `json:"code"`
		} `json:"odata.error"`
	}
	_ = json.Unmarshal(g.body, &inJSON) // what is none says nothing
	return inJSON.Error.Code
}

// azures reports whether an answer is a storage service's at all.
func (g answer) azures() bool {
	return g.header.Get("X-Ms-Version") != "" || g.header.Get("X-Ms-Request-Id") != ""
}

// meaning says what a status means.
func (a *api) meaning(what string, at place, got answer) error {
	word, address := got.code(), a.called(at.server.Address())
	var e *patchbay.Error
	switch {
	case got.status == http.StatusTooManyRequests, got.status >= 500:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s can't at the moment (HTTP %d)", what, address, got.status).AsTransient()
	case !got.azures():
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s answers, and not as a storage account would (HTTP %d)", what, address, got.status).
			WithFix("see that the endpoint is the account's own: az storage account show --query primaryEndpoints")
	case word == "KeyBasedAuthenticationNotPermitted":
		e = patchbay.Errorf(patchbay.NotSupported, "%s: the account lets nobody in with its key, nor with what the key signs", what).
			WithFix("az storage account update --allow-shared-key-access true; or register it as external, for identities")
	case got.status == http.StatusForbidden && word == "AuthorizationFailure" && a.refusal == patchbay.AdminRefused:
		e = patchbay.Errorf(a.refusal, "%s: %s does not let us in: the account's firewall is closed to this address, or the key is not the account's", what, address).
			WithFix("az storage account network-rule add for this server's address; or register the account again with a key that is its own")
	case got.status == http.StatusUnauthorized || got.status == http.StatusForbidden && !mismatch(word):
		e = patchbay.Errorf(a.refusal, "%s: %s does not take the key or the signature", what, address)
		if a.refusal == patchbay.AdminRefused {
			e = e.WithFix("register the account again with a key that is its own (az storage account keys list), and see that the clock of this server is right: a quarter of an hour is too much")
		}
	case got.status == http.StatusForbidden:
		e = patchbay.Errorf(patchbay.RightsMissing, "%s: %s does not allow it", what, address)
		if a.refusal == patchbay.AdminRefused {
			e.Code = patchbay.AdminRights
		}
	case word == "ContainerBeingDeleted", word == "QueueBeingDeleted", word == "TableBeingDeleted", word == "ShareBeingDeleted":
		e = patchbay.Errorf(patchbay.ChildMissing, "%s: it is being deleted", what)
	case word == "PublicAccessNotPermitted":
		e = patchbay.Errorf(patchbay.NotSupported, "%s: the container is open to the public and its account forbids that, and so takes no change of its policies", what).
			WithFix("az storage container set-permission --public-access off")
	case got.status == http.StatusPreconditionFailed, got.status == http.StatusConflict:
		e = patchbay.Errorf(patchbay.Conflict, "%s: somebody else changes it at the same moment", what).AsTransient()
	case got.status == http.StatusNotFound:
		e = patchbay.Errorf(patchbay.ChildMissing, "%s: it is not there", what)
	default:
		e = patchbay.Errorf(patchbay.NotSupported, "%s: %s does not take it (HTTP %d)", what, address, got.status)
	}
	if word != "" && a.refusal == patchbay.AdminRefused {
		e = e.WithSaid(word)
	}
	return e
}

// mismatch reports that a signature is good, and not for that.
func mismatch(word string) bool {
	return word == "AuthorizationPermissionMismatch" || word == "AuthorizationResourceTypeMismatch" || word == "AuthorizationServiceMismatch"
}

// name is what a service says that it is: Azurite-Blob/3.35.0.
func (g answer) name() string {
	first, _, _ := strings.Cut(g.header.Get("Server"), " ")
	if first == "" {
		first = "protocol " + g.header.Get("X-Ms-Version")
	}
	return first
}
