package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"syscall"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/sources/internal/containerevents"
	"patchbay.dev/patchbay/sources/internal/eventstreams"
)

var _ driver.Watcher = (*source)(nil)

// Watch implements [driver.Watcher]: by the engine's events of the service's containers,
// and by the project's files, where the machine says when those change.
func (s *source) Watch(ctx context.Context, changed func()) error {
	project, envFiles := s.known(ctx)
	parts := []func(context.Context, func()) error{func(ctx context.Context, changed func()) error {
		err := containerevents.Watch(ctx, containerevents.Engine{
			Key: containerevents.Key{Host: s.host, Address: s.socket}, Get: s.engine.stream, Now: s.clock,
		}, func(c containerevents.Container) bool { return s.concerns(c, project) }, changed)
		if known := (*patchbay.Error)(nil); err == nil || errors.As(err, &known) {
			return err
		}
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s tells nothing more of its containers: %s", s.socket, driver.Quoted(err.Error())).AsTransient()
	}}
	if host, ok := s.host.(hosts.Watching); ok {
		parts = append(parts, func(ctx context.Context, changed func()) error {
			err := host.WatchFiles(ctx, func(ctx context.Context) ([]hosts.Watched, error) { return s.watched(ctx, envFiles), nil }, changed)
			full := (*hosts.LimitError)(nil)
			switch {
			case err == nil:
				return nil
			case errors.As(err, &full):
				return patchbay.Errorf(patchbay.SettingsUnreadable, "changes of the project at %s can't be noticed at once: %w", s.path, err).WithFix("%s", full.Fix).AsTransient()
			}
			return s.unreadable(s.path, err)
		})
	}
	return eventstreams.Together(ctx, changed, parts...)
}

// known is what Compose says of a project before it is watched: its name, and the env
// files of its services. A project that it can't read has neither yet.
func (s *source) known(ctx context.Context) (name string, envFiles []string) {
	l, err := s.layout(ctx)
	if err != nil {
		return "", nil
	}
	if m, err := s.read(ctx, l, nil); err == nil {
		name = m.Name
	}
	all, err := s.written(ctx, l)
	if err != nil {
		return name, nil
	}
	for service, w := range all {
		for _, f := range w.EnvFile {
			if (s.service == "" || service == s.service) && path.IsAbs(f.Path) {
				envFiles = append(envFiles, f.Path)
			}
		}
	}
	return name, envFiles
}

// watched are the project's files, be they there or not: those in its directory that
// Compose may read by what they are called, and those that are named.
func (s *source) watched(ctx context.Context, envFiles []string) []hosts.Watched {
	dir := s.path
	if _, err := s.host.ListDir(ctx, dir); errors.Is(err, syscall.ENOTDIR) || err != nil && isProjectFile(path.Base(dir)) {
		dir = path.Dir(dir)
	}
	list := []hosts.Watched{{Path: dir, Below: 1, Match: isProjectFile}}
	for _, names := range [][]string{s.p.Files, s.p.EnvFiles, envFiles} {
		for _, name := range names {
			list = append(list, hosts.Watched{Path: layout{dir: dir}.abs(name)})
		}
	}
	return list
}

// isProjectFile reports whether a file may be one of a project's: YAML, or variables.
func isProjectFile(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml" || ext == ".env" || strings.HasPrefix(name, ".env.")
}

// concerns reports whether a container is one of the service's.
func (s *source) concerns(c containerevents.Container, project string) bool {
	label := func(name string) string { return c.Labels[labelPrefix+name] }
	if s.service != "" && label("service") != s.service {
		return false
	}
	dir := label("project.working_dir")
	return project != "" && label("project") == project || dir != "" && (dir == s.path || dir == path.Dir(s.path))
}

// clock is the engine's: to the second, or this machine's.
func (s *source) clock(ctx context.Context) (time.Time, error) {
	if _, local := s.host.(*hosts.Local); local {
		return time.Now(), nil
	}
	response, err := s.engine.answer(ctx, http.MethodGet, "/_ping", nil)
	if err != nil {
		return time.Time{}, err
	}
	_ = response.Body.Close()
	at, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not say what time it is", s.socket)
	}
	return at, nil
}

// stream asks for what has no end; the caller closes it.
func (e *engine) stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	response, err := e.answer(ctx, http.MethodGet, path, query)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return nil, fmt.Errorf("it refuses: %s", body)
	}
	return response.Body, nil
}
