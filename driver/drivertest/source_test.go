package drivertest_test

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// place is a source in memory: settings in an order, each with its owner.
// Like [guard], it passes the suite, or with a mutant must not.
type place struct {
	mu       sync.Mutex
	mutant   string
	gone     bool
	state    placeState
	restarts int
	left     []string
	restored map[string]bool
	first    map[string]placeState // what each connection found
	watchers map[chan struct{}]bool
}

// tell is what a platform does.
func (p *place) tell(of string) {
	if p.is(of + " is not told") {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
		if p.is("one watcher alone is told") {
			return
		}
	}
}

func (s placeSource) Watch(ctx context.Context, changed func()) error {
	s.mu.Lock()
	if s.gone && s.is("what is gone can't be watched") {
		s.mu.Unlock()
		return patchbay.Errorf(patchbay.SourceNotFound, "there is no such source")
	}
	told := make(chan struct{}, 1)
	if s.is("one watcher alone is told") {
		clear(s.watchers)
	}
	s.watchers[told] = true
	s.mu.Unlock()
	if !s.is("the beginning is not told") {
		changed()
	}
	switch s.mutant {
	case "a watch leaves a goroutine":
		go func() { select {} }()
	case "a watch leaves a file open":
		if f, err := os.Open(os.DevNull); err == nil {
			runtime.SetFinalizer(f, nil)
			leaked = append(leaked, f)
		}
	}
	for {
		select {
		case <-ctx.Done():
			if s.is("a watch does not end") {
				select {}
			}
			s.mu.Lock()
			delete(s.watchers, told)
			s.mu.Unlock()
			if s.is("a watch ends with an error") {
				return ctx.Err()
			}
			return nil
		case <-told:
			changed()
		}
	}
}

var leaked []*os.File

type placeState struct {
	Entries  []entry
	Bindings map[string]files `json:",omitempty"`
}

// entry is a setting; without an owner it is somebody else's.
type entry struct {
	Name, Value string
	Owner       *driver.Mark `json:",omitempty"`
}

type files struct {
	Owner driver.Mark
	Files map[string]string
}

const placeID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web"

func (p *place) is(mutant string) bool { return p.mutant == mutant }

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s placeState) clone() placeState {
	n := placeState{Entries: slices.Clone(s.Entries), Bindings: map[string]files{}}
	for name, b := range s.Bindings {
		n.Bindings[name] = files{b.Owner, maps.Clone(b.Files)}
	}
	return n
}

func (s placeState) last(name string) int {
	for i := len(s.Entries) - 1; i >= 0; i-- {
		if s.Entries[i].Name == name {
			return i
		}
	}
	return -1
}

type placeSource struct{ *place }

var placeDescription = patchbay.Driver{
	Name: "place", Title: "Place", Noun: "place", About: "A place in memory.", Types: []string{"Microsoft.Web/sites"},
	Endpoint:   patchbay.Endpoint{Field: patchbay.Field{Type: patchbay.TextField, About: "nothing"}},
	Properties: []patchbay.Field{{Name: "colour", Type: patchbay.TextField, Words: []string{"red"}, About: "of no use"}},
}

func (p *place) driver() driver.SourceDriver {
	d := placeDescription
	if p.is("two fields have one flag") {
		d.Properties = append(slices.Clone(d.Properties), patchbay.Field{Name: "tint", Flag: "colour", Type: patchbay.TextField, About: "the same"})
	}
	return driver.SourceDriver{Driver: d, Open: func(_ context.Context, c driver.Config) (driver.Source, error) {
		var properties struct{ Colour string }
		if err := driver.DecodeProperties(d, c.Properties, &properties); err != nil && !p.is("any property will do") {
			return nil, err
		}
		if err := driver.CheckAdmin(d, c.Admin); err != nil {
			return nil, err
		}
		if p.is("it is no watcher") {
			return struct {
				driver.Source
				driver.Restarter
				driver.Vantage
			}{placeSource{p}, placeSource{p}, placeSource{p}}, nil
		}
		if p.is("says that it can't restart") {
			return struct {
				driver.Source
				driver.Vantage
			}{placeSource{p}, placeSource{p}}, nil
		}
		return placeSource{p}, nil
	}}
}

func (s placeSource) Close() error { return nil }

func (s placeSource) RestartLimit() time.Duration { return time.Minute }

