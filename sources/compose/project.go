package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// The names that Compose looks for, in its order: of each list it takes the first.
var (
	baseNames     = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	overrideNames = []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
)

// ourOverride is the one that we make.
const ourOverride = "compose.override.yaml"

// layout is which files a project has.
type layout struct {
	dir   string
	files []string // what Compose is told; nil: it looks for them
	base  string   // what it finds then
	over  string   // the override that it finds, "" for none
	vars  bool     // there is a file of variables
}

func (l layout) abs(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(l.dir, name)
}

// override is the file of ours that Compose would find, "" where it would find none.
func (l layout) override() string {
	switch {
	case l.files != nil:
		return ""
	case l.over != "":
		return l.over
	}
	return path.Join(l.dir, ourOverride)
}

// layout finds a project's files as Compose does.
func (s *source) layout(ctx context.Context) (layout, error) {
	l := layout{dir: s.path}
	names, err := s.host.ListDir(ctx, s.path)
	if errors.Is(err, syscall.ENOTDIR) {
		l.dir = path.Dir(s.path)
		names, err = s.host.ListDir(ctx, l.dir)
	}
	if err != nil {
		return layout{}, s.unreadable(s.path, err)
	}
	find := func(list []string) string {
		for _, name := range list {
			if slices.Contains(names, name) {
				return path.Join(l.dir, name)
			}
		}
		return ""
	}
	l.base, l.over = find(baseNames), find(overrideNames)
	l.vars = slices.Contains(names, ".env") || len(s.p.EnvFiles) > 0
	if s.path != l.dir && (s.path != l.base || len(s.p.Files) > 0) {
		l.files = []string{s.path}
	}
	for _, name := range s.p.Files {
		if name = l.abs(name); !slices.Contains(l.files, name) {
			l.files = append(l.files, name)
		}
	}
	if l.files == nil && l.base == "" {
		return layout{}, patchbay.Errorf(patchbay.SourceNotFound, "there is no Compose file in %s", l.dir).
			WithFix("register the source with the directory or the file of its project")
	}
	return l, nil
}

// project is one at a moment: what Compose says of it, and what runs.
type project struct {
	layout
	name       string
	service    service
	model      model
	written    written // with an env file
	path       string  // of our file
	form       form
	file       file
	containers []*container
	image      *image // what the service would be made of; nil: it is not there
	ran        *image // what its container is made of
	noted      bool   // a restart began, and has not ended
}

// look finds out where things stand.
func (s *source) look(ctx context.Context) (*project, error) {
	p, err := s.place(ctx)
	if err != nil {
		return nil, err
	}
	return p, s.lookAround(ctx, p)
}

// lookAround asks Compose and the engine about a project whose file of ours is known.
func (s *source) lookAround(ctx context.Context, p *project) (err error) {
	if err := s.checkFound(ctx, p.layout); err != nil {
		return err
	}
	if p.model, err = s.read(ctx, p.layout, nil); err != nil {
		return err
	}
	if p.service, err = s.serviceOf(p.layout, p.model); err != nil {
		return err
	}
	p.name = p.model.Name
	return s.lookAtEngine(ctx, p)
}

// place finds our file. Where that is an override, and the service is named, Compose
// need not be able to read the project.
func (s *source) place(ctx context.Context) (*project, error) {
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	p := &project{layout: l, form: override{}, path: l.override(), service: service{name: s.service}}
	if s.p.Deliver == byEnvFile || s.service == "" {
		all, err := s.written(ctx, l)
		if err != nil {
			return nil, err
		}
		if p.service.name, err = s.choose(l, slices.Sorted(maps.Keys(all))); err != nil {
			return nil, err
		}
		p.written = all[p.service.name]
	}
	if s.p.Deliver == byEnvFile {
		f, err := s.envFile(p.service.name, p.written)
		if err != nil {
			return nil, err
		}
		p.form, p.path = dotenv{}, f.Path
	} else if l.files != nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "Compose merges an override of its own accord only into the file that it finds itself, and this project's files are named").
			WithFix("%s", s.adviceEnvFile(l))
	}
	return p, s.readOurs(ctx, p)
}

// readOurs reads our file, which is nobody else's.
func (s *source) readOurs(ctx context.Context, p *project) (err error) {
	if p.file, err = s.readFile(ctx, p.path); err != nil {
		return err
	}
	if p.file.exists && !p.file.ours() && p.file.text != "" {
		return patchbay.Errorf(patchbay.NotSupported, "the file %s is the project's own, which Patchbay never edits", p.path).
			WithFix("%s", s.adviceEnvFile(p.layout))
	}
	return nil
}

