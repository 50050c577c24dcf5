package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/sources/internal/environmentfile"
)

// state is everything that a source holds, at one moment.
type state struct {
	view
	all      map[string]variable // what the next process has
	theirs   string              // a sum of what all comes from, ours left out
	ours     map[string]things   // by uid
	bindings map[string][]string // links to credentials, by connection; nil when there is no directory of them
	missing  int                 // how many directories are missing on the way to the drop-ins
	depth    int                 // how many of them are missing, or were made for ours
}

// kept is what a snapshot keeps of a state.
type kept struct {
	Ours    map[string]things `json:"ours"`
	Depth   int               `json:"depth"`
	Running bool              `json:"running"`
}

// read looks at all of it.
func (s *source) read(ctx context.Context) (state, error) {
	v, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return state{}, err
	}
	return s.readWith(ctx, v)
}

// readWith looks at what the manager does not say.
func (s *source) readWith(ctx context.Context, v view) (state, error) {
	st := state{view: v}
	if err := s.readOurs(ctx, &st); err != nil {
		return state{}, err
	}
	texts, err := s.texts(ctx, v.unit)
	if err != nil {
		return state{}, err
	}
	if st.all, err = s.environmentOf(v, texts); err != nil {
		return state{}, err
	}
	isOurs := func(t environmentText) bool {
		_, _, ok := uidOf(filepath.Base(t.path))
		return ok && filepath.Dir(t.path) == v.place.dir
	}
	var sum strings.Builder
	for _, name := range slices.Sorted(maps.Keys(v.own.environment)) {
		if !ownVariable(name) {
			fmt.Fprintf(&sum, "%q%q", name, v.own.environment[name])
		}
	}
	environment := slices.DeleteFunc(v.list("Environment"), func(item string) bool { return item == rootVariable+"="+v.place.bindings() })
	fmt.Fprintf(&sum, "\n%q%q%q\n%s", environment, v.facts["PassEnvironment"], v.facts["UnsetEnvironment"], textsSum(slices.DeleteFunc(texts, isOurs)))
	st.theirs = short(sum.String())
	return st, nil
}

func short(text string) string { return hosts.Sum([]byte(text))[:16] }

// readOurs reads what is ours beside the unit.
func (s *source) readOurs(ctx context.Context, st *state) error {
	st.ours = map[string]things{}
	p := st.place
	names, err := s.host.ListDir(ctx, p.dir)
	for dir := p.dir; absent(err) && dir != "/"; _, err = s.host.ListDir(ctx, dir) {
		st.missing++
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return fault(patchbay.SettingsUnreadable, p.dir, err)
	}
	for _, name := range names {
		if name == bindingsName {
			if err := s.readBindings(ctx, st); err != nil {
				return err
			}
			continue
		}
		uid, kind, ok := uidOf(name)
		if !ok {
			continue
		}
		h := st.ours[uid]
		if kind == ".files" {
			published, err := s.host.ReadPublished(ctx, p.files(uid), 2*maxFile)
			if errors.Is(err, hosts.ErrForeign) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fault(patchbay.SettingsUnreadable, p.files(uid), err)
			}
			h.Files, h.Generation = published.Files, published.Generation
		} else {
			f, err := s.host.ReadFile(ctx, filepath.Join(p.dir, name), 2*maxFile)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fault(patchbay.SettingsUnreadable, filepath.Join(p.dir, name), err)
			}
			if kind == ".conf" {
				h.Dropin = string(f.Content)
			} else {
				h.Env = string(f.Content)
			}
		}
		st.ours[uid] = h
	}
	st.depth = st.missing
	for uid, h := range st.ours {
		m, ok := parseMark(h.Dropin)
		if ok && h.Files != nil {
			h.Connection = m.connection
			st.ours[uid] = h
		}
		if m.made == p.dir || m.made != "" && strings.HasPrefix(p.dir, m.made+"/") {
			st.depth = max(st.depth, 1+strings.Count(p.dir[len(m.made):], "/"))
		}
	}
	return nil
}

