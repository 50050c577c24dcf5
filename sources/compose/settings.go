package compose

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/sources/internal/variable"
)

// version is of our file, and of all that the project gives the service.
func version(f file, values map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		_, _ = fmt.Fprintf(h, "%q=%q\n", name, values[name])
	}
	return f.version() + "." + hex.EncodeToString(h.Sum(nil)[:16])
}

func (f file) version() string {
	if !f.exists {
		return "none"
	}
	return f.sum()
}

func secrets(values map[string]string) map[string]patchbay.Secret {
	all := make(map[string]patchbay.Secret, len(values))
	for name, value := range values {
		all[name] = patchbay.NewSecret(value)
	}
	return all
}

// effective is what the application has once it is made anew.
func (p *project) effective() map[string]string { return over(p.image, p.service) }

// over is an image's environment with the service's over it.
func over(i *image, sv service) map[string]string {
	all := map[string]string{}
	if i != nil {
		all = variables(i.Config.Env)
	}
	for name, value := range sv.Environment {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = *value
		}
	}
	return all
}

// current reports whether all containers of the service have its settings.
func (p *project) current() bool {
	want := over(p.ran, p.service)
	return !slices.ContainsFunc(p.containers, func(c *container) bool { return !maps.Equal(c.values(), want) })
}

// ReadSettings implements [driver.Source].
func (s *source) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return driver.Snapshot{}, err
	}
	return driver.Snapshot{
		Version:  version(p.file, p.service.values()),
		Settings: secrets(p.effective()),
		Content:  patchbay.NewSecret(p.file.snapshot()),
	}, nil
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
	if err := s.check(ctx, p); err != nil {
		return err
	}
	next, err := s.after(p, c)
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() { ready <- s.checkReady(ctx, p) }() // beside the other question to Compose
	_, err = s.would(p, c, next, func() (model, error) { return s.read(ctx, p.layout, &next) })
	if err := cmp.Or(<-ready, err); err != nil {
		return err
	}
	if err := s.host.CheckReplace(ctx, p.path); err != nil {
		return s.unwritable(p.path, err)
	}
	return nil
}

// settingName is what Compose takes in both kinds of file.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,254}$`)

const (
	// maxEnvironment is what Linux gives arguments and environment together, a quarter
	// of the stack's default limit, less what the engine and the arguments need.
	maxEnvironment = 2<<20 - 64<<10
)

// checkChange looks at the change alone.
func (s *source) checkChange(c driver.Change) error {
	if !uidForm.MatchString(c.Mark.UID) || c.Mark.Generation < 0 {
		return invalid(c.Mark.UID, "the connection's uid %.80q is none that a mark can hold", c.Mark.UID)
	}
	seen, size := map[string]bool{}, 0
	for _, set := range c.Set {
		switch {
		case set.File:
			return patchbay.Errorf(patchbay.NotSupported, "a service holds no files for %s", s.id.Name()).
				WithFix("choose --naming native, or mount a directory and register it with the driver envfile")
		case seen[set.Name]:
			return invalid(set.Name, "the setting %s is there twice", set.Name)
		}
		if why := variable.Refused(set.Name, set.Value.Reveal(), "Compose"); why != "" {
			return invalid(set.Name, "%s", why)
		}
		seen[set.Name] = true
		if size += len(set.Name) + len(set.Value.Reveal()) + 10; size > maxEnvironment {
			return invalid(set.Name, "the settings are more than Linux gives a program, %d bytes", maxEnvironment)
		}
	}
	return nil
}

func invalid(subject, format string, args ...any) *patchbay.Error {
	e := patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	e.Subject = fmt.Sprintf("%.80s", subject)
	return e
}

// after is what c makes of our file.
func (s *source) after(p *project, c driver.Change) (file, error) {
	return s.afterOf(p, p.file, c)
}

func (s *source) afterOf(p *project, f file, c driver.Change) (file, error) {
	r, err := p.form.split(f, p.service.name)
	if err != nil {
		return file{}, err
	}
	return p.form.put(f, p.service.name, r.apply(c, p.service.name))
}

