package drivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// SourceHarness gives [Source] places that hold an application's settings, and
// eyes of its own on them: the callbacks must not go through the driver.
type SourceHarness struct {
	Driver driver.SourceDriver
	// New makes a source that nobody else uses, with no settings in it, and
	// cleans up when the test ends.
	New func(t testing.TB) SourcePlace
	// Values must come through exactly; the suite has values of its own besides,
	// which every environment variable can hold.
	Values []string
	// Refused are settings that the source can't hold, by what is wrong with
	// them. CheckChange and WriteSettings must answer InvalidArgument.
	Refused map[string]patchbay.Setting
	// Sample says that a write takes long, of a container say: what is tried many times
	// is tried a few times, and every value together with the others alone.
	Sample bool
	// Cases are those that are tried, by their names; none: all.
	Cases []string
	// Watches says that its sources are [driver.Watcher]s. Without it they are none, or
	// their Watch is NotSupported.
	Watches bool
	// Patience is how long a change may take to be told; 0: 30 s. It is waited for a word,
	// and this long for none.
	Patience time.Duration
}

// times is how often something is tried that would do well with many tries.
func (s *sourceSuite) times(many int) int {
	if s.Sample {
		return max(2, many/8)
	}
	return many
}

// SourcePlace is one source.
type SourcePlace struct {
	Config driver.Config
	// Read reads the settings as the application does.
	Read func() (map[string]string, error)
	// Apply makes what was written be what Read reads, where the application has to
	// be started anew for that. Nil where it has not.
	Apply func() error
	// Content is everything that the source holds, exactly: settings, comments,
	// files, modes. Two equal contents mean that nothing has changed.
	Content func() (string, error)
	// Set is somebody else setting something, without taking the driver's
	// locks; everything else stays.
	Set func(name, value string) error
	// Leftovers names temporary things that the driver left behind.
	Leftovers func() ([]string, error)
	// Remove makes the source be gone. Nil when it can't go.
	Remove func() error
	// Make makes what Remove has removed be there again, as it was at first. Nil when
	// it can't go.
	Make func() error
	// Bounce is somebody else restarting the application. Nil when its platform does
	// not tell.
	Bounce func() error
	// Restarts counts how often the application was told to read its settings
	// anew. Nil when the source has no way to tell it.
	Restarts func() (int, error)
	// ReadFiles reads the files of a connection's binding directory as the
	// application does, nil when there is none. Nil when the source holds no
	// files.
	ReadFiles func(connection string) (map[string]string, error)
}

// Source runs the conformance suite. A source driver is supported when it
// passes against what applications really read.
func Source(t *testing.T, h SourceHarness) {
	t.Helper()
	if h.New == nil || h.Driver.Open == nil {
		t.Fatal("drivertest: the harness lacks New or Driver")
	}
	s := &sourceSuite{h}
	t.Run("Describes", func(t *testing.T) {
		c := completed(s.New(t).Config)
		describes(t, h.Driver.Driver, c, func(ctx context.Context, c driver.Config) error {
			source, err := h.Driver.Open(ctx, c)
			if err == nil {
				_ = source.Close()
			}
			return err
		})
		if (h.Driver.Discover != nil) != (len(h.Driver.Search) > 0) {
			t.Error("the driver looks for sources, or it does not: Search and Discover differ")
		}
		for _, name := range h.Driver.Search {
			if name != "endpoint" && !slices.ContainsFunc(h.Driver.Properties, func(f patchbay.Field) bool { return f.Name == name }) {
				t.Errorf("a search is told %s, which is no property", name)
			}
		}
	})
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Inspect", s.inspect},
		{"ValuesComeThroughExactly", s.values},
		{"WhatCantBeHeldIsRefused", s.refused},
		{"VersionsTellChanges", s.versions},
		{"StaleVersionIsRefused", s.stale},
		{"RepeatedWriteIsOne", s.repeated},
		{"OthersSettingsStay", s.others},
		{"UpdateRemovesOldNames", s.update},
		{"RestoreIsByteForByte", s.restore},
		{"RestoreOfAnUpdate", s.restoreUpdate},
		{"DeleteAfterUpdatesIsByteForByte", s.deleteUpdated},
		{"DeleteBringsNothingBack", s.deleteBringsNothingBack},
		{"DeleteKeepsOthersEdits", s.deleteEdited},
		{"DeleteKeepsWhatAnotherConnectionHas", s.deleteShared},
		{"DeleteGivesBackWhatWasTakenOver", s.deleteGivesBack},
		{"RestoreOfNothing", s.restoreNothing},
		{"RestoreGivesBackTakenNames", s.restoreTaken},
		{"RestoreKeepsOthersEdits", s.restoreEdited},
		{"TwoConnections", s.two},
		{"OwnedIsExact", s.owned},
		{"ConcurrentWritersLoseNothing", s.concurrent},
		{"ReadersSeeAllOrNothing", s.atomic},
		{"Files", s.files},
		{"Restart", s.restart},
		{"Dialer", s.dialer},
		{"ChangesAreTold", s.told},
		{"ReadingIsNotTold", s.reading},
		{"WatchingLeavesNothing", s.leaves},
		{"CanceledContext", s.canceled},
		{"GoneSource", s.gone},
	} {
		if len(s.Cases) == 0 || slices.Contains(s.Cases, c.name) {
			t.Run(c.name, c.run)
		}
	}
}