func (s placeSource) Dialer(context.Context) (driver.ClosingDialer, error) {
	if s.is("no dialer") {
		return nil, nil
	}
	return driver.KeptOpen(&net.Dialer{}), nil
}

func (s placeSource) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) {
	if s.is("egress is an address in a network") {
		return []netip.Prefix{netip.MustParsePrefix("10.0.3.7/24")}, nil
	}
	return []netip.Prefix{netip.MustParsePrefix("10.0.3.7/32")}, nil
}

func (s placeSource) missing() error {
	if s.gone && !s.is("a source that is gone is empty") {
		return patchbay.Errorf(patchbay.SourceNotFound, "there is no such source")
	}
	return nil
}

func (s placeSource) Inspect(context.Context) (driver.SourceInfo, error) {
	if s.is("a look is told") {
		s.tell("a look")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return driver.SourceInfo{Files: true}, s.missing()
}

func (s placeSource) version(st placeState) string {
	switch s.mutant {
	case "the version knows names only":
		var names []string
		for _, e := range st.Entries {
			names = append(names, e.Name)
		}
		return encode(names)
	case "the version never changes":
		return "1"
	}
	return encode(st)
}

func (s placeSource) ReadSettings(context.Context) (driver.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := driver.Snapshot{Version: s.version(s.state), Settings: map[string]patchbay.Secret{}, Content: patchbay.NewSecret(encode(s.state))}
	for _, e := range s.state.Entries {
		value := e.Value
		if s.is("ReadSettings trims values") {
			value = strings.TrimSpace(value)
		}
		snapshot.Settings[e.Name] = patchbay.NewSecret(value)
	}
	for name, b := range s.state.Bindings {
		for file, value := range b.Files {
			key := driver.FileSetting(name, file)
			if s.is("files are read as settings") {
				key = file
			}
			snapshot.Settings[key] = patchbay.NewSecret(value)
		}
	}
	return snapshot, s.missing()
}

func (s placeSource) CheckChange(_ context.Context, c driver.Change) error {
	if s.is("CheckChange has an effect") {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state = s.apply(s.state, c)
	}
	if s.is("CheckChange checks nothing") {
		return nil
	}
	return s.check(c)
}

func (s placeSource) check(c driver.Change) error {
	for _, set := range c.Set {
		bad := set.Name == "" || strings.ContainsAny(set.Name, "= \n\x00") || len(set.Name) > 255
		if set.File {
			for _, name := range []string{c.Name, set.Name} {
				bad = bad || name == "" || name[0] == '.' && !s.is("a file may leave its directory") || strings.ContainsAny(name, "\x00\n") ||
					strings.Contains(name, "/") && !s.is("a file may leave its directory") || len(name) > 255
			}
		}
		if bad || strings.Contains(set.Value.Reveal(), "\x00") && !s.is("NUL is accepted") {
			value := "it"
			if s.is("errors show values") {
				value = set.Value.Reveal()
			}
			return patchbay.Errorf(patchbay.InvalidArgument, "the setting can't hold %s", value)
		}
	}
	return nil
}

// apply makes c of st: replaces what is there, and adds the rest at the end.
func (s placeSource) apply(st placeState, c driver.Change) placeState {
	n := st.clone()
	mine := func(e entry) bool { return e.Owner != nil && e.Owner.UID == c.Mark.UID }
	for _, had := range c.Dropped() {
		if had.File || s.is("old names stay") {
			continue
		}
		if i, back := n.last(had.Name), slices.IndexFunc(c.Back, func(b patchbay.Setting) bool { return b.Name == had.Name }); i >= 0 && back >= 0 &&
			mine(n.Entries[i]) && n.Entries[i].Value == had.Value.Reveal() && !s.is("what was taken over does not come back") {
			n.Entries[i] = entry{had.Name, c.Back[back].Value.Reveal(), nil}
			continue
		}
		n.Entries = slices.DeleteFunc(n.Entries, func(e entry) bool {
			return e.Name == had.Name && (mine(e) || s.is("a name is enough to be removed")) &&
				(e.Value == had.Value.Reveal() || s.is("whatever is named is removed"))
		})
	}
	if len(c.Set) == 0 {
		for i, e := range n.Entries {
			if mine(e) && !s.is("a delete leaves marks") {
				n.Entries[i].Owner = nil // somebody's edit by now
			}
		}
	}
	for _, set := range c.Set {
		if set.File {
			continue
		}
		value := set.Value.Reveal()
		switch {
		case s.is("values are cut at a line end"):
			value, _, _ = strings.Cut(value, "\n")
		case s.is("dollar signs are expanded"):
			value = strings.ReplaceAll(value, "$HOME", "/root")
		}
		e := entry{set.Name, value, &c.Mark}
		if i := n.last(set.Name); i >= 0 && !s.is("taken names are added again") {
			n.Entries[i] = e
		} else {
			n.Entries = append(n.Entries, e)
		}
	}
	for i, e := range n.Entries {
		if mine(e) {
			n.Entries[i].Owner = &c.Mark
		}
	}
	if s.is("a write drops what others have") {
		n.Entries = slices.DeleteFunc(n.Entries, func(e entry) bool { return e.Owner == nil && n.Entries[0].Name != e.Name })
	}
	old := n.Bindings[c.Name]
	delete(n.Bindings, c.Name)
	for _, set := range c.Set {
		if !set.File {
			continue
		}
		b, ok := n.Bindings[c.Name]
		if !ok {
			b = files{c.Mark, map[string]string{}}
			if s.is("old files stay") {
				maps.Copy(b.Files, old.Files)
			}
			n.Bindings[c.Name] = b
		}
		b.Files[set.Name] = set.Value.Reveal()
	}
	return n
}

func (s placeSource) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := ctx.Err(); err != nil && !s.is("a write ignores its context") {
		return "", err
	}
	if err := s.check(c); err != nil && !s.is("a write checks nothing") {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.missing(); err != nil {
		return "", err
	}
	now, next := s.state, s.apply(s.state, c)
	same := encode(now) == encode(next) && !s.is("a repeated write is refused")
	if s.version(now) != ifVersion && !same && !s.is("a write looks at no version") {
		return "", patchbay.Errorf(patchbay.SettingsChanged, "somebody else wrote")
	}
	if _, ok := s.first[c.Mark.UID]; !ok {
		s.first[c.Mark.UID] = now.clone()
	}
	switch s.mutant {
	case "a delete goes back to what was there at first":
		for _, e := range s.first[c.Mark.UID].Entries {
			if len(c.Set) == 0 && next.last(e.Name) < 0 {
				next.Entries = append(next.Entries, e)
			}
		}
	case "two writers lose an edit":
		s.mu.Unlock()
		for range 1000 { // on a busy machine nobody comes in at once
			runtime.Gosched()
		}
		s.mu.Lock()
		next = s.apply(now, c)
	case "a write is seen in parts":
		for i := range next.Entries {
			s.state.Entries = next.Entries[:i]
			s.mu.Unlock()
			runtime.Gosched()
			s.mu.Lock()
		}
	case "a temporary file stays":
		s.left = []string{"tmp"}
	case "a repeated write adds again":
		if same && len(c.Set) > 0 {
			next.Entries = append(next.Entries, entry{"PB_AGAIN", "1", &c.Mark})
		}
	}
	s.state = next
	if s.is("a write answers the old version") {
		return s.version(now), nil
	}
	go s.tell("a write of ours")
	return s.version(next), nil
}

func (s placeSource) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	if err := ctx.Err(); err != nil && !s.is("a restore ignores its context") {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		if s.is("a restore of what is gone fails") {
			return patchbay.Errorf(patchbay.SourceNotFound, "there is no such source")
		}
		return nil
	}
	if s.is("a second restore fails") && s.restored[before.Version] {
		return patchbay.Errorf(patchbay.SettingsChanged, "restored already")
	}
	s.restored[before.Version] = true
	var old placeState
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &old); err != nil {
		return err
	}
	exact := encode(s.state) == encode(s.apply(old, c))
	if exact && !s.is("a restore is by name only") || s.is("a restore brings everything back") {
		s.state = old.clone()
		return nil
	}
	next := s.state.clone()
	for _, set := range c.Set {
		i := next.last(set.Name)
		if set.File || i < 0 || next.Entries[i].Value != set.Value.Reveal() && !s.is("a restore takes what others took over") {
			continue
		}
		at := old.last(set.Name)
		if at >= 0 && !s.is("a restore forgets what was there") {
			next.Entries[i] = old.Entries[at]
		} else {
			next.Entries = slices.Delete(next.Entries, i, i+1)
		}
	}
	if s.is("a restore is by name only") { // and in another order
		slices.SortFunc(next.Entries, func(a, b entry) int { return strings.Compare(a.Value, b.Value) })
	}
	for i, e := range next.Entries {
		if e.Owner != nil && e.Owner.UID == c.Mark.UID && old.last(e.Name) < 0 && !s.is("a restore leaves marks") {
			next.Entries[i].Owner = nil
		}
	}
	delete(next.Bindings, c.Name)
	if b, ok := old.Bindings[c.Name]; ok {
		next.Bindings[c.Name] = b
	}
	s.state = next
	return nil
}

