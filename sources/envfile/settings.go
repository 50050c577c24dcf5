package envfile

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
)

// state is everything that a source holds, at one moment. It is what
// [driver.Snapshot].Content keeps, as JSON.
type state struct {
	exists   bool
	text     string
	bindings map[string]binding
}

type stateJSON struct {
	Exists   bool               `json:"exists"`
	Text     []byte             `json:"text"` // base64: JSON would mend what is no UTF-8
	Bindings map[string]binding `json:"bindings,omitempty"`
}

func (st state) MarshalJSON() ([]byte, error) {
	return json.Marshal(stateJSON{st.exists, []byte(st.text), st.bindings})
}

func (st *state) UnmarshalJSON(b []byte) error {
	var j stateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*st = state{j.Exists, string(j.Text), j.Bindings}
	return nil
}

// sum is the file's part of a version.
func (st state) sum() string {
	if !st.exists {
		return ""
	}
	return hosts.Sum([]byte(st.text))
}

// version is the file's sum and the bindings', apart: a crash between the two
// writes leaves one of each, and a repeated write must know them.
func (st state) version() string { return st.sum() + "." + bindingsSum(st.bindings) }

// read reads the file and the bindings.
func (s *source) read(ctx context.Context) (state, error) {
	var st state
	file, err := s.host.ReadFile(ctx, s.path, maxFile)
	switch {
	case err == nil:
		st.exists, st.text = true, string(file.Content)
		if err := checkText(file.Content); err != nil {
			return st, s.unreadable(err)
		}
	case isMissing(err):
		return st, s.unreadable(err)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := s.host.ListDir(ctx, filepath.Dir(s.path)); err != nil {
			return st, s.unreadable(err)
		}
	default:
		return st, s.unreadable(err)
	}
	st.bindings, err = s.readBindings(ctx)
	return st, err
}

// ReadSettings implements [driver.Source].
func (s *source) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	st, err := s.read(ctx)
	if err != nil {
		return driver.Snapshot{}, err
	}
	doc, err := parse(s.dialect, st.text)
	if err != nil {
		return driver.Snapshot{}, s.unreadable(err)
	}
	content, err := json.Marshal(st)
	if err != nil {
		return driver.Snapshot{}, err
	}
	snapshot := driver.Snapshot{Version: st.version(), Settings: map[string]patchbay.Secret{}, Content: patchbay.NewSecret(string(content))}
	for name, value := range doc.values() {
		snapshot.Settings[name] = patchbay.NewSecret(value)
	}
	for name, b := range st.bindings {
		for entry, value := range b.Files {
			snapshot.Settings[driver.FileSetting(name, entry)] = patchbay.NewSecret(string(value))
		}
	}
	return snapshot, nil
}

// CheckChange implements [driver.Source]. It makes the new text, without
// writing it, so that what can be known to fail fails before anything is done.
func (s *source) CheckChange(ctx context.Context, c driver.Change) error {
	if err := s.checkChange(c); err != nil {
		return err
	}
	now, err := s.read(ctx)
	if err != nil {
		return err
	}
	next, err := s.after(now, c)
	if err != nil {
		return err
	}
	if bindingOf(c) != nil {
		if err := s.checkBinding(ctx, c.Name, now.bindings, c); err != nil {
			return err
		}
	}
	if next.text == now.text {
		return nil
	}
	if err := s.host.CheckReplace(ctx, s.path); err != nil {
		return s.unwritable(err)
	}
	return nil
}

// Advise implements [driver.Adviser].
func (s *source) Advise(_ context.Context, c driver.Change) (list []string, err error) {
	for _, set := range c.Set {
		if set.File {
			continue
		}
		if w := advice(s.dialect, set, c.Client); w != "" {
			list = append(list, w)
		}
	}
	return list, nil
}

