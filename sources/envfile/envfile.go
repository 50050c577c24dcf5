// Package envfile is the source driver for an application that reads its
// settings from a file: a .env, a docker env file, or a systemd
// EnvironmentFile. Registered as Microsoft.Web/sites with the file's path as
// endpoint, it may have a reload (a command, or a signal to a pid file) and a
// directory for service bindings.
//
// # The file
//
// Everything that is not a connection's own stays byte for byte. A connection's
// settings stand together at the end, behind one comment that says whose they
// are, and whether the file itself was made for them, or a line break that the
// last line had not: the connection that goes last takes that back, too. A name
// that the file has already is replaced where it is; when the file has it
// several times, the last one is, which is the one that all readers take. A file
// that readers would split differently from each other (a quote that is never
// closed, a lone carriage return) is refused rather than guessed at, and every
// change is read back before it is put in place.
//
// What a connection no longer has goes by its name and value, wherever merges
// and editors have put it, comments included, and with it all that stands behind
// its marks, were they doubled, torn or in a conflict. Another value is somebody's
// edit, unless it names a login of the connection.
//
// The file is replaced by a rename, so a reader has the old one or the new. Its
// mode, owner and extended attributes stay; a symbolic link stays one, and what
// it names is replaced. Writers take turns by a lock on the directory (flock),
// and right before the rename the file is compared once more with what the
// change was made of, for the sake of editors that know of no lock.
//
// # Dialects
//
// dotenv (the default) is what the libraries of that name read, each in its own
// way. A value is written in the first form that all readers of the connection's
// client type read as it is meant: 'value', "value" or value, just as it is, or
// "value" with \\, \", \$ and \r, or with \n too. Where there is none, the one that
// most read is taken and Advise says who does not; what no reader of the client
// type would read, or what would lose one of them other lines, is refused. Which
// reader reads what is in readers.go, docs/dialects.md shows it, and the tests ask
// the readers. Names may have dots and dashes, where the client type's readers
// take them.
//
// docker is what docker run --env-file and podman read (docker compose's
// env_file is dotenv): the rest of the line is the value, spaces included, and
// there is no way to write a line break.
//
// systemd is systemd.exec(5)'s EnvironmentFile=: values are written between
// double quotes with a backslash before ", \, ` and $; line breaks are written
// as they are. Names are letters, digits and underscores, others systemd
// leaves out silently.
//
// # Service bindings
//
// Settings that are files (naming servicebinding) go to
// {bindingRoot}/{connection}/{entry}. The entries are links into a directory
// that is replaced by one rename, the way Kubernetes does it with its projected
// volumes: the files of a binding change all at once, and a reader that opened
// one before keeps it. The first publication and the removal rename the
// binding's directory itself.
package envfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// maxFile bounds a settings file, and all files of one binding; in bytes.
const maxFile = 1 << 20

// properties are what a resource of this driver may say besides its endpoint.
type properties struct {
	// Dialect is dotenv (the default), docker or systemd.
	Dialect string `json:"dialect"`
	// Reload makes the application read its settings anew.
	Reload *reload `json:"reload"`
	// BindingRoot is the directory that $SERVICE_BINDING_ROOT names.
	BindingRoot string `json:"bindingRoot"`
	// BindingMount is where the application sees that directory, when its files are
	// not the machine's: in a container.
	BindingMount string      `json:"bindingMount"`
	Host         string      `json:"host"` // resolved by who opens the source
	Wait         driver.Wait `json:"wait"`
	Egress       []string    `json:"egress"`
	// Mode is that of a file that is not there yet, in octal; default 0600.
	Mode string `json:"mode"`
}

// reload is exactly one of a command and a pid file.
type reload struct {
	Command []string `json:"command"`
	PidFile string   `json:"pidFile"`
	Signal  string   `json:"signal"` // to the process of PidFile; default HUP
}

// Driver is the driver for files of a machine.
func Driver() driver.SourceDriver {
	return driver.SourceDriver{
		Driver: description,
		Open: func(ctx context.Context, c driver.Config) (driver.Source, error) {
			s, err := open(c)
			if err != nil {
				return nil, err
			}
			if err := s.checkPaths(ctx); err != nil {
				return nil, err
			}
			if s.reload != nil {
				return reloadable{s}, nil
			}
			return s, nil
		},
	}
}

