package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// namespace is a container's network, entered by the kernel's own door.
type namespace struct {
	*resolver
	file *os.File
}

// maxNames bounds a container's files about names, in bytes.
const maxNames = 256 << 10

// enter opens the network of a container that runs on this machine; its error is for
// people.
func (s *source) enter(ctx context.Context, c *container) (inside, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.State.Pid))
	if err != nil {
		return nil, fmt.Errorf("Patchbay may not enter its network: %w", withoutPath(err))
	}
	// Another machine's process, or another one by now, may have that number here.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.State.Pid))
	if err != nil || !strings.Contains(string(groups), c.ID) {
		_ = file.Close()
		return nil, errors.New("its process is none of this machine's, or is hidden")
	}
	n := &namespace{file: file}
	names := make([]string, 2)
	for i, path := range []string{c.ResolvConfPath, c.HostsPath} {
		if path == "" {
			continue // of the host's network: Podman has none of its own there
		}
		content, err := s.host.ReadFile(ctx, path, maxNames)
		if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("what its names mean can't be read: %w", err)
		}
		names[i] = string(content.Content)
	}
	n.resolver = parseResolver(names[0], names[1])
	n.resolver.dial = n.dial
	if err := n.within(func() error { return nil }); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("Patchbay may not enter its network: %w", err)
	}
	return n, nil
}

// withoutPath is an error of a file without the file's name.
func withoutPath(err error) error {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (n *namespace) Close() error { return n.file.Close() }

// dial makes the socket in there; where it was made, it stays.
func (n *namespace) dial(ctx context.Context, network string, to netip.AddrPort) (conn net.Conn, err error) {
	failed := n.within(func() error {
		// One address, and no race between two: all happens on this thread.
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, to.String())
		return nil
	})
	if failed != nil {
		return nil, failed
	}
	return conn, err
}

// within runs f on a thread that is in the namespace. One that does not come back
// from there ends.
func (n *namespace) within(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer func() { _ = home.Close() }()
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
