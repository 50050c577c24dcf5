package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
)

// RestartLimit implements [driver.Restarter].
func (s *source) RestartLimit() time.Duration {
	// The containers of a service end side by side; Compose needs some time too.
	return s.limit + s.steady + 2*time.Duration(s.grace.Load()) + time.Minute
}

// note is the file that says that a service ran when a restart of it began, and must
// run when one ends: Compose takes the old container away before it starts the new
// one, and a container that has ended does not say whether somebody wanted that.
func (s *source) note(p *project) string {
	return path.Join(p.dir, ".patchbay-"+p.service.name+".restarting")
}

const noteText = "Patchbay was making this service anew, and had not ended. The next try removes this.\n"

// Restart implements [driver.Restarter]: the service is made anew by Compose, where it
// has not the settings that the project gives it, and started anew otherwise.
func (s *source) Restart(ctx context.Context) error {
	p, err := s.look(ctx)
	if err != nil {
		return err
	}
	if len(p.containers) == 0 { // somebody took it down, and whoever starts it has the settings
		return s.unnote(ctx, p)
	}
	if err := s.check(ctx, p); err != nil {
		return err
	}
	if slices.ContainsFunc(p.containers, func(c *container) bool { return c.State.Paused }) {
		return patchbay.Errorf(patchbay.RestartFailed, "the service %s is paused, and can't be stopped", p.service.name).WithFix("%s", s.invocation(p.layout, "unpause "+p.service.name))
	}
	if grace, err := time.ParseDuration(p.service.StopGrace); err == nil {
		s.grace.Store(int64(grace))
	}
	runs := slices.ContainsFunc(p.containers, (*container).running)
	if !p.noted && !runs {
		if p.current() {
			return nil
		}
		return s.makeAnew(ctx, p, true)
	}
	if p.noted {
		if err := s.mend(ctx, p); err != nil {
			return err
		}
	} else {
		err := s.host.ReplaceFile(ctx, hosts.Replacement{Path: s.note(p), Content: []byte(noteText), Temp: temp(s.note(p), "note"), Mode: s.mode})
		if err != nil {
			return s.unwritable(s.note(p), err)
		}
	}
	if err := failpoint.Hit(ctx, "compose/restart/before-up"); err != nil {
		return err
	}
	all := !slices.ContainsFunc(p.containers, func(c *container) bool { return !c.State.Running })
	if all && p.current() {
		err = s.compose(ctx, p, "restart", noDeps, p.service.name)
	} else {
		err = s.makeAnew(ctx, p, false)
	}
	if err != nil {
		return err
	}
	if err := failpoint.Hit(ctx, "compose/restart/after-up"); err != nil {
		return err
	}
	if err := s.await(ctx, p); err != nil {
		return err
	}
	return s.unnote(ctx, p)
}

func (s *source) unnote(ctx context.Context, p *project) error {
	if !p.noted {
		f, err := s.readFile(ctx, s.note(p))
		if err != nil || !f.exists {
			return err
		}
	}
	if err := s.host.RemoveFile(ctx, s.note(p), hosts.Sum([]byte(noteText))); err != nil {
		return s.unwritable(s.note(p), err)
	}
	return nil
}

const noDeps = "--no-deps"

// up is what makes the service anew, and nothing else: of the image that is there, in
// as many containers as there are.
func (s *source) up(p *project, stopped bool) []string {
	args := []string{"up", "--detach", noDeps, "--no-build", "--pull", "never"}
	if stopped {
		args = []string{"up", "--no-start", noDeps, "--no-build", "--pull", "never"}
	}
	numbers := map[string]bool{}
	for _, c := range p.containers {
		numbers[c.label("container-number")] = true
	}
	if n := len(numbers); n > 0 && n != p.service.scale() {
		args = append(args, "--scale", p.service.name+"="+strconv.Itoa(n))
	}
	return append(args, p.service.name)
}

