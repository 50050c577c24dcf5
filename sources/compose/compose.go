// Package compose is the source driver for a service of a Compose project. Its
// endpoint is the project's directory, or a Compose file in it.
//
// # Where settings go
//
// The project's own files are never edited. Settings stand in one file of ours beside
// them: an override, which Compose merges into the project's file by itself (the
// default), or an env file that the service lists already. That is the file that
// Compose finds when anybody runs it in the directory, so that the project and what
// runs agree whoever runs it next. Where it would not be found nothing is done.
//
// What somebody sets in the project's files stays there, behind what a connection
// sets: it is what the service has again when the connection goes.
//
// # Compose is the reader, and makes containers
//
// What a project says is asked of Compose (docker compose config), on its machine,
// with none of this process's variables; a change is given to it on its standard
// input before anything is written. The service alone is made anew, by Compose
// (docker compose up --no-deps), so that a later docker compose up finds nothing to do.
//
// # What a crash leaves
//
// Compose takes the old container away before it starts the new one. A note beside the
// project's files says that a service ran when that began (restart.go): a restart that
// died, or failed, is one after which the service must run.
package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// properties are what a resource of this driver may say besides its endpoint.
type properties struct {
	Service  string      `json:"service"`
	Deliver  string      `json:"deliver"`
	Project  string      `json:"project"`
	Files    []string    `json:"files"`
	EnvFiles []string    `json:"envFiles"`
	Profiles []string    `json:"profiles"`
	Engine   string      `json:"engine"`
	Program  string      `json:"program"`
	Mode     string      `json:"mode"`
	Host     string      `json:"host"` // found by the control plane
	Egress   []string    `json:"egress"`
	Wait     driver.Wait `json:"wait"`
}

// Driver is the driver for services of Compose projects. containers opens a container
// of an engine as a source, for what is the same from whoever's container one speaks,
// and searches an engine for containers; without it nobody speaks from a service, and
// none is searched for.
func Driver(containers driver.SourceDriver) driver.SourceDriver {
	d := driver.SourceDriver{
		Driver: description,
		Open: func(ctx context.Context, c driver.Config) (driver.Source, error) {
			s, err := open(ctx, c)
			if err != nil {
				return nil, err
			}
			s.containers, s.dialer = containers.Open, c.Dialer
			return s, nil
		},
	}
	if containers.Discover != nil {
		d.Discover = searcher(containers.Discover)
	} else {
		d.Search = nil
	}
	return d
}

type source struct {
	id      patchbay.ID
	host    hosts.Host
	path    string // of the project: a directory or a file
	service string // "": of a connection without a scope, and Owned is of all
	p       properties
	socket  string
	engine  *engine
	egress  []netip.Prefix
	mode    fs.FileMode
	limit   time.Duration // to come up
	steady  time.Duration // to stay up
	grace   atomic.Int64  // how long a container may take to stop, as last seen
	program atomic.Pointer[[]string]

	containers func(ctx context.Context, c driver.Config) (driver.Source, error)
	dialer     driver.Dialer
}

var _ interface {
	driver.Source
	driver.Restarter
	driver.Vantage
	driver.Platformed
	driver.Adviser
} = (*source)(nil)

// defaultGrace is what engines give a container to end.
const defaultGrace = 10 * time.Second

