// Package audit is the audit log as its readers see it: the chain of its lines
// under a key that the database doesn't have, the check that no line was
// edited, removed, moved or cut off, and its export as JSON lines.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// NewChain chains lines by mac, which is keyed: who can write the database and
// doesn't have the key can't make a line that fits.
func NewChain(mac func([]byte) []byte) store.Chain { return store.NewChain(mac) }

// Log is the audit log of a store.
type Log struct {
	store.Audit
	chain store.Chain
}

// New is the log that records keep with that chain.
func New(records store.Audit, chain store.Chain) *Log { return &Log{records, chain} }

// Kinds of problems.
const (
	Edited  = "edited"  // the line is not as it was written, or was never written
	Missing = "missing" // lines are gone
	Moved   = "moved"   // the line is another one
	Broken  = "broken"  // the line does not follow the one before it
	CutOff  = "cutOff"  // the last lines are gone
	Head    = "head"    // the note of where the log ends is not the server's
	Noted   = "noted"   // the server found the log changed when it started
	Differs = "differs" // it is not the log whose line was noted elsewhere
)

// Problem is one thing that is wrong with the log.
type Problem struct {
	Kind    string `json:"kind"`
	Seq     int64  `json:"seq"` // at which line
	Message string `json:"message"`
}

// Mark is a line that was noted elsewhere: its number and its hash.
type Mark struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// String is SEQ:HASH.
func (m Mark) String() string { return strconv.FormatInt(m.Seq, 10) + ":" + m.Hash }

// ParseMark reads SEQ:HASH.
func ParseMark(s string) (Mark, error) {
	number, hash, ok := strings.Cut(s, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 1 || hash == "" || len(hash) > 128 {
		return Mark{}, patchbay.Errorf(patchbay.InvalidArgument, "%.80q is no line of the audit log: it has to be of the form SEQ:HASH", s)
	}
	return Mark{seq, strings.ToLower(hash)}, nil
}

// Report is what a check found.
type Report struct {
	Lines int64 `json:"lines"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// Head is where the log ends: what to note elsewhere for a later check.
	Head     Mark      `json:"head"`
	Problems []Problem `json:"problems"`
	// More counts the problems that are not listed.
	More int64 `json:"more,omitempty"`
}

// OK reports whether nothing was found.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// maxProblems is how many are listed: after one line was removed and the others
// renumbered, each of them is another.
const maxProblems = 100

func (r *Report) add(kind string, seq int64, format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{kind, seq, fmt.Sprintf(format, args...)})
}

// nearby is how far from its number a line that was moved is looked for.
const nearby = 256

// Verify reads the whole log and says what is wrong with it, in constant
// memory. expect, when not zero, is a line that has to be in it.
func (l *Log) Verify(ctx context.Context, expect Mark) (Report, error) {
	r := Report{Problems: []Problem{}}
	head, err := l.AuditHead(ctx)
	if err != nil {
		return r, err
	}
	c := check{chain: l.chain, report: &r, head: head, expect: expect}
	if head.Seq > 0 && head.Seal != l.chain.Head(head.Seq, head.Hash) {
		r.add(Head, head.Seq, "the note of where the log ends (line %d) was not written by this server", head.Seq)
	}
	if err := l.each(ctx, store.AuditFilter{}, func(e patchbay.AuditEntry) error { c.line(e); return nil }); err != nil {
		return r, err
	}
	// Lines are written while this reads; none is behind a head that is read now.
	if head, err = l.AuditHead(ctx); err != nil {
		return r, err
	}
	c.end(head)
	r.Head = Mark{c.last.Seq, c.last.Hash}
	return r, nil
}

// check is a check under way.
type check struct {
	chain  store.Chain
	report *Report
	head   store.AuditHead // as it was before the first line was read
	expect Mark
	last   patchbay.AuditEntry
	bad    bool // the last line has its problem already
	found  bool // expect is there
}

func (c *check) line(e patchbay.AuditEntry) {
	r, last := c.report, c.last
	if r.Lines == 0 {
		r.First = e.Seq
	}
	r.Lines++
	r.Last = e.Seq
	gap := e.Seq != last.Seq+1
	if gap {
		r.add(Missing, last.Seq+1, "%s gone", span(last.Seq+1, e.Seq-1))
	}
	switch was, fits := c.number(e); {
	case fits && was == e.Seq:
		if !gap && !c.bad && e.Previous != last.Hash {
			r.add(Broken, e.Seq, "line %d does not follow line %d", e.Seq, last.Seq)
		}
		c.bad = false
		if e.Action == "Patchbay.Connector/audit/break" {
			r.add(Noted, e.Seq, "the server found at %s: %s", e.Time.UTC().Format("2006-01-02 15:04:05"), e.Detail)
		}
	case fits:
		c.bad = true
		r.add(Moved, e.Seq, "line %d is what was written as line %d", e.Seq, was)
	default:
		c.bad = true
		r.add(Edited, e.Seq, "line %d is not as the server wrote it, or was not written by it", e.Seq)
	}
	if e.Seq == c.head.Seq && e.Hash != c.head.Hash && !c.bad {
		r.add(Head, e.Seq, "line %d is not the one that the log ended in", e.Seq)
	}
	if e.Seq == c.expect.Seq {
		c.found = true
		if !strings.EqualFold(e.Hash, c.expect.Hash) {
			r.add(Differs, e.Seq, "line %d is not the one that was noted: its hash is %s", e.Seq, e.Hash)
		}
	}
	c.last = e
}

// number is the number that the line was written with, as far as its hash says.
func (c *check) number(e patchbay.AuditEntry) (seq int64, fits bool) {
	if c.chain.Line(e) == e.Hash {
		return e.Seq, true
	}
	was := e
	for d := int64(1); d <= nearby; d++ {
		for _, was.Seq = range [2]int64{e.Seq + d, e.Seq - d} {
			if c.chain.Line(was) == e.Hash {
				return was.Seq, true
			}
		}
	}
	return 0, false
}

func (c *check) end(now store.AuditHead) {
	r := c.report
	switch {
	case now.Seq == 0 && r.Lines > 0:
		r.add(Head, c.last.Seq, "the note of where the log ends is gone")
	case c.last.Seq < c.head.Seq:
		r.add(CutOff, c.last.Seq+1, "%s gone from the end of the log", span(c.last.Seq+1, c.head.Seq))
	case c.last.Seq > now.Seq:
		r.add(Head, now.Seq, "the log was to end in line %d, and goes on to line %d", now.Seq, c.last.Seq)
	}
	if c.expect.Seq > 0 && !c.found {
		r.add(Differs, c.expect.Seq, "line %d, which was noted, is not in the log, which ends in line %d", c.expect.Seq, c.last.Seq)
	}
}

func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("line %d is", from)
	}
	return fmt.Sprintf("lines %d to %d are", from, to)
}

// each hands over the lines that the filter asks for, in their order.
func (l *Log) each(ctx context.Context, f store.AuditFilter, see func(patchbay.AuditEntry) error) error {
	for after := int64(0); ; {
		page, err := l.AuditEntries(ctx, f, after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := see(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(page) < store.MaxPage {
			return nil
		}
	}
}

// Export writes the lines that the filter asks for as JSON lines, oldest first,
// and says how many there were.
func (l *Log) Export(ctx context.Context, f store.AuditFilter, w io.Writer) (n int64, err error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	err = l.each(ctx, f, func(e patchbay.AuditEntry) error {
		n++
		return enc.Encode(e)
	})
	return n, err
}
