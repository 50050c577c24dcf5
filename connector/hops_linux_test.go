package connector_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	command "os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// machine is a machine in a network of its own, which asks a name server of its own.
type machine struct {
	*netns.Network
	pid    int
	server string // its name server, host:port
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	cmd := command.Command("sh", "-c", "ip link set lo up && echo up && exec cat")
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
	return &machine{Network: netns.Of(t, cmd.Process.Pid), pid: cmd.Process.Pid}
}

func (m *machine) sh(t *testing.T, script string) {
	t.Helper()
	if out, err := m.Inside("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// DialContext looks a name up there, and dials from there.
func (m *machine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil {
		return m.Network.DialContext(ctx, network, address)
	}
	// A connection that keeps packets apart is one that the resolver speaks TCP over.
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.Network.DialContext(ctx, "tcp", m.server)
	}}
	found, err := resolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err
	}
	return m.Network.DialContext(ctx, network, net.JoinHostPort(found[0].String(), port))
}

// zone is a name server for one name, which it may forget.
type zone struct {
	mu      sync.Mutex
	name    string
	address [4]byte
	unknown bool
}

func (z *zone) forgets(yes bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.unknown = yes
}

func (z *zone) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			for z.answer(c) == nil {
			}
		}()
	}
}

func (z *zone) answer(c net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	text := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, text); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(text); err != nil {
		return err
	}
	m.Response, m.Additionals = true, nil
	z.mu.Lock()
	if q := m.Questions[0]; z.unknown || q.Name.String() != z.name {
		m.RCode = dnsmessage.RCodeNameError
	} else if q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: z.address}}}
	}
	z.mu.Unlock()
	text, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
	return err
}

// away is a settings file of an application on another machine.
type away struct {
	driver.Source
	at *machine
}

func (a away) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(a.at), nil
}

func (a away) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) {
	return []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, nil
}

// machines are the application's, the database's and Patchbay's, each in a network of
// its own, with a real PostgreSQL at 10.0.0.5:5432, which is orders.example too.
type machines struct {
	*place
	web, db, own      *machine
	webNames, ownKnow *zone
	server            *testenv.PostgresServer
	at                patchbay.ID
}

func newMachines(t *testing.T) *machines {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make the networks of other machines")
	}
	if _, err := command.LookPath("nft"); err != nil {
		t.Skip("there is no nft: `tools/deps.sh nftables` installs it")
	}
	m := &machines{web: newMachine(t), db: newMachine(t), own: newMachine(t)}
	m.db.sh(t, `set -e
		ip link add apps type veth peer name eth0 netns `+strconv.Itoa(m.web.pid)+`
		ip link add control type veth peer name eth0 netns `+strconv.Itoa(m.own.pid)+`
		ip addr add 10.0.0.5/24 dev apps; ip link set apps up
		ip addr add 10.0.1.5/24 dev control; ip link set control up`)
	m.web.sh(t, "ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up")
	m.own.sh(t, "ip addr add 10.0.1.1/24 dev eth0 && ip link set eth0 up && ip route add default via 10.0.1.5")
	m.server = testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
	if _, err := m.db.ExposeAt(t, "10.0.0.5:5432", m.server.Addr()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []struct {
		z  **zone
		of *machine
		at string
	}{{&m.webNames, m.web, "10.0.0.5:53"}, {&m.ownKnow, m.own, "10.0.1.5:53"}} {
		*n.z, n.of.server = &zone{name: "orders.example.", address: [4]byte{10, 0, 0, 5}}, n.at
		go (*n.z).serve(m.db.Listen(t, n.at))
	}
	catalog := controlplane.Catalog()
	file := catalog.Sources["envfile"]
	open := file.Open
	file.Open = func(ctx context.Context, c driver.Config) (driver.Source, error) {
		s, err := open(ctx, c)
		return away{s, m.web}, err
	}
	catalog.Sources["envfile"] = file
	m.place = newPlaceOf(t, connector.Options{Catalog: catalog, Dialer: m.own})
	if err := m.server.Exec(t.Context(), "postgres", "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	m.connect(t, "10.0.0.5:5432", map[string]any{"sslmode": "verify-ca", "ca": string(m.server.CA)})
	return m
}

// connect registers the database at an endpoint, and connects it.
func (m *machines) connect(t *testing.T, endpoint string, properties map[string]any) {
	t.Helper()
	m.at = m.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	m.register(patchbay.Resource{ID: m.at, Driver: "postgres", Endpoint: endpoint, Properties: marshal(t, properties)}, map[string]string{"username": m.server.User, "password": m.server.Password})
	m.done(m.put(patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: m.at.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}))
}

// finds validates, and gives what is found of a group, as code: message; fix.
func (m *machines) finds(t *testing.T, from patchbay.Vantage) map[patchbay.CheckGroup]string {
	t.Helper()
	op := m.ends(m.Validate(t.Context(), connector.ValidateRequest{ID: m.linker, Caller: m.caller, From: from}))
	m.done(op)
	found := map[patchbay.CheckGroup]string{}
	for _, c := range op.Result.Checks {
		found[c.Group] += fmt.Sprintf("%s %s: %s; %s\n", c.Result, c.Code, c.Message, c.Fix)
	}
	return found
}

