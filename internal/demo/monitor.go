package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// monitor runs the application and remembers what it says.
type monitor struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with every event
	signedIn int
	refused  int
	users    map[string]bool
	last     event
}

// start begins the application as a process of its own, which dies with this
// one.
func start(ctx context.Context, exe string, args ...string) (*monitor, error) {
	cmd := exec.CommandContext(ctx, exe, append([]string{AppCommand}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m := &monitor{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{}), users: map[string]bool{}}
	go func() {
		defer close(m.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				m.note(e)
			}
		}
		_ = cmd.Wait() // how it ended is in its last words
	}()
	return m, nil
}

func (m *monitor) note(e event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Kind {
	case "signedIn":
		m.signedIn++
		m.users[e.User] = true
	case "refused":
		m.refused++
	}
	m.last = e
	close(m.changed)
	m.changed = make(chan struct{})
}

// counts are the sign-ins that worked, those that were refused, and how many
// logins they used.
func (m *monitor) counts() (signedIn, refused, users int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.signedIn, m.refused, len(m.users)
}

// words are the last that the application said.
func (m *monitor) words() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.Text
}

// until waits for something to hold of what the application says.
func (m *monitor) until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-m.done:
			if holds() {
				return nil
			}
			return fmt.Errorf("the application stopped before %s: %s", what, m.words())
		case <-ctx.Done():
			return fmt.Errorf("the application did not come to %s: %s", what, m.words())
		}
	}
}

// worksAnew waits for three more sign-ins that work.
func (m *monitor) worksAnew(ctx context.Context) error {
	before, _, _ := m.counts()
	return m.until(ctx, "work", func() bool { now, _, _ := m.counts(); return now >= before+3 })
}

// stop ends the application.
func (m *monitor) stop() error {
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-m.done
	return nil
}