// above is the directory that is depth-1 above the drop-ins, "" for a depth of 0: the
// topmost of as many.
func (p place) above(depth int) string {
	if depth == 0 {
		return ""
	}
	dir := p.dir
	for range depth - 1 {
		dir = filepath.Dir(dir)
	}
	return dir
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

func (s *source) readBindings(ctx context.Context, st *state) error {
	connections, err := s.host.ListDir(ctx, st.place.bindings())
	if err == nil {
		st.bindings = map[string][]string{}
	}
	for _, name := range connections {
		var entries []string
		if entries, err = s.host.ListDir(ctx, st.place.binding(name)); err != nil {
			break
		}
		st.bindings[name] = entries
	}
	if err != nil && !absent(err) {
		return fault(patchbay.SettingsUnreadable, st.place.bindings(), err)
	}
	return nil
}

// version has a sum of each thing that one effect changes: a crash between two of
// them leaves one of each, and a repeated write must know them.
func (st state) version() string {
	var env, dropins, files strings.Builder
	for _, uid := range slices.Sorted(maps.Keys(st.ours)) {
		h := st.ours[uid]
		if h.Env != "" {
			fmt.Fprintf(&env, "%s%q", uid, h.Env)
		}
		if h.Dropin != "" {
			fmt.Fprintf(&dropins, "%s%q", uid, h.Dropin)
		}
		if h.Files != nil {
			fmt.Fprintf(&files, "%s%s", uid, h.filesSum())
		}
	}
	return strings.Join([]string{st.theirs, short(env.String()), short(dropins.String()), short(files.String()), strconv.Itoa(st.depth)}, ".")
}

// fits reports whether now is what it was at a version, but for what may be done
// already of making it next.
func fits(now, next state, version string) bool {
	was, is, then := strings.Split(version, "."), strings.Split(now.version(), "."), strings.Split(next.version(), ".")
	if len(was) != len(is) {
		return false
	}
	for i := range 4 {
		if is[i] != was[i] && (i == 0 || is[i] != then[i]) {
			return slices.Equal(is[1:4], then[1:4])
		}
	}
	return true
}

// depthAt is how many directories were missing at a version, or made for ours.
func depthAt(version string) int {
	n, _ := strconv.Atoi(version[strings.LastIndex(version, ".")+1:])
	return n
}

// ReadSettings implements [driver.Source].
func (s *source) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	st, err := driver.Look(ctx, s, s.read)
	if err != nil {
		return driver.Snapshot{}, err
	}
	if st.unit.missing() {
		return driver.Snapshot{}, s.notFound()
	}
	content, err := json.Marshal(kept{st.ours, st.depth, st.running()})
	if err != nil {
		return driver.Snapshot{}, err
	}
	snapshot := driver.Snapshot{Version: st.version(), Settings: st.settings(), Content: patchbay.NewSecret(string(content))}
	return snapshot, nil
}

// settings are what the application has, by name.
func (st state) settings() map[string]patchbay.Secret {
	settings := map[string]patchbay.Secret{}
	for name, v := range st.all {
		settings[name] = patchbay.NewSecret(v.value)
	}
	for uid, h := range st.ours {
		if !slices.Contains(st.list("DropInPaths"), st.place.dropin(uid)) {
			continue // the manager has not heard of it
		}
		for entry, content := range h.Files {
			if slices.Contains(st.bindings[h.Connection], entry) {
				settings[driver.FileSetting(h.Connection, entry)] = patchbay.NewSecret(string(content))
			}
		}
	}
	return settings
}

// CheckChange implements [driver.Source].
func (s *source) CheckChange(ctx context.Context, c driver.Change) error {
	if err := s.checkChange(c); err != nil {
		return err
	}
	now, err := driver.Look(ctx, s, s.read)
	if err != nil {
		return err
	}
	return s.checkAgainst(ctx, now, c)
}