// makeAnew has Compose make the service anew, and no other one. Told not to look at what
// the service depends on, Compose would also forget it: it keeps the dependencies in a
// label, for whoever stops the project without its files. So it is only told where it
// would do something to one of them.
func (s *source) makeAnew(ctx context.Context, p *project, stopped bool) error {
	args := s.up(p, stopped)
	if len(p.service.DependsOn) > 0 {
		withDeps := func(args []string) []string {
			return slices.DeleteFunc(args, func(a string) bool { return a == noDeps })
		}
		// Nothing is started, not even in play: Compose plays no start of what has configs.
		result, err := s.run(ctx, p.layout, nil, slices.Concat([]string{"--progress", "json", "--dry-run"}, s.flags(p.layout), withDeps(s.up(p, true)))...)
		if err != nil {
			return err
		}
		if result.Exit == 0 && p.alone(result.Output) {
			args = withDeps(args)
		}
	}
	return s.compose(ctx, p, args...)
}

// alone reports whether Compose would do nothing to another service's containers.
func (p *project) alone(said []byte) bool {
	for line := range bytes.Lines(said) {
		var event struct{ ID, Status string }
		if json.Unmarshal(line, &event) != nil {
			continue
		}
		name, ok := strings.CutPrefix(event.ID, "Container ")
		if m := replacing.FindStringSubmatch(name); m != nil {
			name = m[2]
		}
		ours := slices.ContainsFunc(p.containers, func(c *container) bool { return c.Name == name })
		if ok && !ours && event.Status != "Running" { // it would be made anew, or be started
			return false
		}
	}
	return true
}

// replacing is what Compose calls a container that is to replace another one.
var replacing = regexp.MustCompile(`^([0-9a-f]{12})_(.+)$`)

// mend ends what Compose had begun when it died: it would leave the new container
// beside the old one, or under the name that it has until that is gone.
func (s *source) mend(ctx context.Context, p *project) error {
	for i, c := range slices.Backward(p.containers) {
		m := replacing.FindStringSubmatch(c.Name)
		if m == nil || c.label("replace") == "" {
			continue
		}
		if slices.ContainsFunc(p.containers, func(other *container) bool { return strings.HasPrefix(other.ID, m[1]) }) {
			if c.running() {
				continue
			}
			if err := s.engine.remove(ctx, c.ID); err != nil {
				return err
			}
			p.containers = slices.Delete(p.containers, i, i+1)
		} else if err := s.engine.rename(ctx, c.ID, m[2]); err != nil {
			return err
		}
	}
	return nil
}

// raced are the words of an engine to which two speak at once: a Compose that a dead
// server has left may still be at work.
var raced = regexp.MustCompile(`(?i)is already in use by container|no such container|is already in progress|marked for removal`)

// compose runs Compose on the service. What it makes it can make again.
func (s *source) compose(ctx context.Context, p *project, args ...string) error {
	var result hosts.Result
	var err error
	for range 3 {
		result, err = s.run(ctx, p.layout, nil, slices.Concat(s.flags(p.layout), args)...)
		if err != nil {
			return err
		}
		if result.Exit == 0 {
			return nil
		}
		if !raced.Match(result.Output) {
			break
		}
	}
	output := failure(result.Output)
	said := words(longID.ReplaceAll(output, nil), s.all(p))
	failed := patchbay.Errorf(patchbay.RestartFailed, "Compose can't make the service %s anew: %s", p.service.name, said)
	switch {
	case bytes.Contains(output, []byte("address already in use")), bytes.Contains(output, []byte("already allocated")):
		return failed.WithFix("find out who has that port (ss -ltnp, docker ps), and stop it")
	case bytes.Contains(bytes.ToLower(output), []byte("no such image")):
		return failed.WithFix("%s   (or build)", s.invocation(p.layout, "pull "+p.service.name))
	}
	return failed.WithFix("%s   (on that machine, to see all that it says)", s.invocation(p.layout, "up --detach --no-deps "+p.service.name))
}

