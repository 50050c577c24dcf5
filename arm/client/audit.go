package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// AuditQuery narrows a list of audit lines. Zero fields do not.
type AuditQuery struct {
	Tenant   string // the operator sees all tenants'
	Caller   string // a name or an object id
	Resource patchbay.ID
	Action   string
	Result   string
	Since    time.Time
	Until    time.Time
}

func (q AuditQuery) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"tenant": q.Tenant, "caller": q.Caller, "resource": string(q.Resource), "action": q.Action, "result": q.Result,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return v
}

// AuditEntries lists lines of the audit log, oldest first.
func (c *Client) AuditEntries(ctx context.Context, q AuditQuery) ([]patchbay.AuditEntry, error) {
	v := q.values()
	v.Set("$top", "1000")
	return all[patchbay.AuditEntry](ctx, c, ownProvider+"/audit", v)
}

// ExportAudit writes the lines to w as JSON lines, as the server sends them. It
// fails when the export broke off; w then has a part of it.
func (c *Client) ExportAudit(ctx context.Context, q AuditQuery, w io.Writer) error {
	u := *c.base
	u.Path += ownProvider + "/audit"
	v := q.values()
	v.Set("api-version", clientVersion)
	v.Set("format", "jsonl")
	u.RawQuery = v.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/x-ndjson")
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	patient := *c.http
	patient.Timeout = 0 // a log is as long as it is
	res, err := patient.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return c.unreachable(ctx, err)
		}
		e := arm.ParseError(res.StatusCode, answer)
		e.Err = AnswerStatus(res.StatusCode)
		return e
	}
	broken := &brokenReader{r: res.Body}
	if _, err := io.Copy(w, broken); err != nil {
		if broken.err != nil {
			return patchbay.Errorf(patchbay.Internal, "the export broke off: what was written is not all of it").
				WithFix("ask again; the server's log says why it broke off")
		}
		return err
	}
	return nil
}

// brokenReader tells errors of reading from those of writing.
type brokenReader struct {
	r   io.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// AuditReport is what a check of the audit log found.
type AuditReport struct {
	Lines int64 `json:"lines"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	Head  struct {
		Seq  int64  `json:"seq"`
		Hash string `json:"hash"`
	} `json:"head"`
	Problems []struct {
		Kind    string `json:"kind"`
		Seq     int64  `json:"seq"`
		Message string `json:"message"`
	} `json:"problems"`
	More int64 `json:"more,omitempty"`

	// Raw is the whole answer.
	Raw json.RawMessage `json:"-"`
}

// VerifyAudit has the server check its log. expect is a line that was noted
// before, SEQ:HASH; "" is none.
func (c *Client) VerifyAudit(ctx context.Context, expect string) (AuditReport, error) {
	var v AuditReport
	q := url.Values{}
	if expect != "" {
		q.Set("expect", expect)
	}
	if _, _, err := c.send(ctx, request{method: http.MethodPost, path: ownProvider + "/audit/verify", query: q}, &v.Raw); err != nil {
		return v, err
	}
	if err := json.Unmarshal(v.Raw, &v); err != nil {
		return v, patchbay.Errorf(patchbay.Internal, "the server's answer is not what this version expects: %w", err)
	}
	return v, nil
}
