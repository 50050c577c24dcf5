// Package pghba is the guard of PostgreSQL 13 to 18: its pg_hba.conf, which says who
// may sign in, from where, to which database.
//
// A rule is for one login, its database, its addresses, and TLS. A login that
// Patchbay made is refused from everywhere else; one that somebody else made may have
// other ways in, which are his to close.
//
// # Files
//
// Since version 16 the rules stand in one file of our own beside pg_hba.conf, which a
// block of two comments includes; before, they stand in the block. One file, because
// what refuses a login must come after every rule of it, and because one is replaced
// in an instant: a server that is started in the middle of anything finds rules that
// it can read. The block goes before the first line that may let anybody in (the first
// line that matches decides), and all else stays as it is, byte for byte; with the
// last rule the block and the file go.
//
// # A change
//
// The files are reached by the guard's host, under its lock, and replaced only
// if they are still what was read. What stood broken before is somebody's to mend:
// the server goes by its old rules as long, and nothing is changed. After a change,
// and before it is told to go by it, the server is asked what it reads
// (pg_hba_file_rules): if not exactly what was meant, all is put back. Then it reloads, and
// is waited for.
//
// A rule is removed in two steps, so that a crash in between forgets nothing: its
// lines, with its mark saying where it was open; and after the sessions have ended,
// the mark.
package pghba

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// The words of the property tls.
const (
	tlsRequired = "require"
	tlsOptional = "optional"
)

// Driver is the driver of guards in pg_hba.conf.
func Driver() driver.NetworkDriver {
	return driver.NetworkDriver{Driver: description, Logins: true, AnyTo: true, Open: open}
}

type properties struct {
	Host string `json:"host"` // resolved by who opens the guard
	TLS  string `json:"tls"`
}

func open(ctx context.Context, c driver.Config, guarded driver.Config) (driver.Network, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if c.Host == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no host to reach pg_hba.conf on")
	}
	if c.Endpoint != "" {
		if err := checkPath(c.Endpoint); err != nil {
			return nil, err
		}
		if err := c.Host.CheckPath(ctx, c.Endpoint); err != nil {
			return nil, fileError("read", c.Endpoint, err)
		}
	}
	n := &network{host: c.Host, path: c.Endpoint, tls: p.TLS != tlsOptional}
	if guarded.ID == "" { // it is registered, and guards nothing yet
		return n, nil
	}
	var err error
	n.server, err = pgconnect.Parse(guarded)
	return n, err
}

// network is the guard of one server.
type network struct {
	host   hosts.Host
	path   string // of pg_hba.conf on the host; "": where the server says
	server *pgconnect.Server
	tls    bool
}

// Close implements [driver.Network]. Sessions last for a call.
func (n *network) Close() error { return nil }

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// maxFrom bounds the networks of a rule: a removal writes them in one line, and version
// 13 reads none of more than 20,000 bytes.
const maxFrom = 200

// check refuses a rule that can't be written whatever the server says. A removal
// needs less.
func check(r driver.Rule, opening bool) error {
	if r.Mark.UID == "" || r.Name == "" || !utf8.ValidString(r.Mark.UID+r.Name) {
		return invalid("the rule has no mark, or no name")
	}
	if !opening {
		return nil
	}
	for what, name := range map[string]string{"login": r.Login, "database": r.Sub} {
		switch {
		case name == "":
			return invalid("a line of pg_hba.conf is for one login and its database, and no %s is named", what)
		case len(name) > 63 || !utf8.ValidString(name):
			return invalid("the %s's name %.80q can't be one of PostgreSQL", what, name)
		case strings.ContainsFunc(name, unicode.IsControl):
			return invalid("the %s's name %.80q has a line break or another control character, and pg_hba.conf can't name it", what, name)
		}
	}
	switch {
	case len(r.From) == 0 || len(r.To) == 0:
		return invalid("an opening is from somewhere to somewhere")
	case len(r.From) > maxFrom:
		return invalid("an opening is from at most %d networks, and this one from %d", maxFrom, len(r.From)).
			WithFix("register the source with fewer that hold them: --egress")
	}
	for _, p := range r.From {
		if !p.IsValid() || p.Addr().Is4In6() {
			return invalid("%s is no network that a source speaks from", p)
		}
	}
	for _, to := range r.To {
		if !to.IsValid() || to.Port() == 0 {
			return invalid("%s is no endpoint of a server", to)
		}
	}
	return nil
}