// longID is a container's, which says nothing to anybody.
var longID = regexp.MustCompile(` \(?[0-9a-f]{64}\)?`)

// failure leaves what tells how far Compose got out of what it said.
func failure(said []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(said) {
		if !progress.Match(line) {
			kept = append(kept, line...)
		}
	}
	return kept
}

var progress = regexp.MustCompile(`^ ?(Container|Network|Volume) \S+ +[A-Z][a-z]+\s*$`)

// all are the values that nothing may show: what the service has, and what it had.
func (s *source) all(p *project) map[string]patchbay.Secret {
	all := secrets(p.effective())
	for i, c := range p.containers {
		for name, value := range c.values() {
			all[fmt.Sprintf("%d %s", i, name)] = patchbay.NewSecret(value)
		}
	}
	return all
}

// await waits until the application is up: all of its containers healthy where they
// have a health check, otherwise running for some time without a restart.
func (s *source) await(ctx context.Context, p *project) error {
	deadline := time.NewTimer(s.limit + s.steady)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	type seen struct {
		container
		since time.Time // when it was first seen to run as it does
	}
	known := map[string]seen{}
	for {
		list, err := s.engine.containers(ctx, p.name, p.service.name)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return patchbay.Errorf(patchbay.RestartFailed, "somebody took the service %s down while it was waited for", p.service.name)
		}
		up := true
		for _, c := range list {
			health := ""
			if c.State.Health != nil && c.State.Health.Status != "none" {
				health = c.State.Health.Status
			}
			was, ok := known[c.ID]
			if !ok || c.State.Restarting || c.RestartCount != was.RestartCount || !c.State.StartedAt.Equal(was.State.StartedAt) {
				was.since = time.Now()
			}
			was.container = *c
			known[c.ID] = was
			switch {
			case !c.running():
				return s.failed(ctx, p, c, "ended")
			case health == "unhealthy":
				return s.failed(ctx, p, c, "is unhealthy")
			case health == "healthy":
			default:
				up = up && health == "" && !c.State.Restarting && time.Since(was.since) >= s.steady
			}
		}
		if up {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			for _, c := range list {
				if c.State.Restarting || c.RestartCount > 0 {
					return s.failed(ctx, p, c, "does not stay up")
				}
			}
			for _, c := range list {
				if c.State.Health != nil && c.State.Health.Status != "healthy" {
					return s.failed(ctx, p, c, fmt.Sprintf("is not up after %s", s.limit))
				}
			}
			return s.failed(ctx, p, list[0], fmt.Sprintf("is not up after %s", s.limit))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed says how an application failed, with its last words.
func (s *source) failed(ctx context.Context, p *project, c *container, how string) error {
	text := fmt.Sprintf("the application in the container %s %s", c.Name, how)
	if !c.State.Running {
		text += fmt.Sprintf(" with exit code %d", c.State.ExitCode)
	}
	if c.State.OOMKilled {
		text += ", killed for want of memory"
	}
	if c.RestartCount > 0 {
		text += fmt.Sprintf(", restarted %d times", c.RestartCount)
	}
	settings := s.all(p)
	for name, value := range c.values() {
		settings["now "+name] = patchbay.NewSecret(value)
	}
	if h := c.State.Health; h != nil && len(h.Log) > 0 {
		last := h.Log[len(h.Log)-1]
		if words := driver.LastWords([]byte(last.Output), settings); last.ExitCode != 0 && words != "" {
			text += "; its health check says: " + words
		}
	}
	if words := driver.LastWords(s.engine.lastLog(ctx, c), settings); words != "" {
		text += "; it last said: " + words
	}
	return patchbay.Errorf(patchbay.RestartFailed, "%s", text).WithFix("%s   (on that machine)", s.invocation(p.layout, "logs "+p.service.name))
}