// checkChange looks at the change alone.
func (s *source) checkChange(c driver.Change) error {
	invalid := func(subject, format string, args ...any) *patchbay.Error {
		e := patchbay.Errorf(patchbay.InvalidArgument, format, args...)
		e.Subject = clip(subject)
		return e
	}
	if !uidForm.MatchString(c.Mark.UID) || c.Mark.Generation < 0 {
		return invalid(c.Mark.UID, "the connection's uid %q is none that a mark can hold", clip(c.Mark.UID))
	}
	seen, size := map[string]bool{}, 0
	for _, set := range c.Set {
		value := set.Value.Reveal()
		switch {
		case set.File && !s.deliver:
			return patchbay.Errorf(patchbay.NotSupported, "the source %s does not hold settings that are files", s.id.Name()).
				WithFix("register it with --deliver files, or choose --naming native")
		case set.File && !bindingName.MatchString(c.Name):
			return invalid(c.Name, "the connection name %q is none that a credential can have: letters, digits, dots, dashes and underscores, not beginning with a dot, at most 120", clip(c.Name))
		case set.File && !bindingName.MatchString(set.Name):
			return invalid(set.Name, "the file %q has no name of a credential: letters, digits, dots, dashes and underscores, not beginning with a dot, at most 120", clip(set.Name))
		case !set.File:
			if err := checkSetting(set.Name, value); err != nil {
				return err
			}
		}
		if seen[c.Key(set)] {
			return invalid(set.Name, "the setting %s is there twice", set.Name)
		}
		seen[c.Key(set)] = true
		if set.File {
			size += len(set.Value.Reveal())
		}
	}
	if size > maxFile {
		return invalid(c.Name, "the files are larger than a service's credentials may be, %d bytes", maxFile)
	}
	return nil
}

// resets is a drop-in that takes back all environment files that were named before it.
var resets = regexp.MustCompile(`(?m)^[ \t]*EnvironmentFile[ \t]*=[ \t]*$`)

// checkAgainst says whether the change can be made to what is there.
func (s *source) checkAgainst(ctx context.Context, now state, c driver.Change) error {
	if now.unit.missing() {
		return s.notFound()
	}
	if len(c.Set) == 0 {
		return nil
	}
	if err := s.usable(now.unit); err != nil {
		return err
	}
	// What the environment will be, and whether it gets to a process.
	sizes := map[string]int{}
	for name, v := range now.all {
		sizes[name] = sizeOf(name, v.value)
	}
	values := map[string]string{}
	for _, set := range c.Set {
		if !set.File {
			sizes[set.Name] = sizeOf(set.Name, set.Value.Reveal())
			values[set.Name] = set.Value.Reveal()
		}
	}
	total := 0
	for _, size := range sizes {
		total += size
	}
	if limit := now.maxEnvironment(); total > limit {
		return patchbay.Errorf(patchbay.InvalidArgument, "with these settings the environment of %s would have %d bytes, and a process of it is handed %d at most", s.unit, total, limit).
			WithFix("register the source with --deliver files and choose --naming servicebinding, or raise LimitSTACK= of the unit")
	}
	for _, item := range now.list("UnsetEnvironment") {
		name, value, exact := strings.Cut(item, "=")
		if ours, set := values[name]; set && (!exact || value == ours) {
			return patchbay.Errorf(patchbay.InvalidArgument, "%s takes %s away from its processes (UnsetEnvironment=)", s.unit, name).
				WithFix("systemctl %sedit %s   (and take it out), or give the setting another name", s.flag(), quoted(s.unit))
		}
	}
	if len(values) > 0 {
		for _, path := range now.list("DropInPaths") {
			if filepath.Base(path) < filepath.Base(now.place.dropin(c.Mark.UID)) {
				continue
			}
			if _, _, ours := uidOf(filepath.Base(path)); ours {
				continue
			}
			f, err := s.host.ReadFile(ctx, path, maxFile)
			if err == nil && resets.Match(f.Content) {
				return patchbay.Errorf(patchbay.SettingsUnwritable, "%s takes back every EnvironmentFile= that is named before it, ours too", path).
					WithFix("take the empty EnvironmentFile= out of it: systemctl %sedit %s", s.flag(), quoted(s.unit))
			}
		}
	}
	if slices.ContainsFunc(c.Set, func(set patchbay.Setting) bool { return set.File }) {
		if now.own.version < filesVersion {
			return patchbay.Errorf(patchbay.NotSupported, "systemd %d of the host gives a service no directories of credentials: version %d does", now.own.version, filesVersion)
		}
		if set, ok := now.all[rootVariable]; ok {
			return patchbay.Errorf(patchbay.NotSupported, "%s has a $%s already, by %s: its libraries would not look where credentials are", s.unit, rootVariable, set.from).
				WithFix("take it out of there, or choose --naming native")
		}
		if !now.isOf(c.Name, c.Mark.UID) {
			return patchbay.Errorf(patchbay.NotOurs, "%s is there and not this connection's", now.place.binding(c.Name)).
				WithFix("name the connection otherwise, or move that directory away")
		}
	}
	at := now.place.above(now.missing)
	if now.missing == 0 {
		at = now.place.dropin(c.Mark.UID)
	}
	if err := s.host.CheckReplace(ctx, at); err != nil {
		return fault(patchbay.SettingsUnwritable, at, err)
	}
	return nil
}

