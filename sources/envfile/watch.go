package envfile

import (
	"context"
	"errors"
	"io/fs"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

var _ driver.Watcher = (*source)(nil)

// Watch implements [driver.Watcher], where the machine says when its files change: the
// settings file, the files of bindings, and the pid file of an application that has one.
func (s *source) Watch(ctx context.Context, changed func()) error {
	host, ok := s.host.(hosts.Watching)
	if !ok {
		return patchbay.Errorf(patchbay.NotSupported, "the host of %s does not say when a file changes", s.id.Name())
	}
	list := []hosts.Watched{{Path: s.path}}
	if s.bindings != "" {
		list = append(list, hosts.Watched{Path: s.bindings, Below: 3}) // connection, data, entry
	}
	if s.reload != nil && s.reload.PidFile != "" {
		list = append(list, hosts.Watched{Path: s.reload.PidFile})
	}
	err := host.WatchFiles(ctx, func(context.Context) ([]hosts.Watched, error) { return list, nil }, changed)
	full := (*hosts.LimitError)(nil)
	switch {
	case err == nil, hostError(err) != nil:
		return err
	case errors.As(err, &full):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "changes of %s can't be noticed at once: %w", s.path, err).WithFix("%s", full.Fix).AsTransient()
	case errors.Is(err, fs.ErrPermission):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "Patchbay may not watch the directory of %s: %w", s.path, err).
			WithFix("let the user that Patchbay runs as read that directory")
	}
	return s.unreadable(err)
}
