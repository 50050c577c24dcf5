package hosts

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// inIPv6 is every way to write an address of IPv4 in IPv6.
func inIPv6(v4 string) map[string]string {
	b := netip.MustParseAddr(v4).As4()
	at := func(prefix string, places ...int) string {
		a := netip.MustParseAddr(prefix).As16()
		for i, place := range places {
			a[place] = b[i]
		}
		return netip.AddrFrom16(a).String()
	}
	hidden := netip.MustParseAddr("2001:0:cb00:7101::").As16()
	for i := range b {
		hidden[12+i] = ^b[i]
	}
	return map[string]string{
		"mapped":             at("::ffff:0:0", 12, 13, 14, 15),
		"compatible":         at("::", 12, 13, 14, 15),
		"translated":         at("::ffff:0:0:0", 12, 13, 14, 15),
		"NAT64":              at("64:ff9b::", 12, 13, 14, 15),
		"NAT64, its own /48": at("64:ff9b:1::", 6, 7, 9, 10),
		"NAT64, its own /56": at("64:ff9b:1:ab00::", 7, 9, 10, 11),
		"NAT64, its own /64": at("64:ff9b:1:abcd::", 9, 10, 11, 12),
		"NAT64, its own /96": at("64:ff9b:1:fffe::", 12, 13, 14, 15),
		"6to4":               at("2002::1", 2, 3, 4, 5),
		"Teredo's server":    at("2001:0:0:0:0:1:3479:b3b3", 4, 5, 6, 7),
		"Teredo's client":    netip.AddrFrom16(hidden).String(),
		"ISATAP":             at("2600:1f18::5efe:0:0", 12, 13, 14, 15),
		"ISATAP, unique":     at("2600:1f18::200:5efe:0:0", 12, 13, 14, 15),
	}
}

func closed(t *testing.T, r DialRules, address string) bool {
	t.Helper()
	err := r.Control("tcp", net.JoinHostPort(address, "80"), nil)
	if err != nil && patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Fatalf("%s: %v", address, err)
	}
	return err != nil
}

func TestNoConnectionIsMadeToMetadataServices(t *testing.T) {
	for _, address := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "192.0.0.192", "169.254.42.42", "100.100.100.200", "169.254.0.23",
		"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fe80::a9fe:a9fe", "fe80::a9fe:a9fe%eth0",
	} {
		if !closed(t, DialRules{}, address) {
			t.Errorf("%s is open", address)
		}
		if a := netip.MustParseAddr(address); a.Is4() {
			for form, written := range inIPv6(address) {
				if !closed(t, DialRules{}, written) {
					t.Errorf("%s, written %s (%s), is open", address, written, form)
				}
			}
		}
	}
}

func TestWhatIsNobodysAddressIsClosed(t *testing.T) {
	for _, address := range []string{
		"169.254.0.1", "169.254.255.255", "fe80::1", "febf::1%lo", "0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255",
	} {
		if !closed(t, DialRules{}, address) {
			t.Errorf("%s is open", address)
		}
	}
	for _, address := range []string{"/var/run/socket", "db:5432", ""} {
		if (DialRules{}).Control("unix", address, nil) == nil {
			t.Errorf("%q is open", address)
		}
	}
}

// Databases are on this machine, in its network and elsewhere.
func TestLoopbackPrivateAndPublicAddressesAreOpen(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "::1", "10.0.0.5", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "8.8.8.8", "2600:1f18::1", "169.253.1.1", "fec0::1",
	} {
		if closed(t, DialRules{}, address) {
			t.Errorf("%s is closed", address)
		}
		if a := netip.MustParseAddr(address); a.Is4() {
			for form, written := range inIPv6(address) {
				if closed(t, DialRules{}, written) {
					t.Errorf("%s, written %s (%s), is closed", address, written, form)
				}
			}
		}
	}
}

