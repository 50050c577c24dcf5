package envfile

import (
	"context"
	"errors"
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
)

// binding is one connection's directory below the binding root.
type binding struct {
	UID        string            `json:"uid"`
	Generation int64             `json:"generation"`
	Files      map[string][]byte `json:"files"`
}

// bindingName is what a connection must be called to have a directory, and
// entryName what is in it (servicebinding.io: a well-known name, letters,
// digits, dots, dashes, underscores). Neither can leave the directory, nor
// begin with the dot that hides a file from readers.
var (
	bindingName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`)
	entryName   = bindingName
)

// bindingOf is the directory that a change leaves, nil for none.
func bindingOf(c driver.Change) *binding {
	b := &binding{UID: c.Mark.UID, Generation: c.Mark.Generation, Files: map[string][]byte{}}
	for _, s := range c.Set {
		if s.File {
			b.Files[s.Name] = []byte(s.Value.Reveal())
		}
	}
	if len(b.Files) == 0 {
		return nil
	}
	return b
}

func (b *binding) equal(o *binding) bool {
	if b == nil || o == nil {
		return b == o
	}
	return b.UID == o.UID && b.Generation == o.Generation &&
		maps.EqualFunc(b.Files, o.Files, func(x, y []byte) bool { return string(x) == string(y) })
}

// bindingsSum is what a version holds of all bindings.
func bindingsSum(all map[string]binding) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.WriteString(strconv.Quote(name) + all[name].UID + strconv.FormatInt(all[name].Generation, 10))
		for _, entry := range slices.Sorted(maps.Keys(all[name].Files)) {
			b.WriteString(strconv.Quote(entry) + strconv.Quote(string(all[name].Files[entry])))
		}
	}
	return hosts.Sum([]byte(b.String()))
}

// tagPrefix begins the tags of our directories; the uid follows.
const tagPrefix = "patchbay-"

// readBindings reads the directories that are ours. What others have below
// the root is not looked into.
func (s *source) readBindings(ctx context.Context) (map[string]binding, error) {
	all := map[string]binding{}
	if s.bindings == "" {
		return all, nil
	}
	names, err := s.host.ListDir(ctx, s.bindings)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, s.bindingError("", err)
	}
	for _, name := range names {
		if !bindingName.MatchString(name) {
			continue
		}
		p, err := s.host.ReadPublished(ctx, filepath.Join(s.bindings, name), maxFile)
		if errors.Is(err, hosts.ErrForeign) || errors.Is(err, hosts.ErrPrivate) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, s.bindingError(name, err)
		}
		if uid, ok := strings.CutPrefix(p.Tag, tagPrefix); ok && uidForm.MatchString(uid) {
			all[name] = binding{UID: uid, Generation: p.Generation, Files: p.Files}
		}
	}
	return all, nil
}

// checkBinding says whether the directory name may become what want says.
func (s *source) checkBinding(ctx context.Context, name string, have map[string]binding, c driver.Change) error {
	if b, ok := have[name]; ok {
		if b.UID != c.Mark.UID {
			return s.notOurs(name)
		}
		return nil
	}
	names, err := s.host.ListDir(ctx, s.bindings)
	if err != nil {
		return s.bindingError("", err)
	}
	if slices.Contains(names, name) {
		return s.notOurs(name)
	}
	return nil
}

func (s *source) notOurs(name string) error {
	return patchbay.Errorf(patchbay.NotOurs, "%s is there and not this connection's", filepath.Join(s.bindings, name)).
		WithFix("name the connection otherwise, or move that directory away")
}

// publish makes the directory of that name hold want instead of have; nil is
// none.
func (s *source) publish(ctx context.Context, name string, have, want *binding) error {
	dir := filepath.Join(s.bindings, name)
	switch {
	case want != nil:
		return s.bindingError(name, s.host.PublishDir(ctx, dir, hosts.Published{
			Tag: tagPrefix + want.UID, Generation: want.Generation, Files: want.Files, Mode: s.mode,
		}))
	case have != nil:
		return s.bindingError(name, s.host.WithdrawDir(ctx, dir, tagPrefix+have.UID))
	}
	return nil
}

// bindingError says what is wrong with a binding's directory, or with the
// root.
func (s *source) bindingError(name string, err error) error {
	if err == nil {
		return nil
	}
	if known := hostError(err); known != nil {
		return known
	}
	if ended := interrupted(err); ended != nil {
		return ended
	}
	dir := filepath.Join(s.bindings, name)
	switch {
	case errors.Is(err, hosts.ErrForeign):
		return s.notOurs(name)
	case errors.Is(err, hosts.ErrPrivate):
		return s.private(patchbay.SettingsUnwritable)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return patchbay.Errorf(patchbay.SettingsUnwritable, "there is no binding root %s: %w", s.bindings, err).
			WithFix("mkdir -p %s", quoted(s.bindings))
	case errors.Is(err, hosts.ErrTooLarge):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%s holds more than the %d bytes that a binding may", dir, maxFile).
			WithFix("wc -c %s/*   (and take out what is not the connection's)", quoted(dir))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return patchbay.Errorf(patchbay.SettingsUnwritable, "no space is left for %s: %w", dir, err).WithFix("df -h %s   (and free some)", quoted(s.bindings))
	case errors.Is(err, syscall.EROFS):
		return patchbay.Errorf(patchbay.SettingsUnwritable, "%s is on a file system that is mounted read-only: %w", dir, err).
			WithFix(`mount -o remount,rw "$(findmnt -nro TARGET -T %s)"`, quoted(s.bindings))
	case errors.Is(err, fs.ErrPermission):
		return patchbay.Errorf(patchbay.SettingsUnwritable, "Patchbay may not write %s: %w", dir, err).
			WithFix("let the user that Patchbay runs as write %s", s.bindings)
	}
	return patchbay.Errorf(patchbay.SettingsUnwritable, "%s can't be written: %w", dir, err)
}
