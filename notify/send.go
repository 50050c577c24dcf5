package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/version"
)

// contentType is an event and its data in one JSON document: CloudEvents'
// structured mode. What is signed is then all that is said.
const contentType = "application/cloudevents+json"

// envelope is a CloudEvent, version 1.0.
type envelope struct {
	SpecVersion     string             `json:"specversion"`
	ID              string             `json:"id"`
	Source          string             `json:"source"`
	Type            patchbay.EventType `json:"type"`
	Subject         patchbay.ID        `json:"subject,omitempty"`
	Time            time.Time          `json:"time"`
	DataContentType string             `json:"datacontenttype"`
	Data            json.RawMessage    `json:"data"`
}

func newClient(d *net.Dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: atOnce, IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		// The operator named the receiver. Where a redirect leads, nobody did.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// result is how one attempt went.
type result struct {
	status int             // 0: there was no answer
	err    *patchbay.Error // nil: it was delivered
	after  time.Duration   // that the receiver asked for
	took   time.Duration
	unkept bool // the store did not take how it went
}

// refused reports whether the receiver says that it is the event that it can't take.
func (r result) refused() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

func (r result) gone() bool { return r.status == http.StatusGone }

// send makes one attempt.
func (n *Notifier) send(ctx context.Context, e patchbay.Event) (r result) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	req, err := n.request(ctx, e)
	if err != nil {
		r.err = patchbay.AsError(err)
		return r
	}
	resp, err := n.client.Do(req)
	r.took = time.Since(began)
	if err != nil {
		r.err = n.unanswered(req, err)
		return r
	}
	// A connection is used again when its answer has been read; a long one is cut.
	_, _ = io.CopyN(io.Discard, resp.Body, 4096)
	_ = resp.Body.Close()
	r.status = resp.StatusCode
	if r.status < 200 || r.status > 299 {
		r.err = n.refusal(resp)
		r.after = retryAfter(resp.Header.Get("Retry-After"), n.o.Clock())
	}
	return r
}

func (n *Notifier) request(ctx context.Context, e patchbay.Event) (*http.Request, error) {
	body, err := json.Marshal(envelope{
		SpecVersion: "1.0", ID: e.ID, Source: n.o.Source, Type: e.Type, Subject: e.Subject, Time: e.Time.UTC(),
		DataContentType: "application/json", Data: e.Data,
	})
	if err != nil {
		return nil, err
	}
	keys, err := n.o.Keys()
	if err != nil {
		return nil, err
	}
	now := n.o.Clock()
	signature, err := keys.sign(e.ID, now, body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.o.Receiver.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err // the URL was parsed before
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "patchbay/"+version.Get().Version)
	req.Header.Set(webhooks.HeaderWebhookID, e.ID)
	req.Header.Set(webhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(webhooks.HeaderWebhookSignature, signature)
	return req, nil
}

// unanswered is the error of an attempt without an answer: in our words, since the
// library's has the whole URL in it, and what somebody put into a certificate.
func (n *Notifier) unanswered(req *http.Request, err error) *patchbay.Error {
	to := n.o.Receiver.address()
	if proxy, proxyErr := http.ProxyFromEnvironment(req); proxyErr == nil && proxy != nil {
		to += " (through the proxy " + proxy.Host + ")"
	}
	var refused *patchbay.Error
	if errors.As(err, &refused) {
		return patchbay.Errorf(refused.Code, "the receiver of events: %s", refused.Message).
			WithFix("name another with --events-to")
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return patchbay.Errorf(patchbay.CertificateInvalid, "the receiver of events: %s does not speak TLS", to).
			WithFix("look at the port in --events-to")
	}
	e := driver.DialError(err, to)
	e.Message = "the receiver of events: " + e.Message
	switch e.Code {
	case patchbay.CertificateInvalid:
		return e.WithFix("mend its certificate, or let the server's machine trust its authority (SSL_CERT_FILE)")
	case patchbay.NameNotResolved:
		return e.WithFix("mend the name in --events-to, or the name server of the server's machine")
	}
	return e.WithFix("look whether it runs, and whether the server's machine may reach it")
}

// refusal is the error of an answer that is no success.
func (n *Notifier) refusal(resp *http.Response) *patchbay.Error {
	e := patchbay.Errorf(patchbay.TargetMisbehaved, "the receiver of events at %s answered %d %s", n.o.Receiver, resp.StatusCode, http.StatusText(resp.StatusCode))
	switch code := resp.StatusCode; {
	case code >= 300 && code < 400:
		return e.WithFix("give the URL that it redirects to with --events-to: redirects are not followed")
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return e.WithFix("give it the key of --events-key-file, and what login it wants in the URL of --events-to")
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed:
		return e.WithFix("look at the path in the URL of --events-to: events are sent by POST")
	case code == http.StatusGone:
		return e.WithFix("it wants no events any more: give another with --events-to, or leave that out")
	}
	return e.WithFix("look at the log of the receiver")
}

// retryAfter reads how long a receiver wants to be left alone: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(0, wait), maxRetryAfter)
}
