package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

// RestartLimit implements [driver.Restarter].
func (s *source) RestartLimit() time.Duration {
	// Two containers may have to end, each in its own time; the engine needs some too.
	return s.limit + s.steady + 2*time.Duration(s.grace.Load()) + 30*time.Second
}

// Restart implements [driver.Restarter]: the container whose settings count gets the
// application's name, is the only one that runs, and is waited for.
func (s *source) Restart(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.look(ctx)
	if err != nil {
		return err
	}
	if p.current.State.Paused {
		return patchbay.Errorf(patchbay.RestartFailed, "the container %s is paused, and can't be stopped", s.name).WithFix("docker unpause %s", s.name)
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	if len(p.staged) > 0 {
		if err := s.swap(ctx, p); err != nil {
			return err
		}
	}
	if err := s.clear(ctx, p, false); err != nil {
		return err
	}
	run, err := s.takeOver(ctx, p)
	if err != nil || !run {
		return err
	}
	return s.await(ctx, p)
}

// swap gives the application's name to the container that is to take its place.
// What had it tells by its new name whether it ran, so that whoever goes on after a
// crash knows whether something must run.
func (s *source) swap(ctx context.Context, p *place) error {
	last := p.staged[len(p.staged)-1]
	wanted := last.role == next || last.role == nextRan // what it replaces is kept
	ran := p.current.running() || last.role == nextRan || last.role == backRan
	if p.current.State.Restarting {
		// Between two starts, Docker renames none. Stopped, it no longer tells by
		// itself that it ran.
		last.role = backRan
		if wanted {
			last.role = nextRan
		}
		if err := s.engine.rename(ctx, last.ID, last.of(s.name)); err != nil {
			return err
		}
		if err := s.engine.stop(ctx, p.current.ID); err != nil {
			return err
		}
	}
	was := label{uid: last.uid, generation: last.generation, other: short(last.ID)}
	switch {
	case wanted && ran:
		was.role = kept
	case wanted:
		was.role = idle
	case ran:
		was.role = undone
	default:
		was.role = undoneIdle
	}
	if err := failpoint.Hit(ctx, "docker/restart/before-names"); err != nil {
		return err
	}
	if err := s.engine.rename(ctx, p.current.ID, was.of(s.name)); err != nil {
		return err
	}
	if err := failpoint.Hit(ctx, "docker/restart/between-names"); err != nil {
		return err
	}
	if err := s.engine.rename(ctx, last.ID, s.name); err != nil {
		return err
	}
	p.others = append(p.others, &sibling{was, p.current})
	p.others = append(p.others, p.staged[:len(p.staged)-1]...)
	p.current, p.staged = last.container, nil
	return nil
}

// takeOver stops what had the application's place, and starts what has it; run is
// whether the application is to run at all.
func (s *source) takeOver(ctx context.Context, p *place) (run bool, err error) {
	run = p.current.running()
	had := p.with(undone, undoneIdle)
	if had == nil {
		had = p.with(kept, idle)
	}
	if had == nil {
		if !run {
			return false, nil
		}
		if err := s.engine.restart(ctx, p.current.ID); err != nil {
			return true, s.notStarted(ctx, p, err)
		}
		return true, nil
	}
	run = had.role == kept || had.role == undone
	switch had.role {
	case kept, idle:
		// Stopped by us, an engine that is started anew would run it again.
		if !had.restartPolicy().off() {
			if err := s.engine.setPolicy(ctx, had.ID, policy{Name: "no"}); err != nil {
				return run, err
			}
		}
	default:
		if p.current.restartPolicy().off() && !had.restartPolicy().off() {
			if err := s.engine.setPolicy(ctx, p.current.ID, had.restartPolicy()); err != nil {
				return run, err
			}
		}
	}
	if had.running() {
		if err := s.engine.stop(ctx, had.ID); err != nil {
			return run, err
		}
	}
	if err := failpoint.Hit(ctx, "docker/restart/between-containers"); err != nil {
		return run, err
	}
	if run && !p.current.State.Running {
		if err := s.engine.start(ctx, p.current.ID); err != nil {
			return run, s.notStarted(ctx, p, err)
		}
	}
	if err := failpoint.Hit(ctx, "docker/restart/after-start"); err != nil {
		return run, err
	}
	if had.role == undone || had.role == undoneIdle {
		return run, s.engine.remove(ctx, had.ID)
	}
	return run, nil
}

// boundTo finds what could not be bound in an engine's words.
var boundTo = regexp.MustCompile(`(?:Bind for|listen (?:tcp|udp)[46]?) ([0-9a-f.:\[\]]+?):? (?:failed|bind)`)

// notStarted is what keeps a container from being started.
func (s *source) notStarted(ctx context.Context, p *place, err error) error {
	var known *patchbay.Error
	if ctx.Err() != nil || !errors.As(err, &known) || known.Code != patchbay.SettingsUnwritable && known.Code != patchbay.SourceNotFound {
		return err
	}
	said := err.Error()
	for cause := errors.Unwrap(known); cause != nil; cause = errors.Unwrap(cause) {
		said = cause.Error() // the engine's own words, in whole
	}
	if strings.Contains(said, "address already in use") || strings.Contains(said, "already allocated") {
		where := ""
		if m := boundTo.FindStringSubmatch(said); m != nil {
			where = " (" + driver.Quoted(m[1]) + ")"
		}
		return patchbay.Errorf(patchbay.RestartFailed, "the container %s can't be started: an address that it publishes%s is in use", s.name, where).
			WithFix("find out who has it (ss -ltnp, docker ps), and stop that")
	}
	failed := patchbay.Errorf(patchbay.RestartFailed, "the container %s can't be started: %s", s.name, driver.LastWords([]byte(said), p.current.settings.values()))
	return failed.WithFix("docker start %s   (on that machine, to see all that it says)", s.name)
}

// await waits until the application is up: healthy where it has a health check,
// otherwise running for some time without a restart.
func (s *source) await(ctx context.Context, p *place) error {
	deadline := time.NewTimer(s.limit + s.steady)
	defer deadline.Stop()
	tick := time.NewTicker(min(max(s.steady/4, 20*time.Millisecond), 200*time.Millisecond))
	defer tick.Stop()
	var since time.Time // when it was first seen to run as it does
	var seen container
	ended := 0 // the exit code of the last life that was seen to end
	for {
		c, err := s.engine.inspect(ctx, p.current.ID)
		if err != nil {
			return err
		}
		if c == nil {
			return patchbay.Errorf(patchbay.RestartFailed, "somebody removed the container %s while it was waited for", s.name)
		}
		if c.State.Restarting {
			ended = c.State.ExitCode
		}
		health := ""
		if c.State.Health != nil && c.State.Health.Status != "none" {
			health = c.State.Health.Status
		}
		switch {
		case !c.running():
			return s.failed(ctx, c, "ended")
		case health == "unhealthy":
			return s.failed(ctx, c, "is unhealthy")
		case health == "healthy":
			return nil
		case c.State.Restarting, c.RestartCount != seen.RestartCount, !c.State.StartedAt.Equal(seen.State.StartedAt):
			since = time.Now()
		case health == "" && time.Since(since) >= s.steady:
			return nil
		}
		seen = *c
		select {
		case <-tick.C:
		case <-deadline.C:
			if c.State.Restarting || c.RestartCount > 0 {
				c.State.ExitCode = cmp.Or(c.State.ExitCode, ended) // it may be in another life right now
				return s.failed(ctx, c, "does not stay up")
			}
			return s.failed(ctx, c, fmt.Sprintf("is not up after %s", s.limit))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed says how an application failed, with its last words.
func (s *source) failed(ctx context.Context, c *container, how string) error {
	text := fmt.Sprintf("the application in the container %s %s", s.name, how)
	if !c.State.Running || c.State.ExitCode != 0 {
		text += fmt.Sprintf(" with exit code %d", c.State.ExitCode)
	}
	if c.State.OOMKilled {
		text += ", killed for want of memory"
	}
	if c.RestartCount > 0 {
		text += fmt.Sprintf(", restarted %d times", c.RestartCount)
	}
	settings := c.settings.values()
	if h := c.State.Health; h != nil && len(h.Log) > 0 {
		last := h.Log[len(h.Log)-1]
		if words := driver.LastWords([]byte(last.Output), settings); last.ExitCode != 0 && words != "" {
			text += "; its health check says: " + words
		}
	}
	if words := driver.LastWords(s.engine.lastLog(ctx, c), settings); words != "" {
		text += "; it last said: " + words
	}
	return patchbay.Errorf(patchbay.RestartFailed, "%s", text).WithFix("docker logs %s   (on that machine)", s.name)
}
