// Package containerevents tells of what happens to containers, by the events of an
// engine's API, Docker's. All who watch an engine share one stream.
package containerevents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"
	"time"

	"patchbay.dev/patchbay/sources/internal/eventstreams"
)

// Key tells one engine, and who we are to it, from another: what is told to one is told
// to nobody else.
type Key struct {
	Host        any // the machine; one that can't be compared is shared with nobody
	Address     string
	Credentials [32]byte // a sum of them
}

// Engine is the API.
type Engine struct {
	Key
	// Get asks, and gives the body of the answer, which the caller closes.
	Get func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error)
	// Now is the time by the engine's clock, or before.
	Now func(ctx context.Context) (time.Time, error)
}

// Container is one that something has happened to.
type Container struct {
	Name   string
	Was    string // its name before, where that has changed
	Labels map[string]string
}

// streams has those of this process.
var streams eventstreams.Streams[Key, Container]

// Watch calls changed after what happens to containers that match, and at first when
// nothing is missed any more. It returns nil when ctx ends.
func Watch(ctx context.Context, e Engine, match func(Container) bool, changed func()) error {
	if !reflect.ValueOf(e.Host).Comparable() {
		e.Host = new(byte)
	}
	return streams.Watch(ctx, e.Key, e.follow, match, changed)
}

// event is what an engine tells.
type event struct {
	Type, Action string
	// HealthStatus is Podman's, whose action is the same whatever it says.
	HealthStatus string
	Actor        struct {
		ID         string
		Attributes map[string]string
	}
}

// aside are actions that leave a container what and where it is. There are many of
// them: a health check is an exec.
var aside = []string{"exec_", "attach", "detach", "top", "resize", "copy", "archive-path", "extract-to-dir", "export", "commit", "mount", "unmount", "sync"}

func (e event) aside() bool {
	for _, action := range aside {
		if strings.HasPrefix(e.Action, action) {
			return true
		}
	}
	return false
}

// maxEvent bounds one event, and the list of containers; in bytes.
const (
	maxEvent = 1 << 20
	maxList  = 64 << 20
)

// follow reads an engine's events. An engine answers before it listens itself: it is
// asked for what happened since before the question.
func (e Engine) follow(ctx context.Context, tell func(*Container)) error {
	now, err := e.Now(ctx)
	if err != nil {
		return err
	}
	body, err := e.Get(ctx, "/events", url.Values{
		"filters": {`{"type":["container","network"]}`}, "since": {fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())},
	})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	known, err := e.containers(ctx)
	if err != nil {
		return err
	}
	tell(nil)
	health := map[string]string{}
	bounded := &bounded{r: body}
	for events := json.NewDecoder(bounded); ; {
		bounded.left = maxEvent
		var one event
		if err := events.Decode(&one); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the engine stops
			}
			return fmt.Errorf("its events: %w", err)
		}
		id := one.Actor.ID
		switch {
		case one.aside():
		case one.Type == "network":
			if c, ok := known[one.Actor.Attributes["container"]]; ok && (one.Action == "connect" || one.Action == "disconnect") {
				tell(&c)
			}
		case one.Type == "container":
			c := Container{Name: one.Actor.Attributes["name"], Labels: one.Actor.Attributes}
			if before, ok := known[id]; ok && before.Name != c.Name {
				c.Was = before.Name
			}
			if one.Action == "destroy" || one.Action == "remove" {
				delete(known, id)
				delete(health, id)
			} else {
				known[id] = Container{Name: c.Name, Labels: c.Labels}
			}
			if strings.HasPrefix(one.Action, "health_status") {
				is := one.Action + one.HealthStatus
				if health[id] == is { // Podman tells of each check
					continue
				}
				health[id] = is
			}
			tell(&c)
		}
	}
}

// containers are those that there are, by their ids.
func (e Engine) containers(ctx context.Context) (map[string]Container, error) {
	body, err := e.Get(ctx, "/containers/json", url.Values{"all": {"1"}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var list []struct {
		ID     string `json:"Id"`
		Names  []string
		Labels map[string]string
	}
	if err := json.NewDecoder(io.LimitReader(body, maxList)).Decode(&list); err != nil {
		return nil, fmt.Errorf("its containers: %w", err)
	}
	all := map[string]Container{}
	for _, one := range list {
		c := Container{Labels: one.Labels}
		for _, name := range one.Names {
			if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") { // no other's link to it
				c.Name = name
			}
		}
		all[one.ID] = c
	}
	return all, nil
}

// bounded reads no more than is left.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("one is larger than %d bytes", maxEvent)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
