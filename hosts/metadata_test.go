package hosts

import (
	"net"
	"testing"

	"patchbay.dev/patchbay"
)

func TestNoConnectionIsMadeToMetadataServices(t *testing.T) {
	for _, address := range []string{
		"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80", "169.254.170.2:80", "168.63.129.16:32526", "100.100.100.200:6379",
	} {
		conn, err := NewLocal().DialContext(t.Context(), "tcp", address)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", address, err)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	conn, err := NewLocal().DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	_ = conn.Close()
}