type sourceSuite struct{ SourceHarness }

// completed is a configuration with what a control plane adds to it.
func completed(c driver.Config) driver.Config {
	if c.Dialer == nil {
		c.Dialer = netDialer
	}
	if c.Host == nil {
		c.Host = hosts.NewLocal(hosts.DialRules{})
	}
	return c
}

// sourceCase is one test's place, opened.
type sourceCase struct {
	SourcePlace
	*testing.T
	source driver.Source
	suite  *sourceSuite
	canary []string // values that no error may show
	made   []driver.Change
	kept   *driver.Change // the last one that was written, and may be taken back
}

func (s *sourceSuite) start(t *testing.T) *sourceCase {
	t.Helper()
	place := s.New(t)
	if place.Read == nil || place.Content == nil || place.Set == nil || place.Leftovers == nil {
		t.Fatal("drivertest: the place lacks Read, Content, Set or Leftovers")
	}
	c := &sourceCase{SourcePlace: place, T: t, suite: s}
	c.source = c.open()
	t.Cleanup(func() {
		for _, change := range c.made {
			c.release(change)
		}
		left, err := place.Leftovers()
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return c
}

// open opens the source once more, as another process would.
func (c *sourceCase) open() driver.Source {
	c.Helper()
	config := completed(c.Config)
	source, err := c.suite.Driver.Open(c.ctx(), config)
	if err != nil {
		c.Fatalf("Open: %v", err)
	}
	c.Cleanup(func() {
		if err := source.Close(); err != nil {
			c.Errorf("Close: %v", err)
		}
	})
	return source
}

func (c *sourceCase) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), limit)
	c.Cleanup(cancel)
	return ctx
}

func (c *sourceCase) content() string {
	c.Helper()
	content, err := c.Content()
	if err != nil {
		c.Fatalf("Content: %v", err)
	}
	return content
}

// same fails unless the content is what it was.
func (c *sourceCase) same(before, when string) {
	c.Helper()
	if now := c.content(); now != before {
		c.Errorf("%s the source holds\n%q\nwant, byte for byte,\n%q", when, now, before)
	}
}

func (c *sourceCase) snapshot() driver.Snapshot {
	c.Helper()
	snapshot, err := c.source.ReadSettings(c.ctx())
	if err != nil {
		c.Fatalf("ReadSettings: %v", err)
	}
	return snapshot
}

// change is a new connection's, with settings of those names and values.
func (c *sourceCase) change(name string, generation int64, uid string, settings ...string) driver.Change {
	change := driver.Change{
		Mark: driver.Mark{UID: uid, Generation: generation, Connection: c.Config.ID.Linker(name)},
		Name: name,
	}
	for i := 0; i < len(settings); i += 2 {
		change.Set = append(change.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1]), Secret: true})
		c.canary = append(c.canary, settings[i+1])
	}
	c.made = append(c.made, change)
	return change
}

// release is the end of an operation: nothing goes back to what was before it.
func (c *sourceCase) release(change driver.Change) {
	c.Helper()
	keeper, ok := c.source.(driver.Keeper)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), limit) // also in a cleanup
	defer cancel()
	for range 2 { // it may come twice
		if err := keeper.Release(ctx, change); err != nil && patchbay.CodeOf(err) != patchbay.SourceNotFound {
			c.Errorf("Release: %v", err)
		}
	}
}

// write writes to the version of this moment.
func (c *sourceCase) write(change driver.Change) string {
	c.Helper()
	if c.kept != nil {
		c.release(*c.kept)
	}
	c.kept = &change
	version, err := c.source.WriteSettings(c.ctx(), change, c.snapshot().Version)
	c.silent(err)
	if err != nil {
		c.Fatalf("WriteSettings: %v", err)
	}
	if now := c.snapshot().Version; now != version {
		c.Errorf("WriteSettings answered version %q, ReadSettings %q", version, now)
	}
	return version
}

// delete writes that the connection, which had change, has nothing any more.
func (c *sourceCase) delete(change driver.Change) {
	c.Helper()
	c.write(gone(change))
	c.release(gone(change))
}

func gone(change driver.Change) driver.Change {
	return driver.Change{Mark: change.Mark, Name: change.Name, Had: change.Set, Back: change.Back}
}

func (c *sourceCase) restore(change driver.Change, before driver.Snapshot) {
	c.Helper()
	c.kept = nil
	err := c.source.RestoreSettings(c.ctx(), change, before)
	c.silent(err)
	if err != nil {
		c.Fatalf("RestoreSettings: %v", err)
	}
}

func (c *sourceCase) set(name, value string) {
	c.Helper()
	if err := c.Set(name, value); err != nil {
		c.Fatalf("Set: %v", err)
	}
}