func (s placeSource) Restart(context.Context) error {
	if !s.is("Restart does nothing") {
		s.restarts++
	}
	s.tell("a restart of ours")
	return nil
}

func (s placeSource) Owned(context.Context) ([]driver.Owned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var owned []driver.Owned
	for i, e := range s.state.Entries {
		switch {
		case e.Owner == nil && s.is("Owned lists what is not ours"):
			owned = append(owned, driver.Owned{Mark: driver.Mark{UID: "x"}, Name: e.Name})
		case e.Owner == nil, s.is("Owned misses taken names") && i < 2:
		case s.is("Owned forgets the generation"):
			owned = append(owned, driver.Owned{Mark: driver.Mark{UID: e.Owner.UID, Connection: e.Owner.Connection}, Name: e.Name})
		default:
			owned = append(owned, driver.Owned{Mark: *e.Owner, Name: e.Name})
		}
	}
	for name, b := range s.state.Bindings {
		if s.is("Owned misses files") {
			break
		}
		for file := range b.Files {
			owned = append(owned, driver.Owned{Mark: b.Owner, Name: driver.FileSetting(name, file)})
		}
	}
	return owned, nil
}

// placeMutants are what a driver may get wrong, with the case that must see
// it.
var placeMutants = map[string]string{
	"two fields have one flag":                      "Describes",
	"any property will do":                          "Describes",
	"says that it can't restart":                    "Inspect",
	"egress is an address in a network":             "Inspect",
	"no dialer":                                     "Dialer",
	"ReadSettings trims values":                     "ValuesComeThroughExactly",
	"values are cut at a line end":                  "ValuesComeThroughExactly",
	"dollar signs are expanded":                     "ValuesComeThroughExactly",
	"CheckChange checks nothing":                    "WhatCantBeHeldIsRefused",
	"CheckChange has an effect":                     "VersionsTellChanges",
	"a write checks nothing":                        "WhatCantBeHeldIsRefused",
	"NUL is accepted":                               "WhatCantBeHeldIsRefused",
	"errors show values":                            "WhatCantBeHeldIsRefused",
	"the version never changes":                     "VersionsTellChanges",
	"the version knows names only":                  "VersionsTellChanges",
	"a write looks at no version":                   "StaleVersionIsRefused",
	"a repeated write is refused":                   "RepeatedWriteIsOne",
	"a repeated write adds again":                   "RepeatedWriteIsOne",
	"a write answers the old version":               "UpdateRemovesOldNames",
	"a write drops what others have":                "OthersSettingsStay",
	"taken names are added again":                   "RepeatedWriteIsOne",
	"old names stay":                                "UpdateRemovesOldNames",
	"whatever is named is removed":                  "UpdateRemovesOldNames",
	"a name is enough to be removed":                "DeleteKeepsWhatAnotherConnectionHas",
	"a delete leaves marks":                         "DeleteKeepsOthersEdits",
	"a delete goes back to what was there at first": "DeleteBringsNothingBack",
	"a restore is by name only":                     "RestoreOfAnUpdate",
	"a restore brings everything back":              "RestoreKeepsOthersEdits",
	"a restore takes what others took over":         "RestoreKeepsOthersEdits",
	"a restore forgets what was there":              "RestoreGivesBackTakenNames",
	"a restore leaves marks":                        "RestoreKeepsOthersEdits",
	"a second restore fails":                        "RestoreIsByteForByte",
	"a restore of what is gone fails":               "GoneSource",
	"what was taken over does not come back":        "DeleteGivesBackWhatWasTakenOver",
	"a source that is gone is empty":                "GoneSource",
	"two writers lose an edit":                      "ConcurrentWritersLoseNothing",
	"a write is seen in parts":                      "ReadersSeeAllOrNothing",
	"a temporary file stays":                        "VersionsTellChanges",
	"files are read as settings":                    "Files",
	"old files stay":                                "Files",
	"a file may leave its directory":                "Files",
	"Owned misses files":                            "Files",
	"Owned misses taken names":                      "OwnedIsExact",
	"Owned lists what is not ours":                  "OwnedIsExact",
	"Owned forgets the generation":                  "OwnedIsExact",
	"Restart does nothing":                          "Restart",
	"it is no watcher":                              "Inspect",
	"the beginning is not told":                     "ChangesAreTold",
	"an edit is not told":                           "ChangesAreTold",
	"a write of ours is not told":                   "ChangesAreTold",
	"a restart of ours is not told":                 "ChangesAreTold",
	"a restart is not told":                         "ChangesAreTold",
	"its end is not told":                           "ChangesAreTold",
	"its return is not told":                        "ChangesAreTold",
	"one watcher alone is told":                     "ChangesAreTold",
	"what is gone can't be watched":                 "ChangesAreTold",
	"a watch does not end":                          "ChangesAreTold",
	"a watch ends with an error":                    "ChangesAreTold",
	"a look is told":                                "ReadingIsNotTold",
	"a watch leaves a goroutine":                    "WatchingLeavesNothing",
	"a watch leaves a file open":                    "WatchingLeavesNothing",
	"a write ignores its context":                   "CanceledContext",
	"a restore ignores its context":                 "CanceledContext",
}