var (
	serviceForm = regexp.MustCompile(`^[a-zA-Z0-9._][a-zA-Z0-9._-]{0,127}$`) // none that begins as an option does
	projectForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,127}$`)
)

func open(ctx context.Context, c driver.Config) (*source, error) {
	var p properties
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	s := &source{id: c.ID, host: c.Host, path: c.Endpoint, service: p.Service, p: p, mode: 0o600}
	s.grace.Store(int64(defaultGrace))
	if p.Engine == "" {
		p.Engine = defaultEngine
	}
	invalid := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.InvalidArgument, format, args...).WithFix("patchbay driver show compose")
	}
	switch {
	case c.Scope == "":
	case s.service == "":
		s.service = c.Scope
	case s.service != c.Scope:
		return nil, invalid("%s is the service %s, and no other: the scope %.80q names one", c.ID.Name(), s.service, c.Scope)
	}
	if s.service != "" && !serviceForm.MatchString(s.service) {
		return nil, invalid("%.80q is no service's name", s.service)
	}
	if p.Project != "" && !projectForm.MatchString(p.Project) {
		return nil, invalid("%.80q is no project's name: lower-case letters, digits, dashes and underscores", p.Project)
	}
	if err := checkPath("endpoint", c.Endpoint); err != nil {
		return nil, err
	}
	if p.Program != "" {
		if err := checkPath("program", p.Program); err != nil {
			return nil, err
		}
	}
	for _, list := range [][]string{p.Files, p.EnvFiles, p.Profiles} {
		for _, text := range list {
			// A name that begins with a dash would be an option, and "-" is the standard input.
			if text == "" || strings.HasPrefix(text, "-") || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				return nil, invalid("%.80q is neither a file nor a profile that Compose takes", text)
			}
		}
	}
	u, err := url.Parse(p.Engine)
	if err != nil || u.Scheme != "unix" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) != u.Path || strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' }) {
		return nil, invalid("the engine is no socket of the project's machine, such as %s", defaultEngine)
	}
	s.socket = u.Path
	for what, name := range map[string]string{"endpoint": c.Endpoint, "engine": s.socket} {
		if err := c.Host.CheckPath(ctx, name); errors.Is(err, hosts.ErrPrivate) {
			return nil, invalid("the %s %s leads to what is Patchbay's own", what, name)
		}
	}
	s.engine = newEngine(c.Host, s.socket)
	if p.Mode != "" {
		mode, err := strconv.ParseUint(p.Mode, 8, 32)
		if err != nil || mode&^0o777 != 0 || mode&0o600 != 0o600 {
			return nil, invalid("the mode %.80q is no octal file mode that lets its owner read and write, such as 0640", p.Mode)
		}
		s.mode = fs.FileMode(mode)
	}
	if s.egress, err = driver.ParseEgress(p.Egress); err != nil {
		return nil, err
	}
	s.limit, s.steady, err = p.Wait.Durations()
	return s, err
}

func checkPath(what, name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the %s %.80q is no absolute path without . and .. and control characters", what, name)
	}
	return nil
}

// Close implements [driver.Source].
func (s *source) Close() error { s.engine.close(); return nil }

// Inspect implements [driver.Source].
func (s *source) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return driver.SourceInfo{}, err
	}
	if err := s.check(ctx, p); err != nil {
		return driver.SourceInfo{}, err
	}
	if err := s.host.CheckReplace(ctx, p.path); err != nil {
		return driver.SourceInfo{}, s.unwritable(p.path, err)
	}
	info := driver.SourceInfo{NoFiles: "mount a directory of the host into the service, and register it with the driver envfile"}
	if len(p.containers) == 0 {
		info.Warnings = append(info.Warnings, fmt.Sprintf("no container of the service %s is there: it has the settings of its connections once it is started (docker compose up)", p.service.name))
	}
	besides, err := s.besides(ctx, p)
	info.Warnings = append(info.Warnings, besides...)
	return info, err
}

// Advise implements [driver.Adviser].
func (s *source) Advise(ctx context.Context, _ driver.Change) ([]string, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return nil, err
	}
	return s.besides(ctx, p)
}

// Owned implements [driver.Source].
func (s *source) Owned(ctx context.Context) ([]driver.Owned, error) {
	l, err := s.layout(ctx)
	if err != nil {
		return nil, err
	}
	paths := []string{l.override()}
	if s.p.Deliver == byEnvFile {
		if paths, err = s.envFilesOfOurs(ctx, l); err != nil {
			return nil, err
		}
	}
	var list []driver.Owned
	for _, name := range paths {
		if name == "" {
			continue
		}
		f, err := s.readFile(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, m := range marksIn(f.text) {
			if s.service != "" && m.Service != s.service {
				continue
			}
			owner := driver.Mark{UID: m.UID, Generation: m.Generation, Connection: s.id.Linker(m.Connection)}
			for _, name := range m.Names {
				list = append(list, driver.Owned{Mark: owner, Name: name})
			}
			if len(m.Names) == 0 {
				list = append(list, driver.Owned{Mark: owner})
			}
		}
	}
	return list, nil
}