// isOf reports whether no other connection has that name in a drop-in: then links
// of that name are what a crash left.
func (st state) isOf(connection, uid string) bool {
	for other, h := range st.ours {
		if m, ok := parseMark(h.Dropin); ok && other != uid && m.connection == connection && h.Files != nil {
			return false
		}
	}
	return true
}

// Advise implements [driver.Adviser].
func (s *source) Advise(ctx context.Context, c driver.Change) (list []string, err error) {
	v, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return nil, err
	}
	if s.deliver && slices.ContainsFunc(c.Set, func(set patchbay.Setting) bool { return !set.File && set.Secret }) {
		list = append(list, fmt.Sprintf("%s is registered for files, and these settings are variables: every process of its login reads them in /proc; --naming servicebinding makes them files", s.id.Name()))
	}
	if len(c.Set) > 0 && !v.running() {
		list = append(list, fmt.Sprintf("%s is not running (%s), and is not started: it reads the settings when it is", s.unit, v.facts["ActiveState"]))
	}
	return list, nil
}

// after is what c makes of now; depth is that of the version that it was planned for.
func (s *source) after(now state, c driver.Change, depth int) state {
	next := now
	next.ours = maps.Clone(now.ours)
	next.depth = max(depth, now.depth) // who comes later, while they are there, takes care of them too
	made := now.place.above(next.depth)
	if m, ok := parseMark(now.ours[c.Mark.UID].Dropin); ok {
		made = m.made
	}
	if h := now.place.thingsOf(s.id.Name(), c, made); h.none() {
		delete(next.ours, c.Mark.UID)
	} else {
		next.ours[c.Mark.UID] = h
	}
	return next
}

// WriteSettings implements [driver.Source].
func (s *source) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	now, unlock, err := s.locked(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if now.unit.missing() {
		// Its drop-ins may have outlived it.
		if len(c.Set) == 0 {
			if _, err := s.make(ctx, c.Mark.UID, now, s.after(now, c, depthAt(ifVersion))); err != nil {
				return "", err
			}
		}
		return "", s.notFound()
	}
	next := s.after(now, c, depthAt(ifVersion))
	if !fits(now, next, ifVersion) {
		return "", changed("the settings of " + s.unit)
	}
	if err := s.checkAgainst(ctx, now, c); err != nil {
		return "", err
	}
	u, err := s.make(ctx, c.Mark.UID, now, next)
	if err != nil {
		return "", err
	}
	done, err := s.readWith(ctx, s.viewOf(u, now.own))
	if err != nil {
		return "", err
	}
	for _, set := range c.Set {
		if set.File {
			continue
		}
		if v, ok := done.all[set.Name]; !ok || v.value != set.Value.Reveal() {
			by := "something in its files takes it away"
			if ok {
				by = v.from + " comes later"
			}
			return "", patchbay.Errorf(patchbay.SettingsUnwritable, "%s is written and does not get to %s: %s", set.Name, s.unit, by).
				WithFix("systemctl %scat %s   (shows all that it is made of)", s.flag(), quoted(s.unit))
		}
	}
	return done.version(), nil
}