// checkChange looks at the change alone.
func (s *source) checkChange(c driver.Change) error {
	if !uidForm.MatchString(c.Mark.UID) || c.Mark.Generation < 0 {
		return invalid(c.Mark.UID, "the connection's uid %q is none that a mark can hold", clip(c.Mark.UID))
	}
	seen := map[string]bool{}
	size := 0
	for _, set := range c.Set {
		name := set.Name
		if set.File {
			if s.bindings == "" {
				return patchbay.Errorf(patchbay.NotSupported, "the source %s has no directory for binding files", s.id.Name()).
					WithFix("register it with a bindingRoot, or choose --naming native")
			}
			if !bindingName.MatchString(c.Name) {
				return invalid(c.Name, "the connection name %q is none that a binding's directory can have: letters, digits, dots, dashes and underscores, not beginning with a dot", clip(c.Name))
			}
			if !entryName.MatchString(set.Name) {
				return invalid(set.Name, "the binding entry %q is none that a file can have: letters, digits, dots, dashes and underscores, not beginning with a dot", clip(set.Name))
			}
			if strings.Contains(set.Value.Reveal(), "\x00") {
				return invalid(set.Name, "the value of %s holds a NUL byte", set.Name)
			}
			name = driver.FileSetting(c.Name, set.Name)
		} else if err := checkSetting(s.dialect, set, c.Client); err != nil {
			return err
		}
		if seen[name] {
			return invalid(set.Name, "the setting %s is there twice", set.Name)
		}
		seen[name] = true
		if size += len(set.Value.Reveal()); size > maxFile/2 {
			return invalid(set.Name, "the settings are larger than a settings file may be")
		}
	}
	return nil
}

// after is what c makes of now.
func (s *source) after(now state, c driver.Change) (state, error) {
	exists, text, err := applyChange(s.dialect, s.id.Name(), now.exists, now.text, c)
	if err != nil {
		return state{}, s.unreadable(err)
	}
	if len(text) > maxFile {
		return state{}, invalid(s.path, "with these settings %s would be larger than a settings file may be, %d bytes", s.path, maxFile)
	}
	next := state{exists: exists, text: text, bindings: map[string]binding{}}
	for name, b := range now.bindings {
		if b.UID != c.Mark.UID {
			next.bindings[name] = b
		}
	}
	if b := bindingOf(c); b != nil {
		next.bindings[c.Name] = *b
	}
	return next, nil
}

// temp is the temporary file of a writer, and what finds those of all.
func (s *source) temp(uid string) string {
	return "." + filepath.Base(s.path) + ".patchbay-" + uid + ".tmp"
}

