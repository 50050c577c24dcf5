package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// refusal is what a caller was not allowed.
type refusal struct {
	action string
	scope  patchbay.ID
	hidden bool // it was answered as if it were absent
}

// Bounds of what refusals make of the audit log. What is beyond is counted, and
// told in one line.
const (
	refusalWindow   = time.Minute
	strangerLines   = 10   // of one network that nobody signed in from, or one client that it named, in a window
	callerLines     = 100  // of one caller
	groupLines      = 1000 // of one tenant, or of all strangers: who has addresses by the thousand fills no disk
	groupTallies    = 256  // who of them is told apart at once
	refusalDeadline = 5 * time.Second
)

// refusals writes refusals to the audit log, and sums floods up: those of each
// tenant apart, so that nobody's flood hides another's.
type refusals struct {
	mu     sync.Mutex
	groups map[string]*refusalGroup
	next   time.Time // no window is over before
}

type refusalGroup struct {
	tallies map[string]*tally
	since   time.Time // lines are counted from
	lines   int
}

type tally struct {
	since time.Time
	lines int
	more  int
	last  patchbay.AuditEntry
}

// add counts a refusal of who in a group; it gives the lines to write now: this
// one, and what other windows have summed up.
func (f *refusals) add(group, who string, limit int, e patchbay.AuditEntry) []patchbay.AuditEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.ended(e.Time)
	g := f.groups[group]
	if g == nil {
		g = &refusalGroup{tallies: map[string]*tally{}, since: e.Time}
		if f.groups == nil {
			f.groups = map[string]*refusalGroup{}
		}
		f.groups[group] = g
	}
	if e.Time.Sub(g.since) >= refusalWindow {
		g.since, g.lines = e.Time, 0
	}
	t := g.tallies[who]
	if t == nil && len(g.tallies) >= groupTallies {
		who, limit = "", strangerLines // too many to tell apart: they share one
		t = g.tallies[who]
	}
	if t == nil {
		t = &tally{since: e.Time}
		g.tallies[who] = t
		if over := e.Time.Add(refusalWindow); f.next.IsZero() || over.Before(f.next) {
			f.next = over
		}
	}
	t.last = e
	if t.lines >= limit || g.lines >= groupLines {
		t.more++
		return lines
	}
	t.lines++
	g.lines++
	return append(lines, e)
}

// ended forgets windows that are over, and sums up what they counted.
func (f *refusals) ended(now time.Time) []patchbay.AuditEntry {
	if now.Before(f.next) {
		return nil
	}
	f.next = time.Time{}
	var lines []patchbay.AuditEntry
	for name, g := range f.groups {
		for who, t := range g.tallies {
			if over := t.since.Add(refusalWindow); now.Before(over) {
				if f.next.IsZero() || over.Before(f.next) {
					f.next = over
				}
				continue
			}
			if t.more > 0 {
				lines = append(lines, t.sum(now))
			}
			delete(g.tallies, who)
		}
		if len(g.tallies) == 0 {
			delete(f.groups, name)
		}
	}
	return lines
}

// over sums up windows that are over.
func (f *refusals) over(now time.Time) []patchbay.AuditEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended(now)
}

// flush sums up what is counted at a stop, whatever the time.
func (f *refusals) flush(now time.Time) []patchbay.AuditEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []patchbay.AuditEntry
	for _, g := range f.groups {
		for _, t := range g.tallies {
			if t.more > 0 {
				lines = append(lines, t.sum(now))
			}
		}
	}
	f.groups = nil
	return lines
}

func (t *tally) sum(now time.Time) patchbay.AuditEntry {
	e := t.last
	e.Time = now.UTC()
	e.Detail = fmt.Sprintf("%d more refusals like it since %s", t.more, t.since.UTC().Format(time.TimeOnly))
	return e
}

// sumUpRefusals writes what was counted when its window is over, also when
// nobody calls any more.
func (s *Server) sumUpRefusals(ctx context.Context) error {
	tick := time.NewTicker(refusalWindow)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.writeRefusals(ctx, s.refusals.over(s.now()))
		}
	}
}

// flushRefusals writes what is counted, at a stop.
func (s *Server) flushRefusals(ctx context.Context) {
	s.writeRefusals(ctx, s.refusals.flush(s.now()))
}

// refusedSignIn notes a request that nobody is known to have sent.
func (s *Server) refusedSignIn(r *http.Request, err error) {
	e := s.refusalEntry(r, err)
	e.Action, e.Caller = "Patchbay.Connector/signIn/action", "unknown"
	s.writeRefusals(r.Context(), s.refusals.add(strangers, network(e.Address), strangerLines, e))
}

// refusedCaller notes what a caller was not allowed.
func (s *Server) refusedCaller(x *exchange, err error) {
	e := s.refusalEntry(x.r, err)
	who := x.caller.subject
	e.Action, e.Caller, e.CallerID, e.Kind, e.Tenant = x.action, x.caller.Name, who.ID, who.Kind, who.Tenant
	e.Resource = x.scope()
	if x.refused != nil {
		e.Code, e.Action, e.Resource = patchbay.Forbidden, x.refused.action, x.refused.scope
		if x.refused.hidden {
			e.Detail = "answered as absent"
		}
	}
	s.writeRefusals(x.r.Context(), s.refusals.add(who.Tenant, "caller "+who.ID, callerLines, e))
}

// limitedCaller notes that somebody sent more than the limits let through: one
// line in a window.
func (s *Server) limitedCaller(x *exchange, err error) {
	e := s.refusalEntry(x.r, err)
	who := x.caller.subject
	e.Action, e.Caller, e.CallerID, e.Kind, e.Tenant = x.action, x.caller.Name, who.ID, who.Kind, who.Tenant
	s.writeRefusals(x.r.Context(), s.refusals.add(who.Tenant, "limit "+who.ID, 1, e))
}

func (s *Server) refusalEntry(r *http.Request, err error) patchbay.AuditEntry {
	return patchbay.AuditEntry{
		Time: s.now().UTC(), Result: patchbay.AuditRefused, Code: patchbay.CodeOf(err),
		Address: s.addressOf(r), Request: visitOf(r.Context()).id,
	}
}

func (s *Server) writeRefusals(ctx context.Context, lines []patchbay.AuditEntry) {
	if s.opts.Audit == nil || len(lines) == 0 {
		return
	}
	// Whoever hangs up is noted all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalDeadline)
	defer cancel()
	for _, e := range lines {
		if err := s.opts.Audit.AppendAudit(ctx, e); err != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "a refusal is not in the audit log",
				slog.String("caller", e.Caller), slog.String("action", e.Action), slog.String("error", err.Error()))
			return
		}
	}
}

// wasRefused reports whether a request failed because its caller may not.
func wasRefused(x *exchange, err error) bool {
	code := patchbay.CodeOf(err)
	return err != nil && (code == patchbay.Forbidden ||
		x.refused != nil && (code == patchbay.ResourceNotFound || code == patchbay.TargetNotFound || code == patchbay.SourceNotFound || code == arm.InvalidResourceType))
}
