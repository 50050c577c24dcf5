package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// child is a process that probes, as its parent sees it.
type child struct {
	tenant  string // whom it serves
	cmd     *exec.Cmd
	session *yamux.Session
	stderr  tail
	exited  chan struct{} // closed when it has
	probes  int
	rest    *time.Timer // that ends it when it has waited for long
	current atomic.Pointer[probe]
	serving sync.WaitGroup
	once    sync.Once
	died    death
}

// death is how a child ended: by itself, of what it was answered, or not.
type death struct {
	how      string
	byItself bool
}

func (d death) Error() string { return d.how }

// mark is a variable that each child has: a program that does not know that it is
// one must not start more.
const mark = "PATCHBAY_PROBE_CHILD"

// inherited are the variables that a child has of this process's: where the
// system's authorities are, and what TLS an operator lets old servers speak.
var inherited = []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"}

func start(command []string, tenant string) (*child, error) {
	c := &child{tenant: tenant, exited: make(chan struct{})}
	// It outlives the probe that it is started for.
	c.cmd = exec.CommandContext(context.Background(), command[0], command[1:]...) // #nosec G204 -- this program
	c.cmd.Args[0] = os.Args[0]                                                    // as ps shows it
	if IsChild(os.Args[1:]) || os.Getenv(mark) != "" {
		return nil, patchbay.Errorf(patchbay.Internal, "a process that was started to probe starts no other: its program has to ask sandbox.IsChild first of all")
	}
	c.cmd.Env = []string{mark + "=1", "GOMAXPROCS=1", "GOTRACEBACK=none"}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			c.cmd.Env = append(c.cmd.Env, name+"="+value)
		}
	}
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's signals are not for it: its parent ends it
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, noChild(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, noChild(err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, noChild(err)
	}
	if c.session, err = yamux.Client(duplex{stdout, stdin}, muxConfig()); err != nil {
		_ = c.cmd.Process.Kill()
		return nil, noChild(err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is read from its state
		close(c.exited)
	}()
	c.serving.Go(c.serve)
	if _, err := c.session.Ping(); err != nil { // it confines itself before it answers
		return nil, noChild(fmt.Errorf("it ends before it begins (%w)", c.end()))
	}
	return c, nil
}

func noChild(err error) error {
	return patchbay.Errorf(patchbay.Internal, "no process can be started to sign in with: %w", err).
		WithFix("see that the server may start processes, and has memory for them").AsTransient()
}

// serve gives the current probe what the child asks for.
func (c *child) serve() {
	for {
		stream, err := c.session.AcceptStream()
		if err != nil {
			return
		}
		p := c.current.Load()
		if p == nil {
			_ = stream.Close() // what a library still wants after its probe has ended
			continue
		}
		c.serving.Go(func() { p.serve(stream) })
	}
}

// run has the child probe. An error that is not a [patchbay.Error] says that it
// did not answer.
func (c *child) run(p *probe, q request) (driver.ProbeResult, error) {
	c.probes++
	c.current.Store(p)
	defer c.current.Store(nil)
	stop := context.AfterFunc(p.ctx, func() { _ = c.session.Close() }) // out of time, or too many bytes
	defer stop()
	stream, err := c.session.OpenStream()
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer func() { _ = stream.Close() }()
	if err := write(stream, q); err != nil {
		return driver.ProbeResult{}, err
	}
	var a answer
	if err := read(stream, &a); err != nil {
		return driver.ProbeResult{}, err
	}
	if !stop() {
		return driver.ProbeResult{}, errors.New("it was stopped")
	}
	return a.open()
}

// wakeUp reports whether a child that waited is still there.
func (c *child) wakeUp() bool {
	c.rest.Stop()
	return !c.session.IsClosed()
}

// end ends the child, and says how it had ended before.
func (c *child) end() death {
	c.once.Do(func() {
		if c.rest != nil {
			c.rest.Stop()
		}
		select {
		case <-c.exited:
		case <-c.session.CloseChan(): // its last words are on their way
			select {
			case <-c.exited:
			case <-time.After(200 * time.Millisecond):
			}
		default:
		}
		_ = c.session.Close()
		_ = c.cmd.Process.Kill()
		<-c.exited
		c.serving.Wait()
		c.died = c.stderr.death(c.cmd.ProcessState)
	})
	return c.died
}

// tail keeps the beginning of what a child writes when it dies. It is read for
// what it is about, and never shown: there may be a secret in it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 4096 - t.text.Len(); room > 0 {
		t.text.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}

// death names how a child ended, in words of ours. One that was killed, and had
// not used its processor time up, was killed by somebody else, or for having been
// without an answer.
func (t *tail) death(state *os.ProcessState) death {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.text.String()
	contains := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case slices.ContainsFunc([]string{"out of memory", "cannot allocate memory", "len out of range", "cap out of range"}, contains):
		return death{"it would need more memory than there is", true}
	case state.UserTime()+state.SystemTime() > maxCPU/2: // its limit counts otherwise than what it reports
		return death{"it would compute without an end", true}
	case contains("failed to create new OS thread"):
		return death{"the system gives it no thread", false}
	case contains("panic"), contains("fatal error"):
		return death{"it crashes", true}
	}
	return death{state.String(), state.ExitCode() > 0}
}

// duplex is the two pipes of a child.
type duplex struct {
	io.ReadCloser
	w io.WriteCloser
}

func (d duplex) Write(b []byte) (int, error) { return d.w.Write(b) }

func (d duplex) Close() error { return errors.Join(d.w.Close(), d.ReadCloser.Close()) }

func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false // a pipe says by itself that its other end is gone
	c.LogOutput = io.Discard
	return c
}