// would is what the service has with that file of ours, and an error where that is not
// what c sets. Of an override Compose is asked, of an env file what stands before it
// in the project is known.
func (s *source) would(p *project, c driver.Change, next file, ask func() (model, error)) (service, error) {
	if next == p.file {
		return p.service, nil
	}
	if s.p.Deliver == byEnvFile {
		return p.service, s.checkPrecedence(p, c)
	}
	m, err := ask()
	if err != nil {
		return service{}, err
	}
	sv, err := s.serviceOf(p.layout, m)
	if err != nil {
		return service{}, err
	}
	return sv, s.checkArrived(p, sv, c)
}

// checkArrived compares what Compose reads with what was written for it.
func (s *source) checkArrived(p *project, sv service, c driver.Change) error {
	got := sv.values()
	for _, set := range c.Set {
		if value, ok := got[set.Name]; !ok || value != set.Value.Reveal() {
			return patchbay.Errorf(patchbay.SettingsUnwritable, "Compose does not read %s of the service %s as it was written to %s", set.Name, sv.name, p.path).
				WithFix("%s   (and look where %s comes from)", s.invocation(p.layout, "config "+sv.name), set.Name)
		}
	}
	size := 0
	for name, value := range over(p.image, sv) {
		size += len(name) + len(value) + 10
	}
	if size > maxEnvironment {
		return invalid(sv.name, "with these settings the environment of %s would be more than Linux gives a program, %d bytes", sv.name, maxEnvironment)
	}
	return nil
}

// checkPrecedence refuses what an env file can't set: the service's environment, and
// env files after ours, come before it.
func (s *source) checkPrecedence(p *project, c driver.Change) error {
	now, old := p.service.values(), map[string]bool{}
	r, err := p.form.split(p.file, p.service.name)
	if err != nil {
		return err
	}
	for name, value := range valuesOf(r.items()) {
		old[name] = now[name] == value
	}
	list := p.written.EnvFile
	last := len(list) > 0 && list[len(list)-1].Path == p.path
	for _, set := range c.Set {
		if _, has := now[set.Name]; p.written.sets(set.Name) || has && !old[set.Name] && !last {
			return patchbay.Errorf(patchbay.NotSupported, "the service %s sets %s where no env file can change it: in its environment, or in an env file after %s", p.service.name, set.Name, path.Base(p.path)).
				WithFix("take %s out of it, or move %s to the end of its env_file", set.Name, path.Base(p.path))
		}
	}
	return nil
}

// WriteSettings implements [driver.Source]. Nothing is stopped or started.
func (s *source) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	p, unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	next, err := s.after(p, c)
	if err != nil {
		return "", err
	}
	of, _, _ := strings.Cut(ifVersion, ".")
	if next != p.file && p.file.version() != of {
		return "", s.changed(p.path) // without asking Compose, which takes longer
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := sync.OnceValues(func() (model, error) { return s.read(asking, p.layout, &next) })
	if next != p.file && s.p.Deliver != byEnvFile {
		go func() { _, _ = ask() }() // beside the other question to Compose
	}
	if err := s.lookAround(ctx, p); err != nil {
		return "", err
	}
	have := version(p.file, p.service.values())
	if next == p.file {
		return have, nil
	}
	if have != ifVersion {
		return "", s.changed(p.path)
	}
	sv, err := s.would(p, c, next, ask)
	if err != nil {
		return "", err
	}
	if err := s.write(ctx, p, c.Mark.UID, next); err != nil {
		return "", err
	}
	if s.p.Deliver == byEnvFile {
		m, err := s.read(ctx, p.layout, nil)
		if err == nil {
			if sv, err = s.serviceOf(p.layout, m); err == nil {
				err = s.checkArrived(p, sv, c)
			}
		}
		if err != nil {
			was := p.file
			p.file = next
			return "", errors.Join(err, s.write(context.WithoutCancel(ctx), p, c.Mark.UID, was))
		}
	}
	return version(next, sv.values()), nil
}

