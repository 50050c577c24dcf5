package systemd

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// fault says why something on the host could not be read or written.
func fault(code patchbay.Code, path string, err error) error {
	var known *patchbay.Error
	if errors.As(err, &known) {
		return err
	}
	if ended := interrupted(err); ended != nil {
		return ended
	}
	e := func(format string, args ...any) *patchbay.Error { return patchbay.Errorf(code, format, args...) }
	frozen, f := (*hosts.FrozenError)(nil), (*failure)(nil)
	switch {
	case errors.As(err, &f):
		return e("%s: %w: %s", path, err, driver.LastWords([]byte(f.output), nil)).
			WithFix("let the login that Patchbay works as do that: patchbay host check   (prints what it needs)")
	case errors.As(err, &frozen):
		return e("%s can't be changed: %w", path, err).WithFix("chattr -%s %s", frozen.Attribute, quoted(frozen.Path))
	case errors.Is(err, hosts.ErrChanged):
		return changed(path)
	case errors.Is(err, hosts.ErrForeign):
		return patchbay.Errorf(patchbay.NotOurs, "%s is there and not this connection's", path).WithFix("move it away")
	case errors.Is(err, hosts.ErrPrivate):
		return e("%s leads to what is Patchbay's own: it is neither read nor written", path).WithFix("ls -l %s   (and look where its links lead)", quoted(path))
	case errors.Is(err, hosts.ErrTooLarge):
		return e("%s is larger than an environment file may be, %d bytes", path, maxFile).WithFix("wc -c %s   (and take out of it what is no setting)", quoted(path))
	case errors.Is(err, hosts.ErrOwner):
		return e("%w", err).WithFix("let Patchbay work as the owner of %s and in its group, or as root (on a host: --become)", path)
	case errors.Is(err, hosts.ErrReadOnly):
		return e("%w", err).WithFix("chmod u+w %s", quoted(path))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return e("no space is left for %s: %w", path, err).WithFix("df -h %s   (and free some)", quoted(filepath.Dir(path)))
	case errors.Is(err, syscall.EROFS):
		return e("%s is on a file system that is mounted read-only: %w", path, err).
			WithFix(`mount -o remount,rw "$(findmnt -nro TARGET -T %s)"`, quoted(filepath.Dir(path)))
	case errors.Is(err, fs.ErrPermission):
		return e("Patchbay may not do that with %s: %w", path, err).
			WithFix("let the login that Patchbay works as do that: patchbay host check   (prints what it needs)")
	}
	return e("%s: %w", path, err)
}

func changed(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed %s meanwhile", what).
		WithFix("try again: the change is then made to what is there now")
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

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quoted is a text as a shell takes it.
func quoted(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
