package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// RestartLimit implements [driver.Restarter].
func (s *source) RestartLimit() time.Duration { return s.limit + s.steady + slack }

const (
	// slack is for what is asked before and after the waiting.
	slack = 15 * time.Second
	// look is how often a unit that is waited for is looked at.
	lookEvery = 250 * time.Millisecond
)

// Restart implements [driver.Restarter].
func (s *source) Restart(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	u, err := s.settled(within)
	switch {
	case err != nil && u.queued() && ctx.Err() == nil:
		return nil // when its turn comes, it starts with the new settings
	case err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded):
		return s.failed(ctx, "", "it is %s (%s) for longer than %s, with the settings that it was started with", u.facts["ActiveState"], u.facts["SubState"], s.limit)
	case err != nil:
		return err
	case u.missing() && !u.running():
		return s.notFound()
	case !u.running():
		return nil // whoever starts it, starts it with the new settings
	}
	verb := "restart"
	if s.reload {
		verb = "reload"
	}
	_, err = s.systemctl(within, verb, "--", s.unit)
	if isFailure(err) {
		// A restart of ours is none of those that systemd counts against the unit.
		if u, showErr := s.show(within, s.unit); showErr == nil && u.is("Result", "start-limit-hit") {
			_, _ = s.systemctl(within, "reset-failed", "--", s.unit)
			_, err = s.systemctl(within, verb, "--", s.unit)
		}
	}
	if err != nil && !isFailure(err) && within.Err() == nil {
		return fault(patchbay.RestartFailed, s.unit, err)
	}
	if ctx.Err() != nil {
		return interrupted(ctx.Err())
	}
	began, showErr := s.show(ctx, s.unit)
	if showErr != nil {
		return showErr
	}
	since := began.facts["ExecMainStartTimestamp"]
	f := (*failure)(nil)
	switch {
	case within.Err() != nil:
		return s.failed(ctx, since, "it did not come up in %s: it is %s (%s)", s.limit, began.facts["ActiveState"], began.facts["SubState"])
	case errors.As(err, &f) && !s.answers(began):
		return s.failed(ctx, since, "systemctl %s failed: %s", verb, driver.LastWords([]byte(f.output), nil))
	case err != nil:
		return s.failed(ctx, since, "it did not come up: %s", result(began))
	}
	return s.stays(ctx, began, since)
}

// answers reports whether the unit's own result says why a command failed; otherwise
// the command does (the unit is masked, say).
func (s *source) answers(u unit) bool {
	return u.is("LoadState", "loaded") && (u.is("ActiveState", "failed") || u.is("SubState", "auto-restart")) && !u.is("Result", "success")
}

func isFailure(err error) bool {
	f := (*failure)(nil)
	return errors.As(err, &f)
}

// settled waits while the unit is on its way down, has been asked to start and has not
// begun, or does a piece of work that a restart would break off and that ends by itself.
func (s *source) settled(ctx context.Context) (unit, error) {
	var u unit
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now, err := s.show(ctx, s.unit)
		if err != nil {
			return u, err
		}
		u = now
		working := u.is("Type", "oneshot") && u.is("ActiveState", "activating") && !u.is("SubState", "auto-restart")
		if !u.is("ActiveState", "deactivating") && !u.queued() && !working {
			return u, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return u, ctx.Err()
		}
	}
}

// stays waits until the unit has been up for long enough, in the life that it was
// started for.
func (s *source) stays(ctx context.Context, began unit, since string) error {
	end := time.NewTimer(s.steady)
	defer end.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	u := began
	for last := s.steady == 0; ; {
		switch {
		case !u.is("InvocationID", began.facts["InvocationID"]), !u.is("NRestarts", began.facts["NRestarts"]), u.is("SubState", "auto-restart"):
			return s.endedAgain(ctx, u, since)
		case !u.is("ActiveState", "active") && !u.is("ActiveState", "reloading") && !u.is("ActiveState", "refreshing"):
			if oneshot := u.is("Type", "oneshot") && u.is("Result", "success"); oneshot {
				return nil // it did its work
			}
			return s.endedAgain(ctx, u, since)
		}
		if last {
			return nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			last = true
		case <-ctx.Done():
			return interrupted(ctx.Err())
		}
		var err error
		if u, err = s.show(ctx, s.unit); err != nil {
			return err
		}
	}
}