// apply has the application read what was written.
func (c *sourceCase) apply() {
	c.Helper()
	if c.Apply == nil {
		return
	}
	if err := c.Apply(); err != nil {
		c.Fatalf("Apply: %v", err)
	}
}

// has fails unless the application and the driver read exactly these.
func (c *sourceCase) has(want map[string]string) {
	c.Helper()
	c.apply()
	got, err := c.Read()
	if err != nil {
		c.Fatalf("Read: %v", err)
	}
	if !maps.Equal(got, want) {
		c.Errorf("the application reads %q, want %q", got, want)
	}
	read := map[string]string{}
	for name, value := range c.snapshot().Settings {
		if !strings.Contains(name, "/") {
			read[name] = value.Reveal()
		}
	}
	if !maps.Equal(read, want) {
		c.Errorf("ReadSettings gives %q, want %q", read, want)
	}
}

// silent fails when an error shows a value.
func (c *sourceCase) silent(err error) {
	c.Helper()
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v\n%+v\n%#v", err, err, err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += "\n" + e.Error()
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		text += "\n" + e.Fix + "\n" + e.Subject
	}
	for _, value := range c.canary {
		if len(value) >= 6 && strings.Contains(text, value) {
			c.Errorf("an error shows a setting's value: %v", err)
		}
	}
}

// refusedWith fails unless err has that code and shows nothing.
func (c *sourceCase) refusedWith(err error, want patchbay.Code, what string) {
	c.Helper()
	c.silent(err)
	if patchbay.CodeOf(err) != want {
		c.Errorf("%s = %v, want %s", what, err, want)
	}
}

func (s *sourceSuite) inspect(t *testing.T) {
	c := s.start(t)
	before := c.content()
	info, err := c.source.Inspect(c.ctx())
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	restarter, restarts := c.source.(driver.Restarter)
	if restarts != (c.Restarts != nil) {
		t.Errorf("it is a Restarter: %t", restarts)
	}
	if restarts && restarter.RestartLimit() <= 0 {
		t.Errorf("a restart may take %s", restarter.RestartLimit())
	}
	if _, keeps := c.source.(driver.Keeper); keeps != s.Driver.Keeps {
		t.Errorf("the driver says that it keeps what it replaces: %t; its source is a Keeper: %t", s.Driver.Keeps, keeps)
	}
	watcher, watches := c.source.(driver.Watcher)
	switch {
	case s.Watches && !watches:
		t.Error("it is no Watcher")
	case watches && !s.Watches:
		c.refusedWith(watcher.Watch(c.ctx(), func() {}), patchbay.NotSupported, "Watch")
	}
	if info.Files != (c.ReadFiles != nil) {
		t.Errorf("Inspect says Files = %t", info.Files)
	}
	if info.FilesAt != "" && !info.Files {
		t.Errorf("Inspect says that files are at %q, and that there can be none", info.FilesAt)
	}
	if v, ok := c.source.(driver.Vantage); ok {
		from, err := v.Egress(c.ctx(), netip.Addr{})
		if err != nil {
			t.Errorf("Egress: %v", err)
		}
		for _, prefix := range from {
			if !prefix.IsValid() || prefix != prefix.Masked() {
				t.Errorf("Egress gives %v, which is no network", prefix)
			}
		}
	}
	if owned, err := c.source.Owned(c.ctx()); err != nil || len(owned) != 0 {
		t.Errorf("Owned of an empty source = %v, %v", owned, err)
	}
	c.has(map[string]string{})
	c.same(before, "after looking at it")
}

// plainValues are what every environment variable can hold, and what is easily
// broken on its way to one.
var plainValues = []string{
	"", "x", "two words", " leading", "trailing ", "  both  ", "\ttab\t",
	"a=b", "=", "==a", "a#b", "a #b", "# a", "#",
	"$HOME", "${HOME}x", "$$", "$(date)", "`date`", "a$", "100%", "%s%d",
	`"quoted"`, `'quoted'`, `it's`, `say "hi"`, `it's "both"`, `"`, `'`, `''`, `""`, `'"'"'`,
	`back\slash`, `C:\new\road`, `ends\`, `ends\\`, `\`, `\\`, `\n`, `\"`, `\'`, `a\ b`,
	"naïve", "日本語", "🔑", "\u00a0nbsp\u00a0", "{\"json\": [1, \"two\"]}", "a;b|c&d>e<f", "!event", "~", "*", "a,b",
	"postgresql://u:p%40ss@10.0.0.5:5432/db?sslmode=require#x",
	"Server=h;Database=d;User Id=u;Password='it''s';",
	strings.Repeat("long ", 800),
}