type source struct {
	host     hosts.Host
	id       patchbay.ID
	path     string
	dialect  dialect
	reload   *reload
	bindings string // "" for none
	filesAt  string // where the application sees it; "" when that is not known
	egress   []netip.Prefix
	mode     fs.FileMode

	limit, steady time.Duration // of a reload
}

// reloadable is a source whose application can be told.
type reloadable struct{ *source }

var _ interface {
	driver.Source
	driver.Restarter
	driver.Vantage
} = reloadable{}

// open checks what the resource says, and looks at nothing.
func open(c driver.Config) (*source, error) {
	s := &source{host: c.Host, id: c.ID, path: c.Endpoint, mode: 0o600, dialect: dotenv{}}
	if err := checkPath("endpoint", c.Endpoint); err != nil {
		return nil, err
	}
	var p properties
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	if p.Dialect != "" {
		s.dialect = dialects[p.Dialect]
	}
	if p.BindingRoot != "" {
		if err := checkPath("bindingRoot", p.BindingRoot); err != nil {
			return nil, err
		}
		s.bindings = p.BindingRoot
		if s.dialect.name() != "docker" { // its file is for a container, which has files of its own
			s.filesAt = p.BindingRoot
		}
	}
	if p.BindingMount != "" {
		if err := checkPath("bindingMount", p.BindingMount); err != nil {
			return nil, err
		}
		if s.bindings == "" {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "bindingMount says where the application sees the bindingRoot, and there is none")
		}
		s.filesAt = p.BindingMount
	}
	var err error
	if s.egress, err = driver.ParseEgress(p.Egress); err != nil {
		return nil, err
	}
	if p.Mode != "" {
		mode, err := strconv.ParseUint(p.Mode, 8, 32)
		if err != nil || mode&^0o777 != 0 || mode&0o600 != 0o600 {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the mode %q is no octal file mode that lets its owner read and write, such as 0640", clip(p.Mode))
		}
		s.mode = fs.FileMode(mode)
	}
	if s.limit, s.steady, err = p.Wait.Durations(); err != nil {
		return nil, err
	}
	if p.Reload != nil {
		if err := p.Reload.check(); err != nil {
			return nil, err
		}
		s.reload = p.Reload
	}
	return s, nil
}

func checkPath(what, name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the %s %q is no absolute path without . and .. and control characters", what, clip(name))
	}
	return nil
}

// checkPaths refuses what is the server's own.
func (s *source) checkPaths(ctx context.Context) error {
	paths := map[string]string{"endpoint": s.path, "bindingRoot": s.bindings}
	if s.reload != nil {
		paths["pidFile"] = s.reload.PidFile
	}
	for what, name := range paths {
		if name == "" {
			continue
		}
		if err := s.host.CheckPath(ctx, name); errors.Is(err, hosts.ErrPrivate) {
			return patchbay.Errorf(patchbay.InvalidArgument, "the %s %s leads to what is Patchbay's own", what, clip(name)).
				WithFix("keep the application's files outside of the server's data directory")
		}
	}
	return nil
}

// private is the answer to a path that has come to lead to what is Patchbay's own.
func (s *source) private(code patchbay.Code) error {
	return patchbay.Errorf(code, "a path of %s leads to what is Patchbay's own: it is neither read nor written", s.id.Name()).
		WithFix("ls -l %s   (and look where its links lead)", s.path)
}

