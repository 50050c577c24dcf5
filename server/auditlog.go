package server

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/audit"
	"patchbay.dev/patchbay/store"
)

// AuditLog is an [Audit] that can be read; [audit.Log] is one.
type AuditLog interface {
	Audit
	AuditEntries(ctx context.Context, f store.AuditFilter, after int64, limit int) ([]patchbay.AuditEntry, error)
	Verify(ctx context.Context, expect audit.Mark) (audit.Report, error)
	Export(ctx context.Context, f store.AuditFilter, w io.Writer) (int64, error)
}

func (s *Server) auditLog() (AuditLog, error) {
	if l, ok := s.opts.Audit.(AuditLog); ok {
		return l, nil
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "this server keeps no audit log that can be read")
}

// disclosed notes that the caller is given secrets of the resource. It comes
// before the answer: without the line nothing is shown.
func (x *exchange) disclosed(resource patchbay.ID) error {
	return x.told(patchbay.ActOf(x.ctx), patchbay.AuditEntry{Resource: resource})
}

// tell is how the use cases put a line into the log.
func (x *exchange) tell(ctx context.Context, e patchbay.AuditEntry) error {
	act := patchbay.ActOf(ctx)
	act.Action = cmp.Or(e.Action, act.Action)
	return x.told(act, e)
}

// told appends the lines of what was done and wrote nothing else.
func (x *exchange) told(act patchbay.Act, e patchbay.AuditEntry) error {
	if x.server.opts.Audit == nil {
		return nil
	}
	e.Time, e.Result = x.server.now().UTC(), cmp.Or(e.Result, patchbay.AuditSucceeded)
	for _, line := range store.Lines(act, e) {
		if err := x.server.opts.Audit.AppendAudit(x.ctx, line); err != nil {
			x.server.log.LogAttrs(x.ctx, slog.LevelError, "what a caller asked for is not answered: it can't be written to the audit log",
				slog.String("caller", line.Caller), slog.String("action", line.Action), slog.String("error", err.Error()))
			return patchbay.Errorf(arm.ServiceUnavailable, "this can't be answered now: the audit log can't be written")
		}
	}
	return nil
}

// auditFilter is what the request asks for. A tenant's callers see its own
// lines only.
func (x *exchange) auditFilter() (f store.AuditFilter, err error) {
	if !x.caller.subject.Operator {
		tenant := x.tenant()
		f.Tenant = &tenant
	} else if asked := x.query("tenant"); asked != "" {
		f.Tenant = &asked
	}
	f.Caller, f.Action, f.Resource = x.query("caller"), x.query("action"), patchbay.ID(x.query("resource"))
	switch f.Result = patchbay.AuditResult(strings.ToLower(x.query("result"))); f.Result {
	case "", patchbay.AuditAccepted, patchbay.AuditSucceeded, patchbay.AuditFailed, patchbay.AuditCanceled, patchbay.AuditRefused:
	default:
		return f, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter result is accepted, succeeded, failed, canceled or refused")
	}
	if len(f.Caller)+len(f.Action)+len(f.Resource) > patchbay.MaxIDLength {
		return f, patchbay.Errorf(patchbay.InvalidArgument, "the filters are too long")
	}
	if f.Since, err = x.instant("since"); err != nil {
		return f, err
	}
	f.Until, err = x.instant("until")
	return f, err
}

func (x *exchange) instant(name string) (t time.Time, err error) {
	s := x.query(name)
	if s == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, s); err != nil {
		return t, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter %s has to be a time, as in 2026-11-23T10:00:00Z", name)
	}
	return t, nil
}

const jsonLines = "application/x-ndjson"

// readAudit answers a page of the log, or with JSON lines all of it.
func (s *Server) readAudit(x *exchange) error {
	log, err := s.auditLog()
	if err != nil {
		return err
	}
	f, err := x.auditFilter()
	if err != nil {
		return err
	}
	if strings.EqualFold(x.query("format"), "jsonl") || strings.Contains(x.r.Header.Get("Accept"), jsonLines) {
		return x.exportAudit(log, f)
	}
	token, limit, err := x.page()
	if err != nil {
		return err
	}
	after := int64(0)
	if token != "" {
		if after, err = strconv.ParseInt(token, 10, 64); err != nil {
			return badSkip()
		}
	}
	page, err := log.AuditEntries(x.ctx, f, after, limit)
	if err != nil {
		return err
	}
	items := make([]any, len(page))
	next := ""
	for i, e := range page {
		items[i] = e
		if i+1 == limit {
			next = strconv.FormatInt(e.Seq, 10)
		}
	}
	return x.list(items, next)
}

// exportAudit streams the log, which may take longer than a request otherwise
// may, and is itself a line of it.
func (x *exchange) exportAudit(log AuditLog, f store.AuditFilter) error {
	if err := x.enter(wholeLog); err != nil {
		return err
	}
	act := patchbay.ActOf(x.ctx)
	act.Action = own + "audit/export/action"
	if err := x.told(act, patchbay.AuditEntry{}); err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", jsonLines)
	x.w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(&patient{x.w, http.NewResponseController(x.w), x.server.opts.Timeout}, 64<<10)
	_, err := log.Export(x.r.Context(), f, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		x.server.log.LogAttrs(x.ctx, slog.LevelError, "an export of the audit log broke off", slog.String("error", err.Error()))
		// The status is sent already. Only a connection that breaks tells the
		// client that the export is not whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// patient is an answer that may take as long as somebody reads it: each write
// has its own time.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	// What has no deadlines, as a recorder of a test, needs none set.
	_ = p.control.SetWriteDeadline(time.Now().Add(p.timeout))
	return p.ResponseWriter.Write(b)
}

func (s *Server) verifyAudit(x *exchange) error {
	log, err := s.auditLog()
	if err != nil {
		return err
	}
	var expect audit.Mark
	if asked := x.query("expect"); asked != "" {
		if expect, err = audit.ParseMark(asked); err != nil {
			return err
		}
	}
	report, err := log.Verify(x.ctx, expect)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, report)
}