// locked reads, while nobody of Patchbay writes beside the same manager's units.
func (s *source) locked(ctx context.Context) (now state, unlock func(), err error) {
	unlock = func() {}
	var v view
	for units := s.units.Load(); ; units = &v.own.units {
		if units != nil {
			unlock, err = s.host.Lock(ctx, filepath.Join(*units, lockedName))
			if absent(err) {
				unlock, err = func() {}, nil // there is nothing yet that another could write to
			}
			if err != nil {
				return state{}, nil, fault(patchbay.SettingsUnwritable, *units, err)
			}
		}
		if v, err = s.look(ctx); err != nil || units != nil && v.own.units == *units {
			break
		}
		unlock() // it was not known where they are
	}
	if err == nil {
		now, err = s.readWith(ctx, v)
	}
	if err == nil && now.missing == 0 {
		if err = s.host.Sweep(ctx, now.place.env(""), "."+prefix+"*.tmp"); err != nil {
			err = fault(patchbay.SettingsUnwritable, now.place.dir, err)
		}
	}
	if err != nil {
		unlock()
		return state{}, nil, err
	}
	return now, unlock, nil
}

// make makes a connection's things what next has of them. What the manager is told
// of is there before it is told, and taken away after it was told otherwise: a unit
// that is started at any moment, by whomever, finds what it looks for.
func (s *source) make(ctx context.Context, uid string, now, next state) (unit, error) {
	had, want := now.ours[uid], next.ours[uid]
	p := now.place
	if !want.none() {
		if err := s.put(ctx, uid, now, want); err != nil {
			return unit{}, err
		}
	}
	if had.Dropin != want.Dropin {
		if err := s.replace(ctx, p.dropin(uid), had.Dropin, want.Dropin, 0o644); err != nil {
			return unit{}, err
		}
		if err := failpoint.Hit(ctx, "systemd/write/after-dropin"); err != nil {
			return unit{}, err
		}
	}
	u, err := s.load(ctx, now.unit, p.dropin(uid), had.Dropin, want.Dropin)
	if err != nil {
		return unit{}, err
	}
	return u, s.takeAway(ctx, uid, now, next)
}

// takeAway removes what no drop-in names any more.
func (s *source) takeAway(ctx context.Context, uid string, now, next state) error {
	had, want := now.ours[uid], next.ours[uid]
	if want.Env == "" {
		if err := s.replace(ctx, now.place.env(uid), had.Env, "", 0); err != nil {
			return err
		}
	}
	if want.Files == nil && had.Files != nil {
		if err := s.host.WithdrawDir(ctx, now.place.files(uid), tagPrefix+uid); err != nil {
			return fault(patchbay.SettingsUnwritable, now.place.files(uid), err)
		}
	}
	if err := s.unlink(ctx, now, next); err != nil {
		return err
	}
	return s.removeDirs(ctx, next)
}

// put writes what a drop-in will name.
func (s *source) put(ctx context.Context, uid string, now state, want things) error {
	p, had := now.place, now.ours[uid]
	if now.missing > 0 {
		if err := s.mkdir(ctx, p.dir); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "systemd/write/after-directory"); err != nil {
			return err
		}
	}
	if want.Files != nil {
		if had.filesSum() != want.filesSum() {
			err := s.host.PublishDir(ctx, p.files(uid), hosts.Published{Tag: tagPrefix + uid, Generation: want.Generation, Files: want.Files, Mode: 0o600})
			if err != nil {
				return fault(patchbay.SettingsUnwritable, p.files(uid), err)
			}
			if err := failpoint.Hit(ctx, "systemd/write/after-files"); err != nil {
				return err
			}
		}
		if err := s.link(ctx, now, want); err != nil {
			return err
		}
	}
	if want.Env != "" && want.Env != had.Env {
		if err := s.replace(ctx, p.env(uid), had.Env, want.Env, 0o600); err != nil {
			return err
		}
		return failpoint.Hit(ctx, "systemd/write/after-file")
	}
	return nil
}