// sweep removes what a crashed writer left beside the file. The lock is held,
// so none is at work.
func (s *source) sweep(ctx context.Context) error {
	var pattern strings.Builder
	for _, c := range []byte(s.temp("\x00")) {
		switch {
		case c == 0:
			pattern.WriteByte('*')
		case strings.IndexByte(`*?[]\`, c) >= 0:
			pattern.WriteString(`\` + string(c))
		default:
			pattern.WriteByte(c)
		}
	}
	return s.host.Sweep(ctx, s.path, pattern.String())
}

// sweepNow sweeps when something is there to sweep and nobody writes. A temp
// file holds secrets: it should not wait for the next write.
func (s *source) sweepNow(ctx context.Context) {
	names, err := s.host.ListDir(ctx, filepath.Dir(s.path))
	if err != nil {
		return
	}
	for _, name := range names {
		if ok, _ := path.Match(".*.patchbay-*.tmp", name); ok {
			if unlock, err := s.host.Lock(ctx, s.path); err == nil {
				// Best effort: whoever may only read can't sweep, and needn't.
				_ = s.sweep(ctx)
				unlock()
			}
			return
		}
	}
}

// WriteSettings implements [driver.Source]. Where a change has both, binding
// files come before the settings that name them.
func (s *source) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	now, err := s.read(ctx)
	if err != nil {
		return "", err
	}
	next, err := s.after(now, c)
	if err != nil {
		return "", err
	}
	file, bindings, _ := strings.Cut(ifVersion, ".")
	if now.sum() != file && next.sum() != now.sum() {
		return "", changed(s.path)
	}
	if have := bindingsSum(now.bindings); have != bindings && bindingsSum(next.bindings) != have {
		return "", changed(s.bindings)
	}
	return next.version(), s.write(ctx, c, now, next)
}

func (s *source) lock(ctx context.Context) (func(), error) {
	unlock, err := s.host.Lock(ctx, s.path)
	switch {
	case err == nil:
	case hostError(err) != nil, interrupted(err) != nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		return nil, s.unreadable(err)
	case errors.Is(err, fs.ErrPermission):
		return nil, s.unwritable(err)
	default:
		return nil, patchbay.Errorf(patchbay.SettingsUnwritable, "the directory of %s can't be locked: %w", s.path, err)
	}
	if err := s.sweep(ctx); err != nil {
		unlock()
		return nil, s.unwritable(err)
	}
	return unlock, nil
}

// write makes next of now. The lock is held.
func (s *source) write(ctx context.Context, c driver.Change, now, next state) error {
	// A copy of the directory, or one that was renamed, has the connection's tag.
	var mine []string
	for _, all := range []map[string]binding{now.bindings, next.bindings} {
		for name, b := range all {
			if b.UID == c.Mark.UID && !slices.Contains(mine, name) {
				mine = append(mine, name)
			}
		}
	}
	slices.Sort(mine)
	of := func(all map[string]binding, name string) *binding {
		if b, ok := all[name]; ok && b.UID == c.Mark.UID {
			return &b
		}
		return nil
	}
	for _, name := range mine {
		had, want := of(now.bindings, name), of(next.bindings, name)
		if want == nil || had.equal(want) {
			continue
		}
		if err := s.checkBinding(ctx, name, now.bindings, c); err != nil {
			return err
		}
		if err := s.publish(ctx, name, had, want); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "envfile/write/after-binding"); err != nil {
			return err
		}
	}
	if err := s.writeFile(ctx, c.Mark.UID, now, next); err != nil {
		return err
	}
	for _, name := range mine {
		if of(next.bindings, name) != nil {
			continue
		}
		if err := s.publish(ctx, name, of(now.bindings, name), nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) writeFile(ctx context.Context, uid string, now, next state) error {
	var err error
	switch {
	case now.exists == next.exists && now.text == next.text:
		return nil
	case !next.exists:
		err = s.host.RemoveFile(ctx, s.path, now.sum())
	default:
		err = s.host.ReplaceFile(ctx, hosts.Replacement{
			Path: s.path, Content: []byte(next.text), Temp: s.temp(uid), Mode: s.mode, IfSum: now.sum(),
			Ready: func(ctx context.Context) error { return failpoint.Hit(ctx, "envfile/write/before-rename") },
		})
	}
	if err != nil {
		return s.unwritable(err)
	}
	return failpoint.Hit(ctx, "envfile/write/after-rename")
}

// RestoreSettings implements [driver.Source].
func (s *source) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var old state
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &old); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the settings as they were before are none of this driver's")
	}
	unlock, err := s.lock(ctx)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	now, err := s.read(ctx)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	next := state{bindings: s.bindingsBefore(now, old, c)}
	if next.exists, next.text, err = s.textBefore(now, old, c); err != nil {
		return err
	}
	err = s.write(ctx, c, now, next)
	if e := (*patchbay.Error)(nil); errors.As(err, &e) && e.Code == patchbay.SettingsChanged {
		return e.AsTransient() // an editor was faster; the next try takes its edit into account
	}
	return err
}

// gone: what is not there any more holds nothing of ours.
func gone(err error) bool { return patchbay.CodeOf(err) == patchbay.SourceNotFound }

// textBefore is the file when the change is taken back: byte for byte what it
// was when nothing but the change has happened to it, otherwise name by name.
func (s *source) textBefore(now, old state, c driver.Change) (exists bool, text string, err error) {
	if now.sum() == old.sum() {
		return old.exists, old.text, nil
	}
	if done, err := s.after(old, c); err == nil && done.sum() == now.sum() {
		return old.exists, old.text, nil
	}
	if !now.exists {
		return false, "", nil // somebody removed it
	}
	exists, text, err = takeBack(s.dialect, now, old, c)
	if err != nil {
		return false, "", s.unreadable(err)
	}
	return exists, text, nil
}

// bindingsBefore are the bindings with the connection's as it was, unless
// somebody else has that directory now. Nobody edits a published one by hand
// and expects it to stay, so what is there of ours goes as a whole.
func (s *source) bindingsBefore(now, old state, c driver.Change) map[string]binding {
	next := map[string]binding{}
	for name, b := range now.bindings {
		if b.UID != c.Mark.UID {
			next[name] = b
		}
	}
	for name, b := range old.bindings {
		_, taken := next[name]
		if b.UID == c.Mark.UID && !taken {
			next[name] = b
		}
	}
	return next
}