func (s *source) lookAtEngine(ctx context.Context, p *project) (err error) {
	if p.containers, err = s.engine.containers(ctx, p.name, p.service.name); err != nil {
		return err
	}
	imageName := p.service.Image
	if imageName == "" {
		imageName = p.name + "-" + p.service.name // as Compose calls what it builds
	}
	if p.image, err = s.engine.image(ctx, imageName); err != nil {
		return err
	}
	if len(p.containers) > 0 {
		if p.ran, err = s.engine.image(ctx, p.containers[0].Image); err != nil {
			return err
		}
	}
	note, err := s.readFile(ctx, s.note(p))
	p.noted = note.exists
	return err
}

// choose is the service that is meant.
func (s *source) choose(l layout, names []string) (string, error) {
	has := driver.Quoted(strings.Join(names, ", "))
	switch {
	case s.service == "" && len(names) == 1 && serviceForm.MatchString(names[0]):
		return names[0], nil
	case s.service == "":
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the project in %s has several services: %s", l.dir, has).
			WithFix("register the source with its service, or name it as the connection's scope")
	case !slices.Contains(names, s.service):
		return "", patchbay.Errorf(patchbay.SourceNotFound, "the project in %s has no service %s; it has: %s", l.dir, s.service, has).
			WithFix("register the source with one of them, or with the profile that it is in (--profiles)")
	}
	return s.service, nil
}

func (s *source) serviceOf(l layout, m model) (service, error) {
	name, err := s.choose(l, slices.Sorted(maps.Keys(m.Services)))
	return m.Services[name], err
}

// checkFound refuses a project whose files are other ones than Compose finds by their
// names: COMPOSE_FILE in its variables says which.
func (s *source) checkFound(ctx context.Context, l layout) error {
	if !l.vars || l.files != nil {
		return nil
	}
	result, err := s.run(ctx, l, nil, append(s.flagsWith(l, file{}), "config", "--environment")...)
	if err != nil {
		return err
	}
	if result.Exit != 0 {
		return s.refusedProject(ctx, l, result.Output)
	}
	for line := range bytes.Lines(result.Output) {
		if !bytes.HasPrefix(line, []byte("COMPOSE_FILE=")) {
			continue
		}
		refused := patchbay.Errorf(patchbay.NotSupported, "the project in %s names its files itself (COMPOSE_FILE in its .env), and Compose merges no other one", l.dir)
		if s.p.Deliver == byEnvFile {
			return refused.WithFix("register the source with those files, in their order: --files FILE")
		}
		return refused.WithFix("register the source with those files, in their order (--files FILE), and %s", s.adviceEnvFile(l))
	}
	return nil
}

// adviceEnvFile is what makes a project take settings by an env file.
func (s *source) adviceEnvFile(l layout) string {
	name := s.service
	if name == "" {
		name = "NAME"
	}
	return fmt.Sprintf("add to the service %s in the project's file: env_file: [{path: ./%s%s, required: false}]   start it, and register %s with --deliver env-file", name, name, envFileSuffix, s.id.Name())
}

// envFileSuffix ends the names of env files that are ours to write.
const envFileSuffix = ".patchbay.env"

// envFile is the env file of ours that a service lists.
func (s *source) envFile(service string, w written) (envFile, error) {
	for _, f := range w.EnvFile {
		if !strings.HasSuffix(f.Path, envFileSuffix) || path.Clean(f.Path) != f.Path || !path.IsAbs(f.Path) {
			continue
		}
		if err := checkPath("env file", f.Path); err != nil {
			return envFile{}, err
		}
		if f.Format != "" {
			return envFile{}, patchbay.Errorf(patchbay.NotSupported, "the service %s reads %s with the format %.20q, which has no way to write every value", service, f.Path, f.Format).
				WithFix("leave the format out of its env_file")
		}
		if f.required() {
			return envFile{}, patchbay.Errorf(patchbay.NotSupported, "the service %s can't be started without %s, which is not there before its first connection and after its last", service, f.Path).
				WithFix("make its entry in env_file: {path: ./%s, required: false}", path.Base(f.Path))
		}
		return f, nil
	}
	return envFile{}, patchbay.Errorf(patchbay.NotSupported, "the service %s lists no env file that is Patchbay's to write", service).
		WithFix("add to it in the project's file: env_file: [{path: ./%s%s, required: false}]", service, envFileSuffix)
}

// envFilesOfOurs are the env files of ours that any service lists.
func (s *source) envFilesOfOurs(ctx context.Context, l layout) ([]string, error) {
	all, err := s.written(ctx, l)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f, err := s.envFile(name, all[name])
		if err == nil && !slices.Contains(list, f.Path) && (s.service == "" || s.service == name) {
			list = append(list, f.Path)
		}
	}
	return list, nil
}