func TestTheMostSpecificRuleDecides(t *testing.T) {
	words := func(text string) []string { return strings.Fields(text) }
	for _, tt := range []struct{ deny, allow, open, closed string }{
		{"loopback", "", "10.0.0.1", "127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"},
		{"private", "", "127.0.0.1 8.8.8.8", "10.0.0.1 172.31.0.1 192.168.0.1 100.64.0.1 fd00::1 2002:0a00:1::"},
		{"private", "10.1.0.0/16", "10.1.2.3", "10.2.0.1"},
		{"10.1.2.3", "private", "10.1.2.4", "10.1.2.3 ::ffff:10.1.2.3"},
		{"10.0.0.0/8", "10.0.0.0/8", "", "10.0.0.1"}, // what both name is closed
		{"all", "10.0.0.0/8 ::1", "10.0.0.1 ::1", "127.0.0.1 8.8.8.8 2600::1 192.168.0.1"},
		{"all", "private loopback", "10.0.0.1 127.0.0.1 fd00::1", "8.8.8.8 2600::1 169.254.169.254 fd00:ec2::254"},
		{"::ffff:10.0.0.0/104", "", "11.0.0.1", "10.0.0.1"},
		{"10.0.0.1/8", "", "", "10.2.3.4"},
		// A wide allowance opens nothing that is closed by itself.
		{"", "all", "8.8.8.8", "169.254.169.254 169.254.1.1 fe80::1 fd00:ec2::254 224.0.0.1 0.0.0.0 100.100.100.200 168.63.129.16"},
		{"", "private", "10.0.0.1", "100.100.100.200 fd20:ce::254"},
		{"", "link-local", "169.254.1.1 fe80::1", "169.254.169.254 fe80::a9fe:a9fe"},
		// Who names it may have it.
		{"", "metadata", "169.254.169.254 fd00:ec2::254 100.100.100.200 64:ff9b::a9fe:a9fe", "169.254.1.1"},
		{"", "169.254.169.254", "169.254.169.254 ::ffff:169.254.169.254", "169.254.170.2 fd00:ec2::254"},
		{"", "169.254.7.0/24", "169.254.7.1", "169.254.8.1"},
		// An IPv6 form is as open as what it stands for, and no more.
		{"", "64:ff9b::/96", "64:ff9b::808:808", "64:ff9b::a9fe:a9fe"},
		{"64:ff9b::/96", "", "8.8.8.8", "64:ff9b::808:808"},
	} {
		r, err := NewDialRules(words(tt.deny), words(tt.allow))
		must(t, err)
		for _, address := range words(tt.open) {
			if closed(t, r, address) {
				t.Errorf("deny %q, allow %q: %s is closed", tt.deny, tt.allow, address)
			}
		}
		for _, address := range words(tt.closed) {
			if !closed(t, r, address) {
				t.Errorf("deny %q, allow %q: %s is open", tt.deny, tt.allow, address)
			}
		}
	}
	for _, word := range []string{"", "public", "10.0.0.0/33", "db.example", "10.0.0.1:80", "fe80::1%eth0"} {
		if _, err := NewDialRules([]string{word}, nil); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// Names are judged by what they lead to, address by address, and the refusal
// does not say where that was.
func TestANameIsJudgedByWhereItLeads(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	conn, err := NewLocal(DialRules{}).DialContext(t.Context(), "tcp", "localhost:"+port)
	must(t, err)
	_ = conn.Close()

	r, err := NewDialRules([]string{"loopback"}, nil)
	must(t, err)
	conn, err = NewLocal(r).DialContext(t.Context(), "tcp", "localhost:"+port)
	if conn != nil {
		_ = conn.Close()
	}
	e := patchbay.AsError(err)
	if e == nil || e.Code != patchbay.InvalidArgument || strings.Contains(e.Message, "127.") || strings.Contains(e.Message, "::1") {
		t.Errorf("%v", err)
	}
	// One that is closed does not close the others of the name.
	r, err = NewDialRules([]string{"::1"}, nil)
	must(t, err)
	conn, err = NewLocal(r).DialContext(t.Context(), "tcp", "localhost:"+port)
	must(t, err)
	_ = conn.Close()
}

// rebinding is a resolver whose every answer for a name is the next address.
func rebinding(t *testing.T, answers ...string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			end := 12
			for b[end] != 0 {
				end += int(b[end]) + 1
			}
			question := b[12 : end+5]
			reply := append([]byte{b[0], b[1], 0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
			if n > end && b[end+2] == 1 && len(answers) > 0 { // A
				four := netip.MustParseAddr(answers[0]).As4()
				answers = answers[1:]
				reply[7] = 1
				reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), four[:]...)
			}
			_, _ = server.WriteTo(reply, from)
		}
	}()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// A name that was harmless when it was looked at, and leads elsewhere when it is
// dialed, is judged by where it leads then.
func TestANameThatChangesItsAddressIsJudgedEachTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	local := NewLocal(DialRules{})
	local.dialer.Resolver = rebinding(t, "127.0.0.1", "169.254.169.254", "127.0.0.1")
	for i, open := range []bool{true, false, true} {
		conn, err := local.DialContext(t.Context(), "tcp", "rebinding.test.:"+port)
		if conn != nil {
			_ = conn.Close()
		}
		if open != (err == nil) || !open && patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("time %d: %v", i, err)
		}
	}
}