// Inspect implements [driver.Source].
func (s *source) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	s.sweepNow(ctx)
	info := driver.SourceInfo{Files: s.bindings != "", FilesAt: s.filesAt}
	switch {
	case s.bindings == "":
		info.NoFiles = "register it with a directory for them: --binding-root DIR"
	case s.filesAt == "":
		info.NoFiles = fmt.Sprintf("mount %s into its container, and register it with where it is there: --binding-mount DIR", s.bindings)
	}
	file, err := s.host.ReadFile(ctx, s.path, maxFile)
	switch {
	case isMissing(err):
		return driver.SourceInfo{}, s.unreadable(err)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := s.host.ListDir(ctx, filepath.Dir(s.path)); err != nil {
			return driver.SourceInfo{}, s.unreadable(err)
		}
		info.Warnings = append(info.Warnings, fmt.Sprintf("%s is not there yet: the first connection makes it, with mode %04o", s.path, s.mode))
	case err != nil:
		return driver.SourceInfo{}, s.unreadable(err)
	default:
		if _, err := parse(s.dialect, string(file.Content)); err != nil {
			return driver.SourceInfo{}, s.unreadable(err)
		}
		if file.Mode&0o004 != 0 {
			info.Warnings = append(info.Warnings, fmt.Sprintf("every user of the machine can read %s (mode %04o): chmod o-r %s", s.path, file.Mode, quoted(s.path)))
		}
	}
	if err := s.host.CheckReplace(ctx, s.path); err != nil {
		return driver.SourceInfo{}, s.unwritable(err)
	}
	if s.bindings != "" {
		if _, err := s.host.ListDir(ctx, s.bindings); err != nil {
			return driver.SourceInfo{}, s.bindingError("", err)
		}
	}
	return info, nil
}

// Egress implements [driver.Vantage]: what the registration says, or the address that
// the host speaks from to that one.
func (s *source) Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error) {
	if len(s.egress) == 0 && to.IsValid() {
		if from, ok := hosts.SpeaksFrom(ctx, s.host, to); ok {
			return []netip.Prefix{netip.PrefixFrom(from, from.BitLen())}, nil
		}
	}
	return slices.Clone(s.egress), nil
}

// Dialer implements [driver.Vantage].
func (s *source) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(s.host), nil
}

// Close implements [driver.Source].
func (s *source) Close() error { return nil }