// check refuses what can't be made anew so that it is what it was.
func (s *source) check(ctx context.Context, p *project) error {
	for _, name := range slices.Sorted(maps.Keys(p.model.Services)) {
		other := p.model.Services[name]
		shares := ""
		switch me := "service:" + p.service.name; {
		case other.NetworkMode == me:
			shares = "network"
		case other.Ipc == me:
			shares = "memory (ipc)"
		case other.Pid == me:
			shares = "processes (pid)"
		}
		if shares != "" {
			return patchbay.Errorf(patchbay.NotSupported, "the service %s has its %s from %s, and would have to be made anew with it", name, shares, p.service.name).
				WithFix("connect the service %s, or give it a %s of its own", name, shares)
		}
	}
	for _, c := range p.containers {
		// Which files the containers were made of, the engine knows. An override by the
		// name of ours may have come or gone since.
		byOthers := func(files []string) []string {
			return slices.DeleteFunc(files, func(f string) bool { return f == "" || f == p.path || path.Base(f) == ourOverride })
		}
		want := slices.Clone(p.files)
		if want == nil {
			want = []string{p.base, p.over}
		}
		want = byOthers(want)
		started := byOthers(c.files())
		if len(started) > 0 && !slices.EqualFunc(started, want, func(a, b string) bool { return path.Base(a) == path.Base(b) }) {
			return patchbay.Errorf(patchbay.NotSupported, "the service %s was started with other files than this source has: %s", p.service.name, driver.Quoted(strings.Join(started, ", "))).
				WithFix("register it with those (--files), or start it with these: %s", s.invocation(p.layout, "up --detach "+p.service.name))
		}
	}
	if len(p.containers) == 0 {
		// A project that has another name now would be started beside itself.
		other, err := s.engine.projectAt(ctx, p.dir, p.service.name)
		if err != nil {
			return err
		}
		if other != "" && other != p.name {
			return patchbay.Errorf(patchbay.NotSupported, "the project in %s is called %s, and its containers are of a project %s", p.dir, p.name, driver.Quoted(other)).
				WithFix("docker compose --project-name %s down   and then: %s   (or register it with --project %s)", driver.Quoted(other), s.invocation(p.layout, "up --detach"), driver.Quoted(other))
		}
	}
	return nil
}

// checkReady refuses a change after which the service could not be made anew, or
// would become something else besides.
func (s *source) checkReady(ctx context.Context, p *project) error {
	if len(p.containers) == 0 {
		return nil
	}
	if p.image == nil {
		return patchbay.Errorf(patchbay.SettingsUnwritable, "the image %s is not on the machine any more: the service %s can't be made anew", driver.Quoted(p.service.Image), p.service.name).
			WithFix("%s   (or build)", s.invocation(p.layout, "pull "+p.service.name))
	}
	if p.containers[0].State.Paused {
		return patchbay.Errorf(patchbay.SettingsUnwritable, "the service %s is paused, and can't be stopped", p.service.name).WithFix("%s", s.invocation(p.layout, "unpause "+p.service.name))
	}
	if !p.current() {
		return nil // it waits for a restart anyway
	}
	args := slices.Concat([]string{"--progress", "json", "--dry-run"}, s.flags(p.layout), s.up(p, false))
	result, err := s.run(ctx, p.layout, nil, args...)
	if err != nil {
		return err
	}
	if result.Exit != 0 {
		return s.refusedProject(ctx, p.layout, result.Output)
	}
	if bytes.Contains(result.Output, []byte(`"Recreate"`)) {
		return patchbay.Errorf(patchbay.SettingsUnwritable, "the service %s runs as something else than the project now says: made anew for its settings it would change in more than those", p.service.name).
			WithFix("%s   (variables of your shell that the project uses belong into its .env)", s.invocation(p.layout, "up --detach "+p.service.name))
	}
	return nil
}

// unreadable says what is wrong with a file of the project that can't be read.
func (s *source) unreadable(name string, err error) error {
	missing, known := (*hosts.MissingError)(nil), (*patchbay.Error)(nil)
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &missing), errors.Is(err, fs.ErrNotExist):
		return patchbay.Errorf(patchbay.SourceNotFound, "there is no project at %s: %w", name, err).
			WithFix("register the source with the directory or the file of its project")
	case errors.Is(err, hosts.ErrPrivate):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "%s leads to what is Patchbay's own", name).
			WithFix("keep the project outside of the server's data directory")
	case errors.Is(err, fs.ErrPermission):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "Patchbay may not read %s: %w", name, err).
			WithFix("let the user that Patchbay runs as there read the project, and write in its directory")
	}
	return patchbay.Errorf(patchbay.SettingsUnreadable, "%s can't be read: %w", name, err)
}

// unwritable says why one of our files can't be replaced. It was not.
func (s *source) unwritable(name string, err error) error {
	var known *patchbay.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	failed := patchbay.Errorf(patchbay.SettingsUnwritable, "%s can't be written: %w", name, err)
	switch {
	case errors.Is(err, hosts.ErrChanged):
		return s.changed(name)
	case errors.Is(err, fs.ErrPermission):
		return failed.WithFix("let the user that Patchbay runs as there write in %s", path.Dir(name))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return failed.WithFix("df %s   (and make room)", path.Dir(name))
	}
	return failed.WithFix("ls -ld %s", path.Dir(name))
}

func (s *source) changed(name string) *patchbay.Error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed the project at %s meanwhile", name)
}