// replace makes a file of ours have that text, "" for none.
func (s *source) replace(ctx context.Context, path, had, want string, mode fs.FileMode) error {
	if had == want {
		return nil
	}
	sum := ""
	if had != "" {
		sum = hosts.Sum([]byte(had))
	}
	var err error
	if want == "" {
		err = s.host.RemoveFile(ctx, path, sum)
	} else {
		err = s.host.ReplaceFile(ctx, hosts.Replacement{Path: path, Content: []byte(want), Temp: "." + filepath.Base(path) + ".tmp", Mode: mode, IfSum: sum})
	}
	if err != nil {
		return fault(patchbay.SettingsUnwritable, path, err)
	}
	return nil
}

// load tells the manager of what changed, when it does not know, and gives what it then
// says of the unit. u is what it said before.
func (s *source) load(ctx context.Context, u unit, dropin, had, want string) (unit, error) {
	// Of a unit that is not there, or masked, it loads nothing.
	none := func(u unit) bool { return u.missing() || u.is("LoadState", "masked") }
	knows := func(u unit) bool {
		return slices.Contains(u.list("DropInPaths"), dropin) == (want != "") && !u.is("NeedDaemonReload", "yes")
	}
	if none(u) || had == want && knows(u) {
		return u, nil
	}
	if _, err := s.systemctl(ctx, "daemon-reload"); err != nil {
		if f := (*failure)(nil); errors.As(err, &f) {
			return u, patchbay.Errorf(patchbay.SettingsUnwritable, "systemd does not read its units anew: %s", driver.LastWords([]byte(f.output), nil)).
				WithFix("systemctl %sdaemon-reload   (on the host, and see what it says)", s.flag())
		}
		return u, fault(patchbay.SettingsUnwritable, "systemctl daemon-reload", err)
	}
	if err := failpoint.Hit(ctx, "systemd/write/after-reload"); err != nil {
		return u, err
	}
	u, err := s.show(ctx, s.unit)
	if err != nil || none(u) || knows(u) {
		return u, err
	}
	return u, patchbay.Errorf(patchbay.SettingsUnwritable, "systemd does not take %s into account", dropin).
		WithFix("systemctl %scat %s   (shows what it does)", s.flag(), quoted(s.unit))
}

func (s *source) mkdir(ctx context.Context, dir string) error {
	if _, err := s.run(ctx, "mkdir", "-p", "-m", "0755", "--", dir); err != nil {
		return fault(patchbay.SettingsUnwritable, dir, err)
	}
	return nil
}