func (s *sourceSuite) values(t *testing.T) {
	all := slices.Concat(plainValues, s.Values)
	t.Run("one by one", func(t *testing.T) {
		if s.Sample {
			t.Skip("a sample: they are tried all at once")
		}
		c := s.start(t)
		c.set("THEIRS", "1")
		uid := newUID()
		for i, value := range all {
			c.write(c.change("orders", int64(i), uid, "PB_BEFORE", "b", "PB_VALUE", value, "PB_AFTER", "a"))
			c.has(map[string]string{"THEIRS": "1", "PB_BEFORE": "b", "PB_VALUE": value, "PB_AFTER": "a"})
		}
	})
	t.Run("all at once", func(t *testing.T) {
		c := s.start(t)
		var list []string
		want := map[string]string{}
		for i, value := range all {
			name := "PB_" + strconv.Itoa(i)
			list = append(list, name, value)
			want[name] = value
		}
		c.write(c.change("orders", 1, newUID(), list...))
		c.has(want)
	})
}

func (s *sourceSuite) refused(t *testing.T) {
	refused := map[string]patchbay.Setting{
		"empty name":        {Name: "", Value: patchbay.NewSecret("canary-1")},
		"name with equals":  {Name: "A=B", Value: patchbay.NewSecret("canary-2")},
		"name with newline": {Name: "A\nB", Value: patchbay.NewSecret("canary-3")},
		"name with space":   {Name: "A B", Value: patchbay.NewSecret("canary-4")},
		"name with NUL":     {Name: "A\x00", Value: patchbay.NewSecret("canary-5")},
		"long name":         {Name: strings.Repeat("A", 300), Value: patchbay.NewSecret("canary-6")},
		"value with NUL":    {Name: "A", Value: patchbay.NewSecret("canary\x007")},
	}
	maps.Copy(refused, s.Refused)
	c := s.start(t)
	c.set("THEIRS", "1")
	before := c.content()
	for what, setting := range refused {
		change := c.change("orders", 1, newUID(), "GOOD", "good")
		change.Set = append(change.Set, setting)
		c.canary = append(c.canary, setting.Value.Reveal())
		c.refusedWith(c.source.CheckChange(c.ctx(), change), patchbay.InvalidArgument, "CheckChange of a change with "+what)
		_, err := c.source.WriteSettings(c.ctx(), change, c.snapshot().Version)
		c.refusedWith(err, patchbay.InvalidArgument, "WriteSettings of a change with "+what)
		c.same(before, "after a refused change with "+what)
	}
}

func (s *sourceSuite) versions(t *testing.T) {
	c := s.start(t)
	seen := map[string]bool{}
	check := func(when string) {
		t.Helper()
		a, b := c.snapshot().Version, c.snapshot().Version
		if a != b {
			t.Errorf("two versions of what nobody changed, %s", when)
		}
		if seen[a] {
			t.Errorf("the version has not changed, %s", when)
		}
		seen[a] = true
	}
	check("in the beginning")
	c.set("THEIRS", "1")
	check("after a new setting")
	c.set("THEIRS", "2")
	check("after another value")
	change := c.change("orders", 1, newUID(), "PB_A", "1")
	if err := c.source.CheckChange(c.ctx(), change); err != nil {
		t.Errorf("CheckChange: %v", err)
	}
	if !seen[c.snapshot().Version] {
		t.Error("CheckChange changed something")
	}
	c.write(change)
	check("after a write")
	if c.snapshot().Content.IsZero() {
		t.Error("a snapshot has no content")
	}
}

func (s *sourceSuite) stale(t *testing.T) {
	c := s.start(t)
	old := c.snapshot().Version
	c.set("THEIRS", "1")
	before := c.content()
	_, err := c.source.WriteSettings(c.ctx(), c.change("orders", 1, newUID(), "PB_A", "canary-a"), old)
	c.refusedWith(err, patchbay.SettingsChanged, "WriteSettings to an old version")
	c.same(before, "after a write to an old version")
}

// repeated is the saga's life: the answer to a write is lost, and it is done
// again with what was known before.
func (s *sourceSuite) repeated(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	version := c.snapshot().Version
	change := c.change("orders", 1, newUID(), "PB_A", "1", "THEIRS", "2", "PB_B", "2")
	first, err := c.source.WriteSettings(c.ctx(), change, version)
	if err != nil {
		t.Fatalf("WriteSettings: %v", err)
	}
	before := c.content()
	again, err := c.source.WriteSettings(c.ctx(), change, version)
	if err != nil {
		t.Fatalf("the same WriteSettings again: %v", err)
	}
	if first != again {
		t.Errorf("the same write gave versions %q and %q", first, again)
	}
	c.same(before, "after the same write again")
	// And on top of what it left.
	c.write(change)
	c.same(before, "after the same write on its own version")
}

func (s *sourceSuite) others(t *testing.T) {
	c := s.start(t)
	c.set("FIRST", "1")
	c.set("PB_TAKEN", "theirs")
	c.set("LAST", "it's \"theirs\" $HOME #")
	c.write(c.change("orders", 1, newUID(), "PB_A", "1", "PB_TAKEN", "ours"))
	c.has(map[string]string{"FIRST": "1", "LAST": "it's \"theirs\" $HOME #", "PB_A": "1", "PB_TAKEN": "ours"})
	c.set("LATER", "2")
	c.has(map[string]string{"FIRST": "1", "LAST": "it's \"theirs\" $HOME #", "PB_A": "1", "PB_TAKEN": "ours", "LATER": "2"})
}

