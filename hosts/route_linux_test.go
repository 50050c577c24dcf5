package hosts

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
)

// TestAHostSpeaksFromTheAddressThatItsConnectionsHave asks the kernel, by a connection.
func TestAHostSpeaksFromTheAddressThatItsConnectionsHave(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NOT CHECKED: there is no ip: tools/deps.sh engines installs it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	want := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr()
	if from, ok := SpeaksFrom(t.Context(), NewLocal(DialRules{}), netip.MustParseAddrPort(l.Addr().String()).Addr()); !ok || from != want {
		t.Errorf("it speaks from %s, %t, and a connection is from %s", from, ok, want)
	}
	if from, ok := SpeaksFrom(t.Context(), NewLocal(DialRules{}), netip.Addr{}); ok {
		t.Errorf("it speaks from %s to nowhere", from)
	}
}