// TestEveryHopIsNamed breaks a way in each way that there is, with the kernel's own
// means, and wants to be told which it was, who else has it, and what mends it.
func TestEveryHopIsNamed(t *testing.T) {
	m := newMachines(t)
	filtered := func(at *machine, hook, match, verdict string) func(*testing.T) func() {
		return func(t *testing.T) func() {
			at.sh(t, fmt.Sprintf(`nft 'table inet theirs { chain c { type filter hook %s priority 0; %s tcp dport 5432 %s; }; }'`, hook, match, verdict))
			return func() { at.sh(t, "nft delete table inet theirs") }
		}
	}
	const alone, neither = "; the server reaches it, web does not", "; neither does the server reach it"
	for _, tt := range []struct {
		name string
		does func(t *testing.T) (undo func())
		from patchbay.Vantage
		want map[patchbay.CheckGroup][]string
	}{
		{"nothing is wrong", nil, "", map[patchbay.CheckGroup][]string{
			"existence": {"success"}, "network": {"success", "not guarded"}, "authentication": {"success"},
		}},
		{"from the server", nil, patchbay.FromControlPlane, map[patchbay.CheckGroup][]string{
			"network": {"success", "tried from the server"}, "authentication": {"success", "tried from the server"},
		}},
		{"dropped on the way from web", filtered(m.db, "input", "iifname apps", "drop"), "", map[patchbay.CheckGroup][]string{
			"existence": {"success"},
			"network":   {"failure TargetUnreachable: from web: no answer from 10.0.0.5:5432 in time: a packet filter drops", alone, "let web (10.0.0.1/32) through to 10.0.0.5:5432, in the packet filter"},
		}},
		{"dropped for web, and tried from the server", filtered(m.db, "input", "iifname apps", "drop"), patchbay.FromControlPlane, map[patchbay.CheckGroup][]string{
			"network": {"success", "and not from web"}, "authentication": {"success"},
		}},
		{"rejected with a reset", filtered(m.db, "input", "iifname apps", "reject with tcp reset"), "", map[patchbay.CheckGroup][]string{
			"network": {"failure PortClosed: from web: nothing listens on 10.0.0.5:5432, or a packet filter rejects", alone, "let web (10.0.0.1/32) through"},
		}},
		{"rejected as prohibited", filtered(m.db, "input", "iifname apps", "reject with icmpx type admin-prohibited"), "", map[patchbay.CheckGroup][]string{
			"network": {"failure TargetUnreachable: from web: the machine of 10.0.0.5:5432 is not reached", alone, "let web (10.0.0.1/32) through"},
		}},
		{"dropped where it is made", filtered(m.web, "output", "", "drop"), "", map[patchbay.CheckGroup][]string{
			"network": {"failure TargetUnreachable: from web: no answer from 10.0.0.5:5432 in time: a packet filter drops", alone}, "authentication": {"notChecked", "there is no way from web"},
		}},
		{"forbidden where it is made", func(t *testing.T) func() {
			m.web.sh(t, "ip route add prohibit 10.0.0.5/32")
			return func() { m.web.sh(t, "ip route del prohibit 10.0.0.5/32") }
		}, "", map[patchbay.CheckGroup][]string{
			"network": {"failure TargetUnreachable: from web: a connection to 10.0.0.5:5432 is forbidden where it is made", alone, "out where web runs"},
		}},
		{"no route", func(t *testing.T) func() {
			m.web.sh(t, "ip route del 10.0.0.0/24")
			return func() { m.web.sh(t, "ip route add 10.0.0.0/24 dev eth0") }
		}, "", map[patchbay.CheckGroup][]string{
			"network": {"failure TargetUnreachable: from web: there is no route to 10.0.0.5:5432", alone, "a route to 10.0.0.5 (ip route"},
		}},
		{"rejected for both", filtered(m.db, "input", "", "reject with tcp reset"), "", map[patchbay.CheckGroup][]string{
			"existence": {"failure ", "the server has no way to it"}, // it may have a session that is ended
			"network":   {"failure PortClosed: from web: nothing listens", neither + ";", "see that orders runs and listens on 10.0.0.5:5432"},
		}},
		{"rejected for the server alone", filtered(m.db, "input", "iifname control", "reject with tcp reset"), "", map[patchbay.CheckGroup][]string{
			"existence": {"failure ", "the server has no way to it", "let the server through to 10.0.0.5:5432 too"},
			"network":   {"success", "web reaches it, the server does not"},
		}},
		{"and tried from there", filtered(m.db, "input", "iifname control", "reject with tcp reset"), patchbay.FromControlPlane, map[patchbay.CheckGroup][]string{
			"network": {"failure PortClosed: from the server: nothing listens", "as it was asked for"},
		}},
		{"no route from web, and rejected for the server", func(t *testing.T) func() {
			m.web.sh(t, "ip route del 10.0.0.0/24")
			back := filtered(m.db, "input", "", "reject with tcp reset")(t)
			return func() { back(); m.web.sh(t, "ip route add 10.0.0.0/24 dev eth0") }
		}, "", map[patchbay.CheckGroup][]string{
			"network": {"failure TargetUnreachable: from web: there is no route", neither + ": nothing listens on 10.0.0.5:5432", "a route to 10.0.0.5"},
		}},
		{"somebody else answers", func(t *testing.T) func() {
			other := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
			m.web.sh(t, "ip addr add 10.0.0.5/32 dev lo")
			if _, err := m.web.ExposeAt(t, "10.0.0.5:5432", other.Addr()); err != nil {
				t.Fatal(err)
			}
			return func() { m.web.sh(t, "ip addr del 10.0.0.5/32 dev lo") }
		}, "", map[patchbay.CheckGroup][]string{
			"network":        {"failure CertificateInvalid: from web: the certificate of 10.0.0.5:5432", "the authority that was registered did not sign it", "see who answers there", "the property ca"},
			"authentication": {"notChecked", "the network ends before"},
		}},
		{"another name", func(t *testing.T) func() {
			m.registerUnasked(t, m.at, "10.0.0.5:5432", map[string]any{"sslmode": "verify-full", "ca": string(m.server.CA), "tlsServerName": "other.example"})
			return func() {
				m.registerUnasked(t, m.at, "10.0.0.5:5432", map[string]any{"sslmode": "verify-ca", "ca": string(m.server.CA)})
			}
		}, "", map[patchbay.CheckGroup][]string{
			"existence": {"failure CertificateInvalid", "it is for another name than other.example", "the property tlsServerName"},
			"network":   {"notChecked", "the port is open from web"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.does != nil {
				defer tt.does(t)()
			}
			m.wants(t, tt.from, tt.want)
		})
	}
	t.Run("a name that the library is not told", func(t *testing.T) {
		m.registerUnasked(t, m.at, "10.0.0.5:5432", map[string]any{"sslmode": "verify-full", "ca": string(m.server.CA), "tlsServerName": "localhost"})
		op := m.put(patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: m.at.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go", Access: patchbay.Reader})
		if e := op.Error; op.State != patchbay.Undone || e.Code != patchbay.CertificateInvalid || !strings.Contains(e.Message, "for another name than 10.0.0.5") || !strings.Contains(e.Fix, "register orders with an address that its certificate is for") {
			t.Errorf("%s: %v; %s", op.State, e, e.Fix)
		}
	})
	t.Run("a name", func(t *testing.T) {
		m.connect(t, "orders.example:5432", map[string]any{"sslmode": "verify-ca", "ca": string(m.server.CA)})
		m.wants(t, "", map[patchbay.CheckGroup][]string{"network": {"success"}, "authentication": {"success"}})
		m.webNames.forgets(true)
		m.wants(t, "", map[patchbay.CheckGroup][]string{
			"existence": {"success"},
			"network":   {"failure NameNotResolved: from web: the name orders.example has no address", alone, "make the name orders.example known where web runs"},
		})
		m.ownKnow.forgets(true)
		m.wants(t, "", map[patchbay.CheckGroup][]string{
			"network": {"failure NameNotResolved", neither + ";", "give the name orders.example an address in a name server that web asks; or register orders"},
		})
		m.webNames.forgets(false)
		m.wants(t, "", map[patchbay.CheckGroup][]string{"network": {"success"}})
		m.web.server = "10.0.0.5:54" // nobody is there
		m.wants(t, "", map[patchbay.CheckGroup][]string{"network": {"failure NameNotResolved: from web: the name orders.example can't be looked up"}})
	})
	t.Run("at home", func(t *testing.T) {
		if _, err := m.own.ExposeAt(t, "127.0.0.1:5432", m.server.Addr()); err != nil {
			t.Fatal(err)
		}
		m.registerUnasked(t, m.at, "127.0.0.1:5432", map[string]any{"sslmode": "verify-full", "ca": string(m.server.CA)})
		m.wants(t, "", map[patchbay.CheckGroup][]string{
			"existence": {"success"},
			"network":   {"failure PortClosed", alone, "register orders with another address: one that leads there from elsewhere: 127.0.0.1 is the very machine"},
		})
	})
}

func (m *machines) registerUnasked(t *testing.T, id patchbay.ID, endpoint string, properties map[string]any) {
	t.Helper()
	admin := driver.Secrets{"username": patchbay.NewSecret(m.server.User), "password": patchbay.NewSecret(m.server.Password)}
	_, _, _, err := m.PutResource(t.Context(), connector.ResourceRequest{
		Resource: patchbay.Resource{ID: id, Driver: "postgres", Endpoint: endpoint, Properties: marshal(t, properties)}, Admin: admin, Caller: m.caller, NoCheck: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machines) wants(t *testing.T, from patchbay.Vantage, want map[patchbay.CheckGroup][]string) {
	t.Helper()
	found := m.finds(t, from)
	for group, words := range want {
		for i, word := range words {
			if !strings.Contains(found[group], word) || i == 0 && !strings.HasPrefix(found[group], word) {
				t.Errorf("%s does not say %q: %s", group, word, found[group])
			}
		}
	}
}