// EnsureRule implements [driver.Network].
func (n *network) EnsureRule(ctx context.Context, r driver.Rule) error {
	if err := check(r, true); err != nil {
		return err
	}
	return n.locked(ctx, r.Login, func(s *state) error {
		if err := s.owned(r); err != nil {
			return err
		}
		return s.write(ctx, s.document.with(newRule(r, n.tls)))
	})
}

// RemoveRule implements [driver.Network].
func (n *network) RemoveRule(ctx context.Context, r driver.Rule) error {
	if err := check(r, false); err != nil {
		return err
	}
	return n.locked(ctx, "", func(s *state) error {
		have := s.document.named(r.Name)
		if have == nil {
			if len(s.edits(s.document)) == 0 {
				return nil
			}
			return s.write(ctx, s.document) // what somebody has made of it by hand
		}
		if err := s.owned(r); err != nil {
			return err
		}
		closing := *have
		for _, l := range closing.lines {
			if !slices.Contains(closing.Closing, l.from) {
				closing.Closing = append(closing.Closing, l.from)
			}
		}
		closing.lines = nil
		// Also when it was closing already: whether the server went by it is not known.
		if err := s.write(ctx, s.document.with(closing)); err != nil {
			return err
		}
		rest := s.document.without(r.Name)
		if s.able.cuts {
			if err := s.admin.cut(ctx, closing.mark, rest); err != nil {
				return err
			}
		}
		if err := failpoint.Hit(ctx, "pghba/remove/after-cut"); err != nil {
			return err
		}
		return s.write(ctx, rest)
	})
}

// Owned implements [driver.Network].
func (n *network) Owned(ctx context.Context) (owned []driver.Owned, err error) {
	err = n.locked(ctx, "", func(s *state) error {
		for _, r := range s.document {
			owned = append(owned, driver.Owned{Mark: r.owner(), Name: r.Name, Sub: r.Database})
		}
		return nil
	})
	return owned, err
}

// InspectRule implements [driver.Network].
func (n *network) InspectRule(ctx context.Context, r driver.Rule) (found driver.RuleState, err error) {
	if err := check(r, true); err != nil {
		return driver.RuleState{}, err
	}
	err = n.locked(ctx, r.Login, func(s *state) error {
		found = s.inspect(r)
		return nil
	})
	return found, err
}

// Check implements [driver.NetworkChecker]. Without a target, where the files are is
// known only when the guard says so.
func (n *network) Check(ctx context.Context) (warnings []string, err error) {
	if n.server == nil {
		if n.path == "" {
			return nil, nil
		}
		if _, err := n.host.ReadFile(ctx, n.path, maxFile); err != nil {
			return nil, fileError("read", n.path, err)
		}
		return nil, n.writable(ctx, n.path)
	}
	err = n.locked(ctx, "", func(s *state) error {
		if e := s.brokenOfOthers(); e != nil {
			return s.broken(e)
		}
		if err := n.writable(ctx, s.path); err != nil {
			return s.missing(err)
		}
		if s.able.version >= includes {
			if err := n.writable(ctx, s.ownPath); err != nil {
				return err
			}
		}
		switch {
		case n.tls && !s.able.ssl:
			warnings = append(warnings, sslOff)
		case n.tls && n.server.TLS.Mode == driver.TLSDisable:
			warnings = append(warnings, sslDisabled)
		}
		if !s.able.cuts {
			warnings = append(warnings, fmt.Sprintf("sessions that are open when a connection goes are not ended, for the administrator may not: GRANT pg_signal_backend, pg_read_all_stats TO %s", ident(n.server.Admin.Username)))
		}
		return nil
	})
	return warnings, err
}

// writable fails where the file could not be replaced.
func (n *network) writable(ctx context.Context, path string) error {
	err := n.host.CheckReplace(ctx, path)
	if err != nil {
		return fileError("write", path, err)
	}
	return nil
}

const (
	sslOff      = "ssl is off in postgresql.conf, and the guard lets in over TLS alone"
	sslDisabled = "the server is registered with sslmode disable, and the guard lets in over TLS alone"
)

// owned fails when a rule of that name has another mark.
func (s *state) owned(r driver.Rule) error {
	if have := s.document.named(r.Name); have != nil && !have.bears(r.Mark) {
		return patchbay.Errorf(patchbay.NotOurs, "a rule %s is in %s and does not bear this connection's mark", driver.Quoted(r.Name), s.able.path).
			WithFix("look at it: grep -n %s %s", shell(r.Name), shell(s.where()))
	}
	return nil
}