// lock waits for the project's directory, and reads our file in it.
func (s *source) lock(ctx context.Context) (*project, func(), error) {
	p, err := s.place(ctx)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := s.host.Lock(ctx, p.path)
	if err != nil {
		return nil, nil, s.unwritable(p.path, err)
	}
	if err := s.host.Sweep(ctx, p.path, temp(p.path, "*")); err != nil {
		unlock()
		return nil, nil, s.unwritable(p.path, err)
	}
	if err := s.readOurs(ctx, p); err != nil { // once more: somebody may have been faster
		unlock()
		return nil, nil, err
	}
	return p, unlock, nil
}

// write makes our file be next. The lock is held.
func (s *source) write(ctx context.Context, p *project, uid string, next file) (err error) {
	if err := failpoint.Hit(ctx, "compose/write/before-rename"); err != nil {
		return err
	}
	switch {
	case next == p.file:
		return nil
	case !next.exists:
		err = s.host.RemoveFile(ctx, p.path, p.file.sum())
	default:
		err = s.host.ReplaceFile(ctx, hosts.Replacement{
			Path: p.path, Content: []byte(next.text), Temp: temp(p.path, uid), Mode: s.mode, IfSum: p.file.sum(),
		})
	}
	if err != nil {
		return s.unwritable(p.path, err)
	}
	return failpoint.Hit(ctx, "compose/write/after-rename")
}

// RestoreSettings implements [driver.Source].
func (s *source) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var was snapshot
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &was); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the settings as they were before are none of this driver's")
	}
	p, unlock, err := s.lock(ctx)
	if patchbay.CodeOf(err) == patchbay.SourceNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	next, err := s.before(p, file{was.Exists, was.Text}, c)
	if err != nil {
		return err
	}
	err = s.write(ctx, p, c.Mark.UID, next)
	if e := (*patchbay.Error)(nil); errors.As(err, &e) && e.Code == patchbay.SettingsChanged {
		return e.AsTransient() // an editor was faster; the next try takes its edit into account
	}
	return err
}

// before is our file with the change taken back: byte for byte what it was when
// nothing but the change has happened to it.
func (s *source) before(p *project, old file, c driver.Change) (file, error) {
	if done, err := s.afterOf(p, old, c); p.file == old || err == nil && p.file == done {
		return old, nil
	}
	r, err := p.form.split(p.file, p.service.name)
	if err != nil {
		return file{}, err
	}
	o, err := p.form.split(old, p.service.name)
	if err != nil {
		return file{}, err
	}
	return p.form.put(p.file, p.service.name, r.takeBack(o, c))
}

// besides says what else becomes of the service when it is made anew.
func (s *source) besides(ctx context.Context, p *project) ([]string, error) {
	list, err := s.lost(ctx, p)
	for _, name := range slices.Sorted(maps.Keys(p.model.Services)) {
		if p.model.Services[name].DependsOn[p.service.name].Restart {
			list = append(list, fmt.Sprintf("the service %s is to be restarted with %s (depends_on, restart: true), which is left to you: %s", name, p.service.name, s.invocation(p.layout, "restart "+name)))
		}
	}
	return list, err
}

// lost says what of the containers' own layers would be gone.
func (s *source) lost(ctx context.Context, p *project) ([]string, error) {
	if len(p.containers) == 0 {
		return nil, nil
	}
	paths, err := s.engine.changed(ctx, p.containers[0])
	if err != nil {
		return nil, err
	}
	ignored := []string{"/dev", "/proc", "/sys", "/run", "/var/run", "/tmp", "/var/tmp", "/etc", "/.dockerenv"}
	paths = slices.DeleteFunc(paths, func(name string) bool {
		return slices.ContainsFunc(ignored, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }) ||
			slices.ContainsFunc(paths, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	})
	if len(paths) == 0 {
		return nil, nil
	}
	shown := paths[:min(len(paths), 5)]
	return []string{fmt.Sprintf("what %s wrote outside of its volumes is lost when it is made anew: %s (docker diff %s lists it; keep what matters in a volume)", p.containers[0].Name, driver.Quoted(strings.Join(shown, ", ")), p.containers[0].Name)}, nil
}