// Owned implements [driver.Source]: one for each setting and binding file that
// a mark names, so that each can be removed by it.
func (s *source) Owned(ctx context.Context) ([]driver.Owned, error) {
	s.sweepNow(ctx)
	state, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	var list []driver.Owned
	if state.exists {
		doc, err := parse(s.dialect, state.text)
		if err != nil {
			return nil, s.unreadable(err)
		}
		for _, m := range doc.marks() {
			owner := driver.Mark{UID: m.uid, Generation: m.generation, Connection: s.id.Linker(m.connection)}
			for _, name := range m.names {
				list = append(list, driver.Owned{Mark: owner, Name: name})
			}
			if len(m.names) == 0 {
				list = append(list, driver.Owned{Mark: owner})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(state.bindings)) {
		b := state.bindings[name]
		owner := driver.Mark{UID: b.UID, Generation: b.Generation, Connection: s.id.Linker(name)}
		for _, entry := range slices.Sorted(maps.Keys(b.Files)) {
			list = append(list, driver.Owned{Mark: owner, Name: name + "/" + entry})
		}
	}
	return list, nil
}

// unreadable says what is wrong with a file that can't be read.
func (s *source) unreadable(err error) error {
	if hostError(err) != nil {
		return err
	}
	if ended := interrupted(err); ended != nil {
		return ended
	}
	var bad refusal
	switch {
	case errors.Is(err, hosts.ErrPrivate):
		return s.private(patchbay.SettingsUnreadable)
	case errors.As(err, &bad):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%s is no %s file: %w", s.path, s.dialect.name(), err).
			WithFix("sed -n %dp %s   (and mend that line)", bad.line, quoted(s.path))
	case isMissing(err):
		missing := (*hosts.MissingError)(nil)
		errors.As(err, &missing)
		return patchbay.Errorf(patchbay.SourceNotFound, "%s leads into a directory that is not there, %s", s.path, missing.Dir).
			WithFix("mkdir -p %s   (or register the source with another path)", quoted(missing.Dir))
	case errors.Is(err, fs.ErrNotExist):
		return patchbay.Errorf(patchbay.SourceNotFound, "there is no directory %s", filepath.Dir(s.path)).
			WithFix("mkdir -p %s   (or register the source with another path)", quoted(filepath.Dir(s.path)))
	case errors.Is(err, syscall.ENOTDIR):
		return patchbay.Errorf(patchbay.SourceNotFound, "what should be a directory on the way to %s is none: %w", s.path, err).
			WithFix("register the source with the path of a file in a directory")
	case errors.Is(err, syscall.ELOOP):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%s is a symbolic link that leads nowhere but to links: %w", s.path, err).
			WithFix("rm %s   (nothing is behind it)", quoted(s.path))
	case errors.Is(err, syscall.ENAMETOOLONG):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the path %s is longer than the system takes: %w", clip(s.path), err).
			WithFix("register the source with a shorter path")
	case errors.Is(err, hosts.ErrIrregular):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%w", err).
			WithFix("register the source with the path of a regular file")
	case errors.Is(err, hosts.ErrTooLarge):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%s is larger than a settings file may be, %d bytes", s.path, maxFile).
			WithFix("wc -c %s   (and take out of it what is no setting)", quoted(s.path))
	case errors.Is(err, fs.ErrPermission):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "Patchbay may not read %s: %w", s.path, err).
			WithFix("let the user that Patchbay runs as read and write it and its directory")
	}
	return patchbay.Errorf(patchbay.SettingsUnreadable, "%s can't be read: %w", s.path, err)
}

// unwritable says why the file can't be replaced. It was not.
func (s *source) unwritable(err error) error {
	if hostError(err) != nil {
		return err
	}
	if ended := interrupted(err); ended != nil {
		return ended
	}
	unwritable := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.SettingsUnwritable, format, args...)
	}
	frozen := (*hosts.FrozenError)(nil)
	switch {
	case errors.As(err, &frozen):
		return unwritable("%s can't be replaced: %w", s.path, err).WithFix("chattr -%s %s", frozen.Attribute, quoted(frozen.Path))
	case errors.Is(err, hosts.ErrChanged):
		return changed(s.path)
	case errors.Is(err, hosts.ErrPrivate):
		return s.private(patchbay.SettingsUnwritable)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return s.unreadable(err)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return unwritable("the name of %s is too long for the file that is written beside it: %w", clip(s.path), err).
			WithFix("register the source with a file of a shorter name")
	case errors.Is(err, hosts.ErrIrregular):
		return unwritable("%w", err).WithFix("register the source with the path of a regular file")
	case errors.Is(err, hosts.ErrReadOnly):
		return unwritable("%w", err).WithFix("chmod u+w %s", quoted(s.path))
	case errors.Is(err, hosts.ErrOwner):
		return unwritable("%w", err).WithFix("let Patchbay work as the owner of %s and in its group, or as root (on a host: --become)", s.path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return unwritable("no space is left for %s: %w", s.path, err).WithFix("df -h %s   (and free some)", quoted(filepath.Dir(s.path)))
	case errors.Is(err, syscall.EROFS):
		return unwritable("%s is on a file system that is mounted read-only: %w", s.path, err).
			WithFix(`mount -o remount,rw "$(findmnt -nro TARGET -T %s)"`, quoted(filepath.Dir(s.path)))
	case errors.Is(err, syscall.EBUSY):
		return unwritable("%s is a mount of its own and can't be replaced: %w", s.path, err).WithFix("mount the directory that it is in")
	case errors.Is(err, fs.ErrPermission):
		return unwritable("Patchbay may not replace %s: %w", s.path, err).
			WithFix("let the user that Patchbay runs as write %s and its directory", s.path)
	}
	return unwritable("%s can't be written: %w", s.path, err)
}

// isMissing: a directory on the way is not there, or what a link leads to is in
// none.
func isMissing(err error) bool {
	missing := (*hosts.MissingError)(nil)
	return errors.As(err, &missing)
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	if plain.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

func changed(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed %s meanwhile", what).
		WithFix("try again: the change is then made to what is there now")
}

// hostError is what a machine that can't be asked says of it, and whether a moment
// may mend that; nil for any other error.
func hostError(err error) error {
	if known := (*patchbay.Error)(nil); errors.As(err, &known) {
		return known
	}
	return nil
}

// interrupted is the error of a context that ended, nil for any other.
func interrupted(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no time was left: %w", err).AsTransient()
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "stopped: %w", err).AsTransient()
	}
	return nil
}
