package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/sources/internal/variable"
)

// settings are what of a container a change is about.
type settings struct {
	Env    []string          `json:"env"`
	Labels map[string]string `json:"labels"`
}

// snapshot is [driver.Snapshot].Content.
type snapshot struct {
	ID       string   `json:"id"` // of the container that had the application's name
	Settings settings `json:"settings"`
	Policy   policy   `json:"policy"`
}

// markPrefix and a connection's uid are the name of the label that says which of
// the environment is the connection's.
const markPrefix = "patchbay.dev/"

type mark struct {
	uid        string
	Connection string   `json:"connection"` // its name
	Generation int64    `json:"generation"`
	Names      []string `json:"names"`
}

var uidForm = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,63}$`)

// marks are all connections' marks, by uid.
func (st settings) marks() []mark {
	var list []mark
	for _, name := range slices.Sorted(maps.Keys(st.Labels)) {
		uid, ok := strings.CutPrefix(name, markPrefix)
		m := mark{uid: uid}
		if ok && uidForm.MatchString(uid) && json.Unmarshal([]byte(st.Labels[name]), &m) == nil && m.Connection != "" {
			list = append(list, m)
		}
	}
	return list
}

// find is where a name's value is: the last entry is the one that counts. An entry
// without a value takes a name away that the image has.
func (st settings) find(name string) (at int, value string, ok bool) {
	for i, entry := range slices.Backward(st.Env) {
		if key, value, has := strings.Cut(entry, "="); key == name {
			return i, value, has
		}
	}
	return -1, "", false
}

func (st settings) clone() settings {
	labels := maps.Clone(st.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	return settings{slices.Clone(st.Env), labels}
}

func (st *settings) put(name, value string) {
	if at, _, _ := st.find(name); at >= 0 {
		st.Env[at] = name + "=" + value
		return
	}
	st.Env = append(st.Env, name+"="+value)
}

// drop takes out the entries of that name and value, however often they are there.
func (st *settings) drop(name, value string) {
	st.Env = slices.DeleteFunc(st.Env, func(entry string) bool { return entry == name+"="+value })
}

// equal compares what an application sees, and the marks. The order of names means
// nothing to it, and engines don't keep it.
func (st settings) equal(other settings) bool { return st.sum() == other.sum() }

func (st settings) sum() string {
	h := sha256.New()
	named := slices.ContainsFunc(st.marks(), func(m mark) bool { return slices.Contains(m.Names, "HOME") })
	for _, entry := range st.canonical() {
		if strings.HasPrefix(entry, "HOME=") && !named {
			continue // Podman adds it to what a container has when that is started
		}
		_, _ = fmt.Fprintf(h, "%d:%s", len(entry), entry)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Labels)) {
		if strings.HasPrefix(name, markPrefix) {
			_, _ = fmt.Fprintf(h, "%q=%q", name, st.Labels[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// canonical are the entries in an order of their own; what comes later counts.
func (st settings) canonical() []string {
	list := slices.Clone(st.Env)
	slices.SortStableFunc(list, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	return list
}

// values are what the application reads.
func (st settings) values() map[string]patchbay.Secret {
	all := map[string]patchbay.Secret{}
	for _, entry := range st.Env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			all[name] = patchbay.NewSecret(value)
		} else {
			delete(all, name)
		}
	}
	return all
}

// apply is st with the change made.
func (st settings) apply(c driver.Change) settings {
	after := st.clone()
	others := map[string]bool{}
	for _, m := range st.marks() {
		if m.uid == c.Mark.UID {
			continue
		}
		for _, name := range m.Names {
			others[name] = true
		}
	}
	for _, had := range c.Dropped() {
		at, value, ok := after.find(had.Name)
		if !ok || had.File || others[had.Name] || value != had.Value.Reveal() {
			continue
		}
		if theirs, ok := backOf(c, had.Name); ok {
			after.Env[at] = had.Name + "=" + theirs
		} else {
			after.drop(had.Name, value)
		}
	}
	delete(after.Labels, markPrefix+c.Mark.UID)
	if len(c.Set) == 0 {
		return after
	}
	m := mark{Connection: c.Name, Generation: c.Mark.Generation, Names: []string{}}
	for _, set := range c.Set {
		after.put(set.Name, set.Value.Reveal())
		m.Names = append(m.Names, set.Name)
	}
	text, _ := json.Marshal(m) // strings and a number
	after.Labels[markPrefix+c.Mark.UID] = string(text)
	return after
}

// backOf is what somebody else had under a name that the connection has taken over.
func backOf(c driver.Change, name string) (value string, ok bool) {
	for _, s := range c.Back {
		if s.Name == name && !s.File {
			return s.Value.Reveal(), true
		}
	}
	return "", false
}

// takeBack is st with what still is the change's as it was in old; others' edits
// stay.
func (st settings) takeBack(old settings, c driver.Change) settings {
	after := st.clone()
	for _, set := range c.Set {
		if _, value, ok := after.find(set.Name); !ok || value != set.Value.Reveal() {
			continue
		}
		if _, was, ok := old.find(set.Name); ok {
			after.put(set.Name, was)
		} else {
			after.drop(set.Name, set.Value.Reveal())
		}
	}
	for _, had := range c.Dropped() {
		_, was, ok := old.find(had.Name)
		_, now, there := after.find(had.Name)
		if theirs, given := backOf(c, had.Name); ok && (!there || given && now == theirs) {
			after.put(had.Name, was)
		}
	}
	key := markPrefix + c.Mark.UID
	delete(after.Labels, key)
	if was, ok := old.Labels[key]; ok {
		after.Labels[key] = was
	}
	return after
}

// ReadSettings implements [driver.Source].
func (s *source) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return driver.Snapshot{}, err
	}
	now := p.effective().settings
	content, err := json.Marshal(snapshot{p.current.ID, now, p.current.restartPolicy()})
	if err != nil {
		return driver.Snapshot{}, err
	}
	return driver.Snapshot{Version: now.sum(), Settings: now.values(), Content: patchbay.NewSecret(string(content))}, nil
}

// CheckChange implements [driver.Source].
func (s *source) CheckChange(ctx context.Context, c driver.Change) error {
	if err := s.checkChange(c); err != nil {
		return err
	}
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return err
	}
	if _, err := s.check(ctx, p.current); err != nil {
		return err
	}
	if err := s.checkLinks(p); err != nil {
		return err
	}
	return s.checkSize(p.current, p.effective().settings.apply(c))
}

// maxArguments is what Linux gives arguments and environment together: a quarter
// of the stack's limit, here of its default.
const maxArguments = 2 << 20

// checkChange looks at the change alone.
func (s *source) checkChange(c driver.Change) error {
	if !uidForm.MatchString(c.Mark.UID) || c.Mark.Generation < 0 {
		return invalid(c.Mark.UID, "the connection's uid %.80q is none that a container's name can have", c.Mark.UID)
	}
	seen := map[string]bool{}
	for _, set := range c.Set {
		switch {
		case set.File:
			return patchbay.Errorf(patchbay.NotSupported, "a container holds no files for %s: what is put into it is lost with it", s.id.Name()).
				WithFix("choose --naming native, or mount a directory and register it with the driver envfile")
		case seen[set.Name]:
			return invalid(set.Name, "the setting %s is there twice", set.Name)
		}
		if why := variable.Refused(set.Name, set.Value.Reveal(), "the engine's API"); why != "" {
			return invalid(set.Name, "%s", why)
		}
		seen[set.Name] = true
	}
	return nil
}

// checkSize refuses an environment with which Linux starts no program.
func (s *source) checkSize(c *container, st settings) error {
	size := 0
	var words []string
	for _, name := range []string{"Entrypoint", "Cmd"} {
		var list []string
		_ = json.Unmarshal(c.Config[name], &list)
		words = append(words, list...)
	}
	for _, text := range slices.Concat(st.Env, words) {
		size += len(text) + 1 + 8 // and a pointer
	}
	limit := maxArguments
	var ulimits []struct {
		Name string
		Soft int64
	}
	_ = json.Unmarshal(c.HostConfig["Ulimits"], &ulimits)
	for _, u := range ulimits {
		if strings.EqualFold(strings.TrimPrefix(u.Name, "RLIMIT_"), "stack") && u.Soft > 0 {
			limit = int(max(128<<10, min(u.Soft/4, 6<<20)))
		}
	}
	limit -= 16 << 10 // what the kernel and the engine add
	if size > limit {
		return invalid(s.name, "with these settings the environment of %s would be %d bytes, and Linux starts no program with more than %d", s.name, size, limit)
	}
	return nil
}

func invalid(subject, format string, args ...any) *patchbay.Error {
	e := patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	e.Subject = fmt.Sprintf("%.80s", subject)
	return e
}

func (s *source) changed() error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed the container %s meanwhile", s.name)
}

// WriteSettings implements [driver.Source]. It makes the container that will take
// the application's place; nothing is stopped or started.
func (s *source) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	p, err := s.look(ctx)
	if err != nil {
		return "", err
	}
	now := p.effective().settings
	after := now.apply(c)
	if after.equal(now) {
		return now.sum(), s.clear(ctx, p, false)
	}
	if now.sum() != ifVersion {
		return "", s.changed()
	}
	return s.stage(ctx, p, c, next, after)
}

// stage makes a container with these settings that will take the application's
// place, and gives the version of what it then has.
func (s *source) stage(ctx context.Context, p *place, c driver.Change, as role, after settings) (string, error) {
	if err := s.settle(ctx, p); err != nil {
		return "", err
	}
	if after.equal(p.current.settings) {
		// The application has just that.
		return after.sum(), s.clear(ctx, p, true)
	}
	i, err := s.check(ctx, p.current)
	if err != nil {
		return "", err
	}
	if err := s.checkLinks(p); err != nil {
		return "", err
	}
	if err := s.checkSize(p.current, after); err != nil {
		return "", err
	}
	if err := s.clear(ctx, p, false); err != nil {
		return "", err
	}
	l := label{uid: c.Mark.UID, generation: c.Mark.Generation, role: as, n: 1, other: short(p.current.ID)}
	if len(p.staged) > 0 {
		l.n = p.staged[len(p.staged)-1].n + 1
	}
	if err := failpoint.Hit(ctx, "docker/write/before-create"); err != nil {
		return "", err
	}
	made, err := s.recreate(ctx, p.current, i, l.of(s.name), after)
	if err == nil {
		var again *container
		if again, err = s.engine.inspect(ctx, s.name); err == nil && (again == nil || again.ID != p.current.ID) {
			err = s.changed()
		}
	}
	if err != nil {
		if made != nil {
			// With the time that is left: what stays is found by its name.
			_ = s.engine.remove(context.WithoutCancel(ctx), made.ID)
		}
		return "", err
	}
	if err := failpoint.Hit(ctx, "docker/write/after-create"); err != nil {
		return "", err
	}
	for _, older := range p.staged {
		if err := s.engine.remove(ctx, older.ID); err != nil {
			return "", err
		}
	}
	p.staged = []*sibling{{l, made}}
	return made.settings.sum(), nil
}

// RestoreSettings implements [driver.Source].
func (s *source) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var old snapshot
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &old); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the settings as they were before are none of this driver's")
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.look(ctx)
	if patchbay.CodeOf(err) == patchbay.SourceNotFound && p != nil {
		return s.bringBack(ctx, p, c, old)
	}
	if err != nil {
		return err
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	now := p.effective().settings
	untouched := now.equal(old.Settings) || now.equal(old.Settings.apply(c))
	switch was := p.with(kept, idle); {
	case untouched && p.current.settings.equal(old.Settings):
		// What the application has was never replaced, or is back.
		return s.clear(ctx, p, true)
	case untouched && was != nil && was.ID == old.ID:
		if err := s.clear(ctx, p, true); err != nil {
			return err
		}
		return s.giveBack(ctx, p, was)
	}
	target := now.takeBack(old.Settings, c)
	if untouched {
		target = old.Settings
	}
	if !target.equal(now) {
		if _, err := s.stage(ctx, p, c, back, target); err != nil {
			return err
		}
	}
	// Somebody made the application's container anew: nothing goes back to the one
	// that was kept from before.
	return s.forget(ctx, p, c)
}

// giveBack lets the container that was kept have its name again. Restart does the rest.
func (s *source) giveBack(ctx context.Context, p *place, was *sibling) error {
	l := label{uid: was.uid, generation: was.generation, role: undone, other: short(was.ID)}
	if was.role == idle {
		l.role = undoneIdle
	}
	if p.current.State.Restarting {
		// Between two starts, Docker renames none.
		if err := s.engine.stop(ctx, p.current.ID); err != nil {
			return err
		}
	}
	if err := s.engine.rename(ctx, p.current.ID, l.of(s.name)); err != nil {
		return err
	}
	if err := failpoint.Hit(ctx, "docker/restore/between-names"); err != nil {
		return err
	}
	return s.engine.rename(ctx, was.ID, s.name)
}

// bringBack is an undo when nobody has the application's name: what was kept is all
// that there is of it. Without it the source is gone, and what was staged is too.
func (s *source) bringBack(ctx context.Context, p *place, c driver.Change, old snapshot) error {
	for _, o := range p.others {
		if o.madeFor(c) && o.ID == old.ID && (o.role == kept || o.role == idle) {
			if err := s.engine.rename(ctx, o.ID, s.name); err != nil {
				return err
			}
			if err := s.engine.setPolicy(ctx, o.ID, old.Policy); err != nil {
				return err
			}
			if o.role == kept {
				return s.engine.start(ctx, o.ID)
			}
			return nil
		}
	}
	return s.clear(ctx, p, true)
}

// Release implements [driver.Keeper].
func (s *source) Release(ctx context.Context, c driver.Change) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.look(ctx)
	if err != nil && (p == nil || patchbay.CodeOf(err) != patchbay.SourceNotFound) {
		return err
	}
	if p.current != nil {
		if err := s.settle(ctx, p); err != nil {
			return err
		}
	}
	return s.forget(ctx, p, c)
}

// forget removes what is kept for a change's sake.
func (s *source) forget(ctx context.Context, p *place, c driver.Change) error {
	for _, o := range p.others {
		if o.madeFor(c) && (o.role == kept || o.role == idle) {
			if err := s.engine.remove(ctx, o.ID); err != nil {
				return err
			}
		}
	}
	return s.clear(ctx, p, false)
}