func (s *sourceSuite) update(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	uid := newUID()
	first := c.change("orders", 1, uid, "PB_A", "1", "PB_B", "1", "PB_C", "1")
	c.write(first)
	c.set("PB_B", "taken over")
	next := c.change("orders", 2, uid, "PB_C", "2", "PB_D", "2")
	// THEIRS has another value: naming it does not make it the connection's.
	next.Had = append(first.Set, c.change("", 0, "", "PB_NEVER", "1", "THEIRS", "2").Set...)
	c.write(next)
	c.has(map[string]string{"THEIRS": "1", "PB_B": "taken over", "PB_C": "2", "PB_D": "2"})
	version := c.snapshot().Version
	if again := c.write(next); again != version {
		t.Error("the same update again changed something")
	}
	c.delete(next)
	c.has(map[string]string{"THEIRS": "1", "PB_B": "taken over"})
	if owned, err := c.source.Owned(c.ctx()); err != nil || len(owned) != 0 {
		t.Errorf("Owned after all is removed = %v, %v", owned, err)
	}
}

func (s *sourceSuite) restore(t *testing.T) {
	for _, empty := range []bool{true, false} {
		t.Run(fmt.Sprintf("empty=%t", empty), func(t *testing.T) {
			c := s.start(t)
			if !empty {
				c.set("THEIRS", "1")
				c.set("PB_TAKEN", "theirs")
			}
			before, snapshot := c.content(), c.snapshot()
			change := c.change("orders", 1, newUID(), "PB_A", "it's\\", "PB_TAKEN", "ours", "PB_B", "2")
			c.write(change)
			if c.content() == before {
				t.Fatal("a write changed nothing")
			}
			c.restore(change, snapshot)
			c.same(before, "after RestoreSettings")
			c.restore(change, snapshot)
			c.same(before, "after RestoreSettings again")
		})
	}
}

func (s *sourceSuite) restoreUpdate(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	uid := newUID()
	first := c.change("orders", 1, uid, "PB_A", "1", "PB_B", "1")
	c.write(first)
	before, snapshot := c.content(), c.snapshot()
	next := c.change("orders", 2, uid, "PB_B", "2", "PB_C", "2")
	next.Had = first.Set
	c.write(next)
	c.restore(next, snapshot)
	c.same(before, "after RestoreSettings of an update")
	c.has(map[string]string{"THEIRS": "1", "PB_A": "1", "PB_B": "1"})
}

func (s *sourceSuite) deleteUpdated(t *testing.T) {
	for _, empty := range []bool{true, false} {
		t.Run(fmt.Sprintf("empty=%t", empty), func(t *testing.T) {
			c := s.start(t)
			if !empty {
				c.set("THEIRS", "1")
			}
			before := c.content()
			uid := newUID()
			last := c.change("orders", 1, uid, "PB_A", "1", "PB_B", "1")
			c.write(last)
			for generation := range int64(3) {
				next := c.change("orders", generation+2, uid, "PB_C", fmt.Sprint(generation), "PB_B", "2")
				next.Had = last.Set
				c.write(next)
				last = next
			}
			c.delete(last)
			c.same(before, "after a delete")
			c.delete(last)
			c.same(before, "after a delete again")
		})
	}
}

// deleteGivesBack: who took a name over that somebody had gives it back, unless
// somebody has it again.
func (s *sourceSuite) deleteGivesBack(t *testing.T) {
	for _, edited := range []bool{false, true} {
		c := s.start(t)
		c.set("FIRST", "1")
		c.set("TAKEN", "it's \"theirs\" $HOME")
		c.set("LAST", "2")
		want := map[string]string{"FIRST": "1", "TAKEN": "it's \"theirs\" $HOME", "LAST": "2"}
		first := c.change("orders", 1, newUID(), "PB_A", "1", "TAKEN", "of the connection")
		first.Back = []patchbay.Setting{{Name: "TAKEN", Value: patchbay.NewSecret(want["TAKEN"])}}
		c.write(first)
		c.has(map[string]string{"FIRST": "1", "TAKEN": "of the connection", "LAST": "2", "PB_A": "1"})
		second := c.change("orders", 2, first.Mark.UID, "PB_A", "2", "TAKEN", "of its next generation")
		second.Had, second.Back = first.Set, first.Back
		c.write(second)
		if edited {
			c.set("TAKEN", "of somebody again")
			want["TAKEN"] = "of somebody again"
		}
		c.delete(second)
		c.has(want)
		c.delete(second)
		c.has(want)
		// An update that has the name no longer gives it back, too.
		if !edited {
			c.write(first)
			less := c.change("orders", 2, first.Mark.UID, "PB_A", "2")
			less.Had, less.Back = first.Set, first.Back
			c.write(less)
			want["PB_A"] = "2"
			c.has(want)
		}
	}
}

