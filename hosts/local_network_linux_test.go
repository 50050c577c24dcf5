package hosts

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay"
)

// alone is a process in a network of its own, in which lo is up.
func alone(t *testing.T) (namespace string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network")
	}
	cmd := exec.Command("sh", "-c", "ip link set lo up && echo up && exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no network can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Skipf("the network does not come up: %v", err)
	}
	return "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net"
}

// TestNetworkIsTheOther: who listens here is not there, and nobody stays there.
func TestNetworkIsTheOther(t *testing.T) {
	namespace := alone(t)
	l := NewLocal(DialRules{})
	here, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	n, err := l.Network(namespace)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{here.Addr().String(), "localhost:" + strconv.Itoa(here.Addr().(*net.TCPAddr).Port)} {
		if c, err := n.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("from there %s answers: %v, %v", address, c, err)
		}
	}
	for range 20 {
		c, err := l.DialContext(t.Context(), "tcp", here.Addr().String())
		if err != nil {
			t.Fatalf("from here: %v", err)
		}
		_ = c.Close()
	}
	// What is closed here is closed there.
	if _, err := n.DialContext(t.Context(), "tcp", "169.254.169.254:80"); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("from there, an address that is closed: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	// A name server is asked wherever it is: no caller names it.
	rules, err := NewDialRules([]string{"loopback"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err = NewLocal(rules).Network(namespace); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.DialContext(t.Context(), "udp", "127.0.0.1:53"); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("from there, an address that the operator closed: %v", err)
	}
	if c, err := n.DialNameServer(t.Context(), "udp", "127.0.0.1:53"); err != nil {
		t.Errorf("a name server there: %v", err)
	} else {
		_ = c.Close()
	}
	if _, err := l.Network("/run/netns/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a network that is not there: %v", err)
	}
	if _, err := l.Network("/etc/hostname"); err == nil {
		t.Error("a file is a network")
	}
}
