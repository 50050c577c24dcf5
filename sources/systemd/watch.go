package systemd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

var _ driver.Watcher = (*source)(nil)

// Watch implements [driver.Watcher], where the machine says when its files change: by the
// files that a unit is made of, and by those that its manager makes. It exports each
// unit's invocation for the journal, as a link that is there while the unit is up and is
// another one at each start; and it makes the directories of its generators anew whenever
// it reads its units. So neither the bus nor a process for each unit is needed.
func (s *source) Watch(ctx context.Context, changed func()) error {
	host, ok := s.host.(hosts.Watching)
	if !ok {
		return patchbay.Errorf(patchbay.NotSupported, "the host of %s does not say when a file changes", s.id.Name())
	}
	err := host.WatchFiles(ctx, s.watched, changed)
	full, known := (*hosts.LimitError)(nil), (*patchbay.Error)(nil)
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &full):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "changes of %s can't be noticed at once: %w", s.unit, err).WithFix("%s", full.Fix).AsTransient()
	}
	return fault(patchbay.SettingsUnreadable, "the files of "+s.unit, err)
}

// looks bounds how many ask a manager at once what to watch: after it has read its units
// anew, all do.
var looks = make(chan struct{}, 2)

// watched are the files, as they are now: which environment files there are may have
// changed too.
func (s *source) watched(ctx context.Context) ([]hosts.Watched, error) {
	select {
	case looks <- struct{}{}:
		defer func() { <-looks }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, driver.DefaultTimeout)
	defer cancel()
	v, err := s.look(limited)
	if err != nil {
		return nil, err
	}
	names := []string{s.unit}
	if id := v.unit.facts["Id"]; id != s.unit {
		names = append(names, id)
	}
	var list []hosts.Watched
	for _, name := range names {
		list = append(list, hosts.Watched{Path: filepath.Join(v.run, "systemd", "units", "invocation:"+name)})
		if template, _, ok := strings.Cut(name, "@"); ok {
			names = append(names, template+"@.service")
		}
	}
	for _, dir := range v.paths {
		for _, name := range names {
			list = append(list, hosts.Watched{Path: filepath.Join(dir, name)}, hosts.Watched{Path: filepath.Join(dir, name+".d"), Below: 3})
		}
	}
	for _, f := range v.unit.files {
		dir, levels := filepath.Dir(f.pattern), 1
		match := func(name string) bool {
			is, err := filepath.Match(filepath.Base(f.pattern), name)
			return is || err != nil
		}
		if strings.ContainsAny(dir, `*?[\`) {
			for ; strings.ContainsAny(dir, `*?[\`); levels++ {
				dir = filepath.Dir(dir)
			}
			match = nil
		}
		list = append(list, hosts.Watched{Path: dir, Below: levels, Match: match})
	}
	return list, nil
}