func runSourceSuite(t *testing.T, mutant string) {
	var p *place
	drivertest.Source(t, drivertest.SourceHarness{
		Driver: driver.SourceDriver{
			Driver: (&place{mutant: mutant}).driver().Driver,
			Open:   func(ctx context.Context, c driver.Config) (driver.Source, error) { return p.driver().Open(ctx, c) },
		},
		Values:   []string{"one\ntwo\n"},
		Watches:  mutant != "says that it can't restart",
		Patience: map[bool]time.Duration{false: 200 * time.Millisecond}[mutant == ""],
		New: func(testing.TB) drivertest.SourcePlace {
			p = &place{mutant: mutant, restored: map[string]bool{}, first: map[string]placeState{}, watchers: map[chan struct{}]bool{}, state: placeState{Entries: []entry{}, Bindings: map[string]files{}}}
			return drivertest.SourcePlace{
				Config: driver.Config{ID: placeID},
				Read: func() (map[string]string, error) {
					p.mu.Lock()
					defer p.mu.Unlock()
					values := map[string]string{}
					for _, e := range p.state.Entries {
						values[e.Name] = e.Value
					}
					return values, nil
				},
				Content: func() (string, error) {
					p.mu.Lock()
					defer p.mu.Unlock()
					return strings.ReplaceAll(encode(p.state), "},", "},\n"), nil
				},
				Set: func(name, value string) error {
					defer p.tell("an edit")
					p.mu.Lock()
					defer p.mu.Unlock()
					if i := p.state.last(name); i >= 0 {
						p.state.Entries[i].Value = value
					} else {
						p.state.Entries = append(p.state.Entries, entry{Name: name, Value: value})
					}
					return nil
				},
				Leftovers: func() ([]string, error) { return p.left, nil },
				Remove: func() error {
					p.mu.Lock()
					p.gone = true
					p.mu.Unlock()
					p.tell("its end")
					return nil
				},
				Make: func() error {
					p.mu.Lock()
					p.gone, p.state = false, placeState{Entries: []entry{}, Bindings: map[string]files{}}
					p.mu.Unlock()
					p.tell("its return")
					return nil
				},
				Bounce:   func() error { p.tell("a restart"); return nil },
				Restarts: func() (int, error) { return p.restarts, nil },
				ReadFiles: func(name string) (map[string]string, error) {
					p.mu.Lock()
					defer p.mu.Unlock()
					return maps.Clone(p.state.Bindings[name].Files), nil
				},
			}
		},
	})
}

func TestSourceSuitePassesAGoodDriver(t *testing.T) { runSourceSuite(t, "") }

func TestSourceSuiteFailsBadDrivers(t *testing.T) { failsBadDrivers(t, placeMutants, runSourceSuite) }