// link makes the links of a connection's files.
func (s *source) link(ctx context.Context, now state, want things) error {
	p := now.place
	have := now.bindings[want.Connection]
	dir := p.binding(want.Connection)
	if have == nil {
		if err := s.mkdir(ctx, dir); err != nil {
			return err
		}
	}
	for _, entry := range slices.Sorted(maps.Keys(want.Files)) {
		if slices.Contains(have, entry) {
			continue
		}
		if _, err := s.run(ctx, "ln", "-sfn", "--", p.credential(want.Connection, entry), filepath.Join(dir, entry)); err != nil {
			return fault(patchbay.SettingsUnwritable, dir, err)
		}
		if err := failpoint.Hit(ctx, "systemd/write/after-link"); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes the links that no connection has files for, and their directories.
func (s *source) unlink(ctx context.Context, now, next state) error {
	wanted := map[string]map[string][]byte{}
	for _, h := range next.ours {
		if h.Files != nil {
			wanted[h.Connection] = h.Files
		}
	}
	if now.bindings == nil {
		return nil
	}
	for _, connection := range slices.Sorted(maps.Keys(now.bindings)) {
		dir := now.place.binding(connection)
		stale := slices.DeleteFunc(slices.Clone(now.bindings[connection]), func(entry string) bool {
			_, ok := wanted[connection][entry]
			return ok
		})
		if len(stale) > 0 {
			argv := []string{"rm", "-f", "--"}
			for _, entry := range stale {
				argv = append(argv, filepath.Join(dir, entry))
			}
			if _, err := s.run(ctx, argv...); err != nil {
				return fault(patchbay.SettingsUnwritable, dir, err)
			}
		}
		if wanted[connection] == nil {
			if err := s.rmdir(ctx, dir); err != nil {
				return err
			}
		}
	}
	if len(wanted) == 0 {
		if err := s.rmdir(ctx, now.place.bindings()); err != nil {
			return err
		}
	}
	return failpoint.Hit(ctx, "systemd/write/after-links")
}

// rmdir removes a directory if it is empty; whoever has put something into it keeps it.
func (s *source) rmdir(ctx context.Context, dir string) error {
	if _, err := s.run(ctx, "rmdir", "--ignore-fail-on-non-empty", "--", dir); err != nil {
		return fault(patchbay.SettingsUnwritable, dir, err)
	}
	return nil
}

// removeDirs removes the directories that were made for the first connection, when
// the last one has gone.
func (s *source) removeDirs(ctx context.Context, next state) error {
	if len(next.ours) > 0 {
		return nil
	}
	made := next.place.above(next.depth)
	if made == "" {
		return nil
	}
	for dir := next.place.dir; len(dir) >= len(made) && dir != "/"; dir = filepath.Dir(dir) {
		names, err := s.host.ListDir(ctx, dir)
		switch {
		case absent(err):
			continue
		case err != nil:
			return fault(patchbay.SettingsUnwritable, dir, err)
		case len(names) > 0:
			return nil
		}
		if err := s.rmdir(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// RestoreSettings implements [driver.Source].
func (s *source) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var old kept
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &old); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the settings as they were before are none of this driver's")
	}
	now, unlock, err := s.locked(ctx)
	if patchbay.CodeOf(err) == patchbay.SourceNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	uid := c.Mark.UID
	next := now
	next.ours, next.depth = maps.Clone(now.ours), max(old.Depth, now.depth)
	h, had := old.Ours[uid]
	if had && (now.unit.missing() || now.ours[uid].none()) {
		had = false // the unit is gone, or somebody took ours away (systemctl revert)
	}
	if had {
		next.ours[uid] = h
	} else {
		delete(next.ours, uid)
	}
	if _, err := s.make(ctx, uid, now, next); err != nil {
		if e := (*patchbay.Error)(nil); errors.As(err, &e) && e.Code == patchbay.SettingsChanged {
			return e.AsTransient()
		}
		return err
	}
	if old.Running && !now.unit.missing() {
		return s.startAgain(ctx)
	}
	return nil
}

// namesIn are the names in an environment file of ours.
func namesIn(env string) []string {
	var names []string
	statements, _ := environmentfile.Parse(env) // what somebody made unreadable has none
	for _, st := range statements {
		if st.Kind == environmentfile.Assignment {
			names = append(names, st.Name)
		}
	}
	return names
}

// Owned implements [driver.Source]: one for each setting and each file.
func (s *source) Owned(ctx context.Context) ([]driver.Owned, error) {
	now, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if now.unit.missing() && len(now.ours) == 0 {
		return nil, s.notFound()
	}
	var list []driver.Owned
	for _, uid := range slices.Sorted(maps.Keys(now.ours)) {
		h := now.ours[uid]
		owner := driver.Mark{UID: uid, Generation: h.Generation}
		for _, text := range []string{h.Dropin, h.Env} {
			if m, ok := parseMark(text); ok {
				owner.Connection = s.id.Linker(m.connection)
				owner.Generation = max(owner.Generation, m.generation)
			}
		}
		names := namesIn(h.Env)
		for _, entry := range slices.Sorted(maps.Keys(h.Files)) {
			names = append(names, driver.FileSetting(h.Connection, entry))
		}
		for _, name := range names {
			list = append(list, driver.Owned{Mark: owner, Name: name})
		}
		if len(names) == 0 {
			list = append(list, driver.Owned{Mark: owner})
		}
	}
	return list, nil
}
