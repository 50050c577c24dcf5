package netns

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is one.
type Network struct{ file *os.File }

// Of is the network that a process is in. It ends with the test.
func Of(t testing.TB, pid int) *Network {
	t.Helper()
	n, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// Open is the network that a process is in, until it is closed.
func Open(pid int) (*Network, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	return &Network{file}, nil
}

// Close lets go of the network.
func (n *Network) Close() error { return n.file.Close() }

// Inside is a command that runs there.
func (n *Network) Inside(argv ...string) *exec.Cmd {
	// Children find what their parent has open by its number.
	at := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
	return exec.Command("nsenter", append([]string{at, "--"}, argv...)...)
}

// in does f on a thread that is there for as long. It does not end with f: a process
// that it has started before may be one that dies with its thread (Pdeathsig).
func (n *Network) in(f func() error) error {
	result := make(chan error, 1)
	go func() {
		result <- func() error {
			runtime.LockOSThread()
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				runtime.UnlockOSThread()
				return err
			}
			defer func() { _ = own.Close() }()
			if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
				runtime.UnlockOSThread()
				return err
			}
			err = f()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-result
}

// DialContext makes a connection from there, to an address.
func (n *Network) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.in(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Expose makes what listens on an address of this process's own network be reached
// there, at host and the port that it gives. It ends with the test.
func (n *Network) Expose(t testing.TB, host, address string) (port int) {
	t.Helper()
	port, err := n.ExposeAt(t, net.JoinHostPort(host, "0"), address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ExposeAt is Expose at that address; it fails when the port is taken there.
func (n *Network) ExposeAt(t testing.TB, at, address string) (port int, err error) {
	t.Helper()
	var l net.Listener
	err = n.in(func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		return 0, err
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go forward(in, address)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func forward(in net.Conn, address string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(in, out)
}