// where is the file that rules are in.
func (s *state) where() string {
	if s.able.version >= includes {
		return s.ownPath
	}
	return s.path
}

// inspect judges r by what the server reads.
func (s *state) inspect(r driver.Rule) driver.RuleState {
	have := s.document.named(r.Name)
	if have == nil {
		return driver.RuleState{}
	}
	found := driver.RuleState{Exists: true, Ours: have.bears(r.Mark), Despite: s.despite(r)}
	if !found.Ours {
		return found
	}
	want := newRule(r, s.n.tls)
	version := s.able.version
	// What a name means the server does not tell: all, quoted or not, looks the same.
	found.Exact = have.found == want.text(version) && s.closedElsewhere(want) && !s.wider(want)
	// Of this login, the server reads what it should, and in our part nothing of others.
	expected, known := []entry{}, map[string]bool{}
	for _, e := range s.document.with(want).entries(version) {
		known[e.users[0]] = true
		if e.users[0] == named(want.Login, version) {
			expected = append(expected, e)
		}
	}
	var read []entry
	for _, e := range s.entries {
		if s.ours(e) && (len(e.users) != 1 || !known[e.users[0]] || e.users[0] == named(want.Login, version)) {
			read = append(read, e)
		}
	}
	found.Exact = found.Exact && slices.EqualFunc(read, expected, entry.equal)
	return found
}

// closedElsewhere reports whether the lines are there that refuse the login elsewhere,
// as they were written.
func (s *state) closedElsewhere(r rule) bool {
	if !r.own() {
		return true
	}
	login := quoted(named(r.Login, s.able.version))
	return strings.Contains(s.text, "\nhost all,replication "+login+" all reject\nlocal all,replication "+login+" reject\n")
}

// before are the entries of others that are tried before ours.
func (s *state) before() []entry {
	first := slices.IndexFunc(s.entries, s.ours)
	if first < 0 {
		first = len(s.entries)
	}
	return s.entries[:first]
}

// wider reports whether somebody else's line before ours may let the login in, from
// wherever: one that was put there after ours.
func (s *state) wider(r rule) bool {
	return r.own() && slices.ContainsFunc(s.before(), func(e entry) bool {
		return e.kind != "" && e.method != "reject" && slices.ContainsFunc(e.users, func(u string) bool {
			return u == "all" || u == r.Login || strings.HasPrefix(u, "/") && s.able.version >= regexps || strings.HasPrefix(u, "+") && slices.Contains(s.groups, u[1:])
		})
	})
}

// despite is what of others keeps r from opening anything.
func (s *state) despite(r driver.Rule) string {
	switch {
	case s.n.tls && !s.able.ssl:
		return sslOff
	case s.n.tls && s.n.server.TLS.Mode == driver.TLSDisable:
		return sslDisabled
	}
	if e := s.brokenOfOthers(); e != nil {
		return fmt.Sprintf("line %d of %s can't be read by the server, which goes by the rules that it had before", e.number, e.file)
	}
	for _, e := range s.before() {
		if e.method == "reject" && s.meets(e, r) {
			return fmt.Sprintf("line %d of %s refuses it before", e.number, e.file)
		}
	}
	return ""
}

// meets reports whether an entry is about sign-ins that r is for, as far as that
// can be seen.
func (s *state) meets(e entry, r driver.Rule) bool {
	switch {
	case !slices.Contains([]string{"host", "hostssl", "hostnossl", "hostnogssenc"}, e.kind), e.kind == "hostnossl" && s.n.tls:
		return false
	case !slices.ContainsFunc(e.users, func(u string) bool {
		return u == "all" || u == r.Login || strings.HasPrefix(u, "+") && slices.Contains(s.groups, u[1:])
	}):
		return false
	case !slices.ContainsFunc(e.databases, func(d string) bool {
		return d == "all" || d == r.Sub || d == "sameuser" && r.Sub == r.Login || (d == "samerole" || d == "samegroup") && slices.Contains(s.groups, r.Sub)
	}):
		return false
	}
	return e.address == "all" || e.from.IsValid() && slices.ContainsFunc(r.From, func(p netip.Prefix) bool { return p.Overlaps(e.from) })
}