// deleteBringsNothingBack: neither what a connection had that is gone, under
// names that this one took later, nor what a person has removed meanwhile.
func (s *sourceSuite) deleteBringsNothingBack(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	before := c.content()
	second := c.change("events", 1, newUID(), "PB_HOST", "h", "PB_PASSWORD", "of the second")
	c.write(second)
	first := c.change("orders", 1, newUID(), "PB_URL", "u:of the first@h")
	c.write(first)
	c.delete(second)
	next := c.change("orders", 1, first.Mark.UID, "PB_HOST", "h", "PB_PASSWORD", "of the first")
	next.Had = first.Set
	c.write(next)
	c.delete(next)
	c.same(before, "after all is deleted")
}

func (s *sourceSuite) deleteEdited(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	uid := newUID()
	change := c.change("orders", 1, uid, "PB_A", "ours-a", "PB_B", "ours-b")
	c.write(change)
	c.set("LATER", "2")
	c.set("THEIRS", "3")
	c.set("PB_B", "taken over")
	c.delete(change)
	want := map[string]string{"THEIRS": "3", "LATER": "2", "PB_B": "taken over"}
	c.has(want)
	c.delete(change)
	c.has(want)
	if owned, err := c.source.Owned(c.ctx()); err != nil || len(owned) > 0 {
		t.Errorf("Owned after a delete = %v, %v", owned, err)
	}
}

// deleteShared: two connections to one target have the same host, and a name of
// the one was free when the other came.
func (s *sourceSuite) deleteShared(t *testing.T) {
	c := s.start(t)
	first := c.change("orders", 1, newUID(), "PB_USER", "a", "PB_HOST", "h")
	second := c.change("events", 1, newUID(), "PB_HOST", "h", "PB_PASSWORD", "b")
	c.write(second)
	before := c.content()
	c.delete(first)
	c.same(before, "after the delete of a connection that has none of it")
}

func (s *sourceSuite) restoreNothing(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	before, snapshot := c.content(), c.snapshot()
	change := c.change("orders", 1, newUID(), "PB_A", "1")
	c.restore(change, snapshot) // it never happened
	c.same(before, "after taking back what never happened")
	c.set("LATER", "2")
	before = c.content()
	c.restore(change, snapshot)
	c.same(before, "after taking back what never happened, with somebody else's edit")
}

func (s *sourceSuite) restoreTaken(t *testing.T) {
	c := s.start(t)
	c.set("PB_A", "theirs")
	snapshot := c.snapshot()
	change := c.change("orders", 1, newUID(), "PB_A", "ours", "PB_B", "ours")
	c.write(change)
	c.set("LATER", "2")
	c.restore(change, snapshot)
	c.has(map[string]string{"PB_A": "theirs", "LATER": "2"})
}

func (s *sourceSuite) restoreEdited(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	snapshot := c.snapshot()
	uid := newUID()
	change := c.change("orders", 1, uid, "PB_A", "ours-a", "PB_B", "ours-b")
	c.write(change)
	c.set("LATER", "2")
	c.set("THEIRS", "3")
	c.set("PB_B", "taken over")
	c.restore(change, snapshot)
	want := map[string]string{"THEIRS": "3", "LATER": "2", "PB_B": "taken over"}
	c.has(want)
	c.restore(change, snapshot)
	c.has(want)
	if owned, err := c.source.Owned(c.ctx()); err != nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Mark.UID == uid }) {
		t.Errorf("Owned after RestoreSettings = %v, %v", owned, err)
	}
}

func (s *sourceSuite) two(t *testing.T) {
	for _, theirs := range []bool{true, false} {
		t.Run(fmt.Sprintf("theirs=%t", theirs), func(t *testing.T) { s.twoBeside(t, theirs) })
	}
}

func (s *sourceSuite) twoBeside(t *testing.T, theirs bool) {
	c := s.start(t)
	with := func(settings map[string]string) map[string]string {
		if theirs {
			settings["THEIRS"] = "1"
		}
		return settings
	}
	if theirs {
		c.set("THEIRS", "1")
	}
	empty := c.content()
	a, b := newUID(), newUID()
	first := c.change("orders", 1, a, "PB_A", "1")
	c.write(first)
	one := c.content()
	second := c.change("events", 1, b, "PB_B", "1")
	c.write(second)
	both := c.content()
	c.delete(second)
	c.same(one, "after the second connection is deleted")
	c.write(second)
	c.same(both, "after it is made again")
	c.delete(first)
	c.has(with(map[string]string{"PB_B": "1"}))
	c.delete(second)
	c.same(empty, "after both are deleted, the first one first")
}

