// Package docker is the source driver for an application in a container of Docker
// or Podman. Its endpoint is the container's name; its settings are in the
// container's environment, which only a new container can have differently.
//
// # Made anew
//
// A write makes a container from the configuration of the old one, with the new
// environment, beside it: nothing runs yet, and nothing was stopped. A restart puts
// it in the old one's place, which is kept, stopped, until the change is released.
// What of a container can't be made again is refused before anything is done, and
// what the engine made is compared with what it was asked for before it counts.
//
// # Where things stand
//
// There is no record besides the engine's. Names say what a container of ours is
// (names.go), so that every call, after a crash at any instant, finds out where
// things stand and goes on from there (place.go):
//
//	web                                     is the application
//	web.patchbay-{uid}-g{n}-next1-{id}      has new settings, and will take the place of {id}
//	web.patchbay-{uid}-g{n}-kept-{id}       had that place before {id}, and ran; idle: did not run
//	web.patchbay-{uid}-g{n}-undone-{id}     had that place, and gives it back to {id}
//
// Only one of them runs, except for the moment in which one that is stopped ends.
// Labels (patchbay.dev/{uid}) say whose settings the environment has.
package docker

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/dockerapi"
)

// properties are what a resource of this driver may say besides its endpoint.
type properties struct {
	Engine string `json:"engine"`
	TLS    struct {
		CA         string `json:"ca"`
		ServerName string `json:"serverName"`
	} `json:"tls"`
	Host   string      `json:"host"` // found by the control plane
	Egress []string    `json:"egress"`
	Wait   driver.Wait `json:"wait"`
}

// Driver is the driver for containers.
func Driver() driver.SourceDriver {
	return driver.SourceDriver{
		Driver: description,
		Keeps:  true, Discover: search,
		Open: func(ctx context.Context, c driver.Config) (driver.Source, error) {
			return open(ctx, c)
		},
	}
}

type source struct {
	id     patchbay.ID
	name   string // the container's
	host   hosts.Host
	local  bool     // the host is this machine
	beside bool     // the engine is on the server's own machine
	who    [32]byte // a sum of what we sign in to the engine with
	engine *engine
	egress []netip.Prefix
	limit  time.Duration // to come up
	steady time.Duration // to stay up
	grace  atomic.Int64  // how long the container may take to stop, as last seen
}

var _ interface {
	driver.Source
	driver.Restarter
	driver.Keeper
	driver.Vantage
	driver.Adviser
	driver.Platformed
} = (*source)(nil)

// nameForm is what engines call containers.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// maxName leaves room for what is added to it, in a host name's 255 bytes.
const maxName = 120

func open(ctx context.Context, c driver.Config) (*source, error) {
	var p properties
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	switch {
	case !nameForm.MatchString(c.Endpoint) || len(c.Endpoint) > maxName:
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the endpoint %.80q is no container's name: two or more letters, digits, dots, dashes and underscores, at most %d", c.Endpoint, maxName)
	case ours.MatchString(c.Endpoint):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the container %s is one of Patchbay's own, which are kept for a change's sake", c.Endpoint).
			WithFix("register the application's container: %s", ours.FindStringSubmatch(c.Endpoint)[1])
	}
	s := &source{id: c.ID, name: c.Endpoint, host: c.Host}
	_, s.local = c.Host.(*hosts.Local)
	s.grace.Store(int64(defaultGrace))
	var err error
	if s.limit, s.steady, err = p.Wait.Durations(); err != nil {
		return nil, err
	}
	if s.egress, err = driver.ParseEgress(p.Egress); err != nil {
		return nil, err
	}
	s.who = sumOf(c, p)
	opened, err := dockerapi.Open(ctx, c, dockerapi.Registration{Driver: description.Name, URL: p.Engine, CA: p.TLS.CA, ServerName: p.TLS.ServerName, Host: p.Host})
	if err != nil {
		return nil, err
	}
	s.engine, s.beside = &engine{opened}, dockerapi.Local(c, opened)
	return s, nil
}

func (s *source) lock(ctx context.Context) (unlock func(), err error) {
	return s.engine.Lock(ctx, s.name)
}

// Close implements [driver.Source].
func (s *source) Close() error { return s.engine.Engine.Close() }

// Inspect implements [driver.Source].
func (s *source) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return driver.SourceInfo{}, err
	}
	c := p.current
	image, err := s.check(ctx, c)
	if err != nil {
		return driver.SourceInfo{}, err
	}
	info := driver.SourceInfo{NoFiles: "mount a directory of the host into the container, and register it with the driver envfile"}
	info.Warnings, err = s.warnings(ctx, c, image)
	return info, err
}

// Advise implements [driver.Adviser].
func (s *source) Advise(ctx context.Context, c driver.Change) ([]string, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return nil, err
	}
	return s.lost(ctx, p.current)
}

// warnings are what is worth knowing of a container before it is made anew.
func (s *source) warnings(ctx context.Context, c *container, _ *image) ([]string, error) {
	list, err := s.lost(ctx, c)
	for _, port := range c.chosenPorts() {
		list = append(list, fmt.Sprintf("the engine chooses where port %s of %s is published, and chooses anew with every change", port, s.name))
	}
	if s.engine.Rootless {
		list = append(list, "rootless Podman gives a container that is made through its API the limits of its login (ulimit -a), whatever default_ulimits in containers.conf says")
	}
	if s.engine.Podman && c.restartPolicy().Name == "always" {
		list = append(list, "Podman can't turn off the restart policy of the container that is kept during a change: a machine that is booted in that moment starts both, until the operation goes on")
	}
	return list, err
}

// lost says what of a container's own layer would be gone.
func (s *source) lost(ctx context.Context, c *container) ([]string, error) {
	paths, err := s.engine.changedFiles(ctx, c)
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	const show = 5
	shown := slices.Clone(paths[:min(len(paths), show)])
	for i := range shown {
		shown[i] = driver.Quoted(shown[i])
	}
	text := strings.Join(shown, ", ")
	if more := len(paths) - show; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("what the container %s wrote outside of its volumes is lost when it is made anew: %s (docker diff %s lists it; keep what matters in a volume)", s.name, text, s.name)}, nil
}

// Owned implements [driver.Source].
func (s *source) Owned(ctx context.Context) ([]driver.Owned, error) {
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	var list []driver.Owned
	for _, m := range p.effective().settings.marks() {
		owner := driver.Mark{UID: m.uid, Generation: m.Generation, Connection: s.id.Linker(m.Connection)}
		for _, name := range m.Names {
			list = append(list, driver.Owned{Mark: owner, Name: name})
		}
		if len(m.Names) == 0 {
			list = append(list, driver.Owned{Mark: owner})
		}
	}
	return list, nil
}