// endedAgain looks for how the unit ends: one that is started again and again has
// most of the time nothing to tell.
func (s *source) endedAgain(ctx context.Context, u unit, since string) error {
	tick := time.NewTicker(lookEvery / 5)
	defer tick.Stop()
	for range 20 {
		if !u.is("ExecMainCode", "0") {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return interrupted(ctx.Err())
		}
		next, err := s.show(ctx, s.unit)
		if err != nil {
			return err
		}
		u = next
	}
	how := result(u)
	if u.is("ExecMainCode", "0") {
		how = "it is started again and again"
	}
	return s.failed(ctx, since, "it came up, and ended again: %s", how)
}

// result is what the manager says of how a unit ended, for people.
func result(u unit) string {
	status := u.facts["ExecMainStatus"]
	switch u.facts["ExecMainCode"] {
	case "1":
		status = "exit code " + status
	case "2":
		status = "ended by signal " + status
	case "3":
		status = "ended by signal " + status + ", with a core dump"
	default:
		status = "it was never started"
	}
	switch u.facts["Result"] {
	case "success", "exit-code", "signal", "core-dump":
		return status
	case "timeout":
		return "it did not say that it is ready within its own TimeoutStartSec="
	case "start-limit-hit":
		return "it was started too often (StartLimitBurst=)"
	case "resources":
		return "systemd could not give it what it needs (resources)"
	case "oom-kill":
		return "it ran out of memory (oom-kill)"
	case "protocol":
		return "it ended before it said that it is ready (protocol)"
	}
	return fmt.Sprintf("%s (%s)", status, u.facts["Result"])
}

// failed is RestartFailed with what the unit last said since then, a time as systemd
// writes it.
func (s *source) failed(ctx context.Context, since string, format string, args ...any) error {
	message := s.unit + ": " + fmt.Sprintf(format, args...)
	if said := s.said(ctx, since); said != "" {
		message += "; it last said: " + said
	}
	return patchbay.Errorf(patchbay.RestartFailed, "%s", message).
		WithFix("systemctl %sstatus %s   (on the host)", s.flag(), quoted(s.unit))
}

// said is what the journal has of the unit. It may have it a moment later than the
// manager has noticed the end, and of a process that ended at once it knows the unit and
// not which life of it that was.
func (s *source) said(ctx context.Context, since string) string {
	// Without the settings there is nothing to compare with, and nothing to show.
	now, err := s.read(ctx)
	if err != nil || since == "" {
		return ""
	}
	field := "_SYSTEMD_UNIT="
	if s.manager.user {
		field = "_SYSTEMD_USER_UNIT="
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for range 4 {
		out, err := s.journalctl(ctx, "--output=cat", "--lines=20", "--since="+since, field+now.facts["Id"])
		if err != nil {
			return ""
		}
		if said := driver.LastWords([]byte(out), now.settings()); said != "" {
			return said
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ""
		}
	}
	return ""
}

// startAgain starts a unit that was running, and went down with what is taken back.
// Restart, which comes next, waits for it.
func (s *source) startAgain(ctx context.Context) error {
	u, err := s.show(ctx, s.unit)
	if err != nil || u.running() {
		return err
	}
	if u.is("ActiveState", "deactivating") || u.is("Type", "oneshot") && !u.is("RemainAfterExit", "yes") {
		return nil
	}
	for _, args := range [][]string{{"reset-failed", "--", s.unit}, {"start", "--no-block", "--", s.unit}} {
		if _, err := s.systemctl(ctx, args...); err != nil && !isFailure(err) {
			return fault(patchbay.SettingsUnwritable, s.unit, err)
		}
	}
	return nil
}