func (s *sourceSuite) owned(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	c.set("PB_TAKEN", "1")
	changes := map[string]driver.Change{}
	for i, name := range []string{"orders", "events"} {
		uid := newUID()
		changes[uid] = c.change(name, int64(i+3), uid, "PB_"+strconv.Itoa(i), "1")
	}
	only := newUID()
	changes[only] = c.change("taken", 7, only, "PB_TAKEN", "ours") // nothing but what was there
	for _, uid := range slices.Sorted(maps.Keys(changes)) {
		c.write(changes[uid])
	}
	// As a process sees it that has just started.
	owned, err := c.open().Owned(c.ctx())
	if err != nil {
		t.Fatalf("Owned: %v", err)
	}
	found := map[string]driver.Mark{}
	for _, o := range owned {
		found[o.Mark.UID] = o.Mark
	}
	for uid, change := range changes {
		m, ok := found[uid]
		switch {
		case !ok:
			t.Errorf("Owned does not list the connection %s", change.Name)
		case m.Generation != change.Mark.Generation:
			t.Errorf("Owned says generation %d of %s, want %d", m.Generation, change.Name, change.Mark.Generation)
		case !m.Connection.Equal(change.Mark.Connection):
			t.Errorf("Owned says %s, want %s", m.Connection, change.Mark.Connection)
		}
		delete(found, uid)
	}
	if len(found) > 0 {
		t.Errorf("Owned also lists %v", found)
	}
}

// concurrent has writers that each know of nobody else; every one must get
// through, and nothing of anybody may be lost.
func (s *sourceSuite) concurrent(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	const writers = 4
	rounds := s.times(5)
	ctx := c.ctx()
	want := map[string]string{"THEIRS": "1"}
	var group sync.WaitGroup
	failures := make(chan error, writers)
	for w := range writers {
		source, uid, name := c.open(), newUID(), fmt.Sprintf("PB_%d", w)
		want[name] = strconv.Itoa(rounds)
		c.change(strings.ToLower(name), int64(rounds), uid, name, want[name]) // the last one, for its release
		group.Go(func() {
			failures <- func() error {
				for round := 1; round <= rounds; round++ {
					change := driver.Change{
						Mark: driver.Mark{UID: uid, Generation: int64(round), Connection: c.Config.ID.Linker(strings.ToLower(name))},
						Name: strings.ToLower(name),
						Set:  []patchbay.Setting{{Name: name, Value: patchbay.NewSecret(strconv.Itoa(round))}},
					}
					for {
						now, err := source.ReadSettings(ctx)
						if err != nil {
							return err
						}
						_, err = source.WriteSettings(ctx, change, now.Version)
						if err == nil {
							break
						}
						if patchbay.CodeOf(err) != patchbay.SettingsChanged {
							return err
						}
					}
				}
				return nil
			}()
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			t.Errorf("a writer: %v", err)
		}
	}
	c.has(want)
}

// atomic reads all the time while two settings that belong together change.
func (s *sourceSuite) atomic(t *testing.T) {
	c := s.start(t)
	uid := newUID()
	padding := strings.Repeat("x", 16<<10) // more than one write's worth
	change := func(generation int64) driver.Change {
		g := strconv.FormatInt(generation, 10)
		return c.change("orders", generation, uid, "PB_A", g, "PB_PAD", padding, "PB_B", g)
	}
	c.write(change(0))
	c.apply()
	done := make(chan struct{})
	torn := make(chan string, 1)
	go func() {
		defer close(torn)
		for {
			got, err := c.Read()
			if err != nil {
				torn <- err.Error()
				return
			}
			if got["PB_A"] == "" || got["PB_A"] != got["PB_B"] || got["PB_PAD"] != padding {
				torn <- fmt.Sprintf("PB_A=%q with PB_B=%q", got["PB_A"], got["PB_B"])
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	for generation := range int64(s.times(50)) {
		c.write(change(generation + 1))
	}
	close(done)
	for what := range torn {
		t.Errorf("a reader saw a part of a change: %s", what)
	}
}

func (s *sourceSuite) files(t *testing.T) {
	c := s.start(t)
	uid := newUID()
	file := func(generation int64, entries ...string) driver.Change {
		change := c.change("orders", generation, uid, entries...)
		for i := range change.Set {
			change.Set[i].File = true
		}
		return change
	}
	first := file(1, "type", "postgresql", "password", "line one\nit's\n", "host", "h1")
	if c.ReadFiles == nil {
		c.refusedWith(c.source.CheckChange(c.ctx(), first), patchbay.NotSupported, "CheckChange with files")
		return
	}
	// An entry's name says nothing about the settings that are called so.
	c.set("password", "theirs")
	before := c.content()
	hold := func(want map[string]string) {
		t.Helper()
		got, err := c.ReadFiles("orders")
		if err != nil {
			t.Fatalf("ReadFiles: %v", err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("the binding holds %q, want %q", got, want)
		}
		read := map[string]string{}
		for name, value := range c.snapshot().Settings {
			if entry, ok := strings.CutPrefix(name, driver.FileSetting("orders", "")); ok {
				read[entry] = value.Reveal()
			}
		}
		if !maps.Equal(read, want) {
			t.Errorf("ReadSettings gives the files %q, want %q", read, want)
		}
		c.has(map[string]string{"password": "theirs"})
	}
	c.write(first)
	hold(map[string]string{"type": "postgresql", "password": "line one\nit's\n", "host": "h1"})
	one, afterFirst := c.content(), c.snapshot()
	c.write(first)
	c.same(one, "after the same write again")

	second := file(2, "type", "postgresql", "password", "two", "port", "5432")
	second.Had = first.Set
	c.write(second)
	hold(map[string]string{"type": "postgresql", "password": "two", "port": "5432"})
	owned, err := c.source.Owned(c.ctx())
	if err != nil || len(owned) == 0 {
		t.Errorf("Owned = %v, %v", owned, err)
	}
	for _, o := range owned {
		if o.Mark.UID != uid || o.Mark.Generation != 2 {
			t.Errorf("Owned lists %+v", o)
		}
	}
	c.restore(second, afterFirst)
	c.same(one, "after RestoreSettings of an update")
	c.write(second)
	c.delete(second)
	c.same(before, "after a delete")
	hold(map[string]string{})

	for _, name := range []string{"", ".", "..", "../x", "a/b", "..data", ".hidden", "a\x00", "a\nb", strings.Repeat("a", 300)} {
		c.refusedWith(c.source.CheckChange(c.ctx(), file(1, name, "canary-file")), patchbay.InvalidArgument, fmt.Sprintf("CheckChange of the entry %.20q", name))
		outside := file(1, "type", "canary-file")
		outside.Name = name
		c.refusedWith(c.source.CheckChange(c.ctx(), outside), patchbay.InvalidArgument, fmt.Sprintf("CheckChange of the connection %.20q", name))
		_, err := c.source.WriteSettings(c.ctx(), outside, c.snapshot().Version)
		c.refusedWith(err, patchbay.InvalidArgument, fmt.Sprintf("WriteSettings of the connection %.20q", name))
	}
	c.same(before, "after refused files")
}

func (s *sourceSuite) restart(t *testing.T) {
	c := s.start(t)
	restarter, ok := c.source.(driver.Restarter)
	if !ok {
		return // inspect has compared it with what the harness says
	}
	uid := newUID()
	for want := 1; want <= 2; want++ {
		// Some are told by the change itself; others by the restart.
		c.write(c.change("orders", int64(want), uid, "PB_A", strconv.Itoa(want)))
		if err := restarter.Restart(c.ctx()); err != nil {
			t.Fatalf("Restart: %v", err)
		}
		if n, err := c.Restarts(); err != nil || n != want {
			t.Errorf("the application was told %d times, %v; want %d", n, err, want)
		}
	}
}

func (s *sourceSuite) dialer(t *testing.T) {
	c := s.start(t)
	v, ok := c.source.(driver.Vantage)
	if !ok {
		return // nobody speaks from there
	}
	d, err := v.Dialer(c.ctx())
	if patchbay.CodeOf(err) == patchbay.NotSupported && patchbay.AsError(err).Message != "" {
		t.Skipf("nobody can speak from there: %v", err)
	}
	if err != nil {
		t.Fatalf("Dialer: %v", err)
	}
	if d == nil {
		t.Fatal("Dialer gives nil")
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close of the dialer: %v", err)
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	conn, err := d.DialContext(c.ctx(), "tcp", l.Addr().String())
	if err != nil {
		// The source may be elsewhere, where this listener is not.
		t.Skipf("the source does not reach this process: %v", err)
	}
	defer conn.Close()
	if b, err := io.ReadAll(conn); err != nil || string(b) != "hello" {
		t.Errorf("through the source's dialer: %q, %v", b, err)
	}
}

func (s *sourceSuite) canceled(t *testing.T) {
	c := s.start(t)
	c.set("THEIRS", "1")
	snapshot := c.snapshot()
	change := c.change("orders", 1, newUID(), "PB_A", "canary-a")
	before := c.content()
	ctx, cancel := context.WithCancel(c.ctx())
	cancel()
	_, err := c.source.WriteSettings(ctx, change, snapshot.Version)
	c.silent(err)
	if err == nil {
		t.Error("WriteSettings with a context that has ended succeeds")
	}
	c.same(before, "after a write that was canceled before it began")
	c.write(change)
	before = c.content()
	if err := c.source.RestoreSettings(ctx, change, snapshot); err == nil {
		t.Error("RestoreSettings with a context that has ended succeeds")
	}
	c.same(before, "after a restore that was canceled before it began")
}

func (s *sourceSuite) gone(t *testing.T) {
	c := s.start(t)
	if c.Remove == nil {
		t.Skip("this source can't be gone")
	}
	snapshot := c.snapshot()
	change := c.change("orders", 1, newUID(), "PB_A", "canary-a")
	c.write(change)
	if err := c.Remove(); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	_, err := c.source.Inspect(c.ctx())
	c.refusedWith(err, patchbay.SourceNotFound, "Inspect")
	_, err = c.source.ReadSettings(c.ctx())
	c.refusedWith(err, patchbay.SourceNotFound, "ReadSettings")
	_, err = c.source.WriteSettings(c.ctx(), change, snapshot.Version)
	c.refusedWith(err, patchbay.SourceNotFound, "WriteSettings")
	_, err = c.source.WriteSettings(c.ctx(), gone(change), snapshot.Version)
	c.refusedWith(err, patchbay.SourceNotFound, "WriteSettings of a delete")
	if err := c.source.RestoreSettings(c.ctx(), change, snapshot); err != nil {
		t.Errorf("RestoreSettings of a source that is gone: %v", err)
	}
}
