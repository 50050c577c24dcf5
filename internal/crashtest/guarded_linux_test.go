package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// Where the database's machine is, by its name as by its addresses, and where sources
// speak from: the machine itself, and the applications' networks.
const databaseHost = "db.patchbay.test"

var (
	databaseAt = []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
	egress     = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("10.64.3.0/24"),
		netip.MustParsePrefix("fd00::5/128"), netip.MustParsePrefix("fd64:0:0:1::/64"),
	}
	application = []netip.Addr{netip.MustParseAddr("10.64.3.7"), netip.MustParseAddr("fd64:0:0:1::7")}
	bystander   = []netip.Addr{netip.MustParseAddr("10.64.5.7"), netip.MustParseAddr("fd64:0:0:2::7")}
	// named is what a reader's connection names besides: an update moves its opening, and
	// leaves that of the connection beside.
	named   = netip.MustParsePrefix("10.64.4.0/24")
	inNamed = netip.MustParseAddr("10.64.4.7")
)

// needed are the networks that a connection of that access needs open.
func needed(access string) []netip.Prefix {
	if access == "reader" {
		return append(slices.Clone(egress), named)
	}
	return egress
}

// needs is what a live connection needs: its login, from those networks.
type needs struct {
	login string
	from  []netip.Prefix
}

func newestPostgres() int { return slices.Max(append(testenv.PostgresVersions(), 0)) }

// oldestPostgres is one whose rules all stand in one file, where there is one.
func oldestPostgres() int {
	if all := testenv.PostgresVersions(); len(all) > 0 {
		return slices.Min(all)
	}
	return 0
}

// behindGuards is a ground with a PostgreSQL behind a packet filter and its pg_hba.conf,
// on one machine with Patchbay.
func behindGuards(version func() int) ground {
	return ground{
		both: func(t *testing.T) (site, target) {
			m := newMachine(t)
			return site{network: m, source: newSpeaking}, startGuarded(t, m, version())
		},
		on:     "guards",
		fails:  []string{"verify/before-do", "open/after-do", "principal/after-do"},
		rarely: 8,
	}
}

// machine is one of its own: it has its network, and its /etc. Its manager of services
// is a program that keeps whether a unit is enabled, and nothing else: networks/nftables
// boots a real one.
type machine struct {
	*netns.Network
	pid int
	dir string // its files, as they are named here
	app *netns.Network
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make the networks of other machines")
	}
	for program, in := range map[string]string{"/usr/sbin/nft": "nftables", "/usr/bin/systemctl": "systemd"} {
		if _, err := os.Stat(program); err != nil {
			t.Skipf("there is no %s: `tools/deps.sh %s` installs it", program, in)
		}
	}
	m := &machine{dir: t.TempDir()}
	const manager = `#!/bin/sh
case "$*" in
*" enable "*) : >"$D/enabled" ;;
*" show "*) if [ -e "$D/enabled" ]; then echo UnitFileState=enabled; echo ActiveState=active; else echo UnitFileState=; echo ActiveState=inactive; fi ;;
esac
`
	if err := os.WriteFile(filepath.Join(m.dir, "systemctl"), []byte(strings.ReplaceAll(manager, "$D", m.dir)), 0o755); err != nil { // #nosec G306 -- it is a program
		t.Fatal(err)
	}
	m.pid = heldProcess(t, unix.CLONE_NEWNET|unix.CLONE_NEWNS, fmt.Sprintf(`
		mount --make-rprivate /
		cp -a /etc %[1]s/etc; rm -f %[1]s/etc/patchbay-nftables.nft %[1]s/etc/systemd/system/patchbay-nftables.service
		printf '127.0.0.1 localhost\n%[2]s %[4]s\n%[3]s %[4]s\n' >%[1]s/etc/hosts
		mount --bind %[1]s/etc /etc; mount --bind %[1]s/systemctl /usr/bin/systemctl
		ip link set lo up`, m.dir, databaseAt[0], databaseAt[1], databaseHost))
	app := heldProcess(t, unix.CLONE_NEWNET, "ip link set lo up")
	m.Network, m.app = netns.Of(t, m.pid), netns.Of(t, app)
	m.must(t, m.Network, `ip link add apps type veth peer name eth0 netns `+strconv.Itoa(app)+`
		ip addr add 10.0.0.5/24 dev apps; ip addr add fd00::5/64 dev apps nodad; ip link set apps up`)
	m.must(t, m.app, `ip addr add 10.0.0.1/24 dev eth0; ip addr add fd00::1/64 dev eth0 nodad; ip link set eth0 up
		echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
		ip route add local 10.64.0.0/10 dev lo; ip -6 route add local fd64::/32 dev lo`)
	m.must(t, m.Network, `ip route add 10.64.0.0/10 via 10.0.0.1; ip -6 route add fd64::/32 via fd00::1
		printf '%s' '`+theirTable+`' | nft -f -`)
	return m
}

// theirTable is somebody else's, who drops nothing that matters here.
const theirTable = "table inet theirs {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 9 drop comment \"since 2019\"\n\t}\n}\n"

// heldProcess is one in namespaces of its own, which are furnished by a script. It ends
// with the test, and they with it.
func heldProcess(t *testing.T, namespaces uintptr, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "set -e\n"+script+"\necho up; exec cat") // #nosec G204 -- of the test's own
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces can be made here: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // that it has ended is all
	})
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		_ = in.Close()
		_ = cmd.Wait() // it says nothing more
		t.Fatalf("the machine does not come up: %v: %s", err, said.String())
	}
	return cmd.Process.Pid
}

func (m *machine) must(t testing.TB, at interface {
	Inside(argv ...string) *exec.Cmd
}, script string,
) string {
	t.Helper()
	out, err := at.Inside("sh", "-c", "set -e\n"+script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// Inside is a command on the machine.
func (m *machine) Inside(argv ...string) *exec.Cmd {
	at := fmt.Sprintf("/proc/%d/ns/", m.pid)
	return exec.Command("nsenter", append([]string{"--net=" + at + "net", "--mount=" + at + "mnt", "--"}, argv...)...) // #nosec G204 -- of the test's own
}

// speaker is who speaks from an address of each family there.
type speaker struct {
	network *netns.Network
	from    []netip.Addr
}

func (s speaker) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	conn, _, err := s.dial(ctx, 0, address)
	return conn, err
}

func (s speaker) dial(ctx context.Context, family int, address string) (net.Conn, netip.AddrPort, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	to := netip.AddrPortFrom(databaseAt[family], uint16(port))
	conn, err := s.network.DialFrom(ctx, s.from[family], to)
	return conn, to, err
}

// speaking is a settings file whose application speaks from the egress.
type speaking struct{ *envFile }

func newSpeaking(t *testing.T, dir string) source { return speaking{newEnvFile(t, dir)} }

func (s speaking) resource() (string, map[string]any) {
	path, body := s.envFile.resource()
	body["properties"].(map[string]any)["egress"] = texts(egress)
	return path, body
}

func texts[T fmt.Stringer](list []T) []string {
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = one.String()
	}
	return all
}

// guardedTarget is a PostgreSQL that nobody reaches and signs in to but who has a
// connection.
type guardedTarget struct {
	*postgresTarget
	machine *machine
	conf    string // its pg_hba.conf
	lines   string // which it has of others
	rules   []string
	// Of the connection that shares the opening: its source's file, and its id.
	neighbour *envFile
	second    string
}

func startGuarded(t *testing.T, m *machine, version int) target {
	server := testenv.Postgres(t, testenv.PostgresOptions{Version: version, Network: m, HBA: []string{
		"host all all 10.66.0.0/16 reject", "host all all all scram-sha-256", // everybody else is let in from everywhere
	}})
	g := &guardedTarget{postgresTarget: &postgresTarget{t: t, server: server}, machine: m, conf: server.HBA()}
	g.addr = net.JoinHostPort(databaseHost, strconv.Itoa(server.Port))
	g.at = speaker{m.app, application}
	g.furnish(m.DialContext)
	g.lines, g.rules = read(t, g.conf), g.hba("")
	return g
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (g *guardedTarget) name() string { return fmt.Sprintf("postgres %d", g.server.Version) }

func (g *guardedTarget) in(t *testing.T) target {
	of := *g
	of.postgresTarget = g.postgresTarget.in(t).(*postgresTarget)
	return &of
}

func (g *guardedTarget) behind(s *server, group string, registration map[string]any) {
	var ids []string
	for name, properties := range map[string]map[string]any{
		"ports": {"driver": "nftables"}, "hba": {"driver": "pghba", "tls": "optional"},
	} {
		id := group + "/providers/Patchbay.Services/guards/" + name
		if status, answer := s.call("PUT", id, own, map[string]any{"properties": properties}); status != 201 {
			g.t.Fatalf("register the guard %s: %d %v", name, status, answer)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	slices.Reverse(ids) // the packet filter comes first
	registration["properties"].(map[string]any)["guards"] = ids
}

func (g *guardedTarget) form(access string) map[string]any {
	form := ownLogin(access)
	if access == "reader" {
		form["publicNetworkSolution"] = map[string]any{"firewallRules": map[string]any{"ipRanges": []string{named.String()}}}
	}
	return form
}

func (g *guardedTarget) shared(s *server, w *world) {
	dir := filepath.Join(w.dir, "beside")
	if err := os.Mkdir(dir, 0o700); err != nil {
		g.t.Fatal(err)
	}
	g.neighbour = newEnvFile(g.t, dir)
	_, body := speaking{g.neighbour}.resource()
	source := w.group + "/providers/Microsoft.Web/sites/batch"
	if status, answer := s.call("PUT", source, own, body); status != 201 {
		g.t.Fatalf("register the other source: %d %v", status, answer)
	}
	g.second = source + "/providers/Microsoft.ServiceLinker/linkers/second"
	of := *w
	of.linker = g.second
	status := s.put(&of, "writer")
	if op := s.settle(); status != 201 || op["state"] != "done" {
		g.t.Fatalf("the connection beside: %d %v", status, op)
	}
}

// loginIn is who signs in with settings.
func (g *guardedTarget) loginIn(env map[string]string) string {
	g.t.Helper()
	config, err := pgx.ParseConfig(env["AZURE_POSTGRESQL_CONNECTIONSTRING"])
	if err != nil {
		g.t.Fatal(err)
	}
	return config.User
}

// beside is the login of the connection beside, "" when it is gone.
func (g *guardedTarget) beside() string {
	g.t.Helper()
	if g.second == "" {
		return ""
	}
	env, err := g.neighbour.settings()
	if err != nil {
		g.t.Fatal(err)
	}
	return g.loginIn(env)
}

func (g *guardedTarget) marked() []string {
	beside := g.beside()
	return slices.DeleteFunc(g.postgresTarget.marked(), func(name string) bool { return name == beside })
}

func (g *guardedTarget) secrets(env map[string]string) []string {
	other, err := g.neighbour.settings()
	if err != nil {
		return g.postgresTarget.secrets(env)
	}
	return append(g.postgresTarget.secrets(env), g.postgresTarget.secrets(other)...)
}

func (g *guardedTarget) untouched() error {
	err := g.postgresTarget.untouched()
	out, listErr := g.machine.Inside("nft", "list", "table", "inet", "theirs").Output()
	if got := strings.Join(strings.Fields(string(out)), " "); got != strings.Join(strings.Fields(theirTable), " ") {
		err = errors.Join(err, fmt.Errorf("somebody else's table is %q (%w)", got, listErr))
	}
	if rules := g.hba(""); !slices.Equal(rules, g.rules) {
		err = errors.Join(err, fmt.Errorf("the server reads others' rules as %q, was %q", rules, g.rules))
	}
	if kept := ownBlock.ReplaceAllString(read(g.t, g.conf), ""); kept != g.lines {
		err = errors.Join(err, fmt.Errorf("the others' lines are\n%q, were\n%q", kept, g.lines))
	}
	return err
}

var ownBlock = regexp.MustCompile(`(?s)# patchbay: begin\n.*?# patchbay: end\n`)

func (g *guardedTarget) opened(linker string, env map[string]string, access string) {
	g.t.Helper()
	live := map[string]needs{} // of the connections, by id
	if env != nil {
		live[linker] = needs{g.loginIn(env), needed(access)}
	}
	if g.second != "" {
		live[g.second] = needs{g.beside(), needed("writer")}
	}
	for what, argv := range map[string][]string{
		"now": {"nft", "-j", "list", "ruleset"},
		// In the network that a boot would find.
		"after a boot": {"unshare", "--net", "sh", "-c", "nft -f /etc/patchbay-nftables.nft && nft -j list ruleset"},
	} {
		out, err := g.machine.Inside(argv...).Output()
		if err == nil {
			err = g.lets(out, live)
		}
		if err != nil {
			g.t.Errorf("I8: %s: %v", what, err)
		}
	}
	for _, path := range []string{"enabled", "etc/systemd/system/patchbay-nftables.service"} {
		if _, err := os.Stat(filepath.Join(g.machine.dir, path)); err != nil {
			g.t.Errorf("I8: nothing is loaded at boot: %v", err)
		}
	}
	for _, pattern := range []string{filepath.Join(g.machine.dir, "etc", "*new*"), filepath.Join(filepath.Dir(g.conf), "*.tmp")} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			g.t.Errorf("there still is %q", left)
		}
	}
	var want []string
	for _, n := range live {
		for _, p := range n.from {
			want = append(want, fmt.Sprintf("host {shop} {%s} %s scram-sha-256", n.login, p))
		}
		want = append(want, fmt.Sprintf("host {all,replication} {%s} all reject", n.login), fmt.Sprintf("local {all,replication} {%s}  reject", n.login))
	}
	slices.Sort(want)
	if got := g.hba("pb_"); !slices.Equal(got, want) {
		g.t.Errorf("I8: pg_hba_file_rules has of ours\n%s\nand needed is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := os.Stat(strings.TrimSuffix(g.conf, ".conf") + ".patchbay.conf"); len(live) == 0 && !errors.Is(err, os.ErrNotExist) {
		g.t.Errorf("the file of rules is left: %v", err)
	}
	if env != nil {
		g.tried(env, access)
	}
	if beside := g.settingsBeside(); beside != nil {
		g.tried(beside, "writer")
	}
}

func (g *guardedTarget) settingsBeside() map[string]string {
	if g.second == "" {
		return nil
	}
	env, err := g.neighbour.settings()
	if err != nil {
		g.t.Error(err)
	}
	return env
}

// tried holds what is said to be open against who gets in.
func (g *guardedTarget) tried(env map[string]string, access string) {
	g.t.Helper()
	from := func(dial pgconn.DialFunc) error {
		ctx, cancel := context.WithTimeout(g.t.Context(), 10*time.Second)
		defer cancel()
		config, err := pgx.ParseConfig(env["AZURE_POSTGRESQL_CONNECTIONSTRING"])
		if err != nil {
			return err
		}
		// The library would look the name up.
		config.Host, config.DialFunc = databaseAt[0].String(), dial
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			_ = conn.Close(ctx)
		}
		return err
	}
	for family := range databaseAt {
		by := func(s speaker) pgconn.DialFunc {
			return func(ctx context.Context, _, address string) (net.Conn, error) {
				conn, _, err := s.dial(ctx, family, address)
				return conn, err
			}
		}
		if err := from(by(speaker{g.machine.app, application})); err != nil {
			g.t.Errorf("I2: from %s: %v", application[family], err)
		}
		if err := from(by(speaker{g.machine.app, bystander})); !errors.Is(err, syscall.ECONNREFUSED) {
			g.t.Errorf("I8: from %s, which nobody needs: %v", bystander[family], err)
		}
	}
	err := from(speaker{g.machine.app, []netip.Addr{inNamed}}.DialContext)
	if isNamed := slices.Contains(needed(access), named); isNamed != (err == nil) {
		g.t.Errorf("I8: from %s, which it needs: %t, %v", inNamed, isNamed, err)
	}
	// The packet filter lets the machine's own in; the server goes by its own rules.
	err = from(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return g.machine.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(g.server.Port)))
	})
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "28000" {
		g.t.Errorf("I8: from 127.0.0.1, which nobody needs: %v", err)
	}
}

func (g *guardedTarget) closed(s *server) {
	g.t.Helper()
	if g.second == "" {
		return
	}
	g.opened("", nil, "")
	status, answer := s.call("DELETE", g.second, own, nil)
	if op := s.settle(); status/100 != 2 || op["state"] != "done" {
		g.t.Errorf("delete the connection beside: %d %v, %v", status, answer, op)
	}
	g.second = ""
	g.opened("", nil, "")
	if text := read(g.t, g.conf); text != g.lines {
		g.t.Errorf("I10: pg_hba.conf is in the end\n%q, was\n%q", text, g.lines)
	}
}

// hba are the rules that the server reads for users whose names begin so, "": for all
// others than Patchbay's, in their order.
func (g *guardedTarget) hba(begin string) (got []string) {
	g.t.Helper()
	rows, err := g.conn.Query(g.t.Context(), `SELECT type, array_to_string(database, ','), array_to_string(user_name, ','), coalesce(address, ''), coalesce(netmask, ''), auth_method, coalesce(error, '') FROM pg_hba_file_rules`)
	if err != nil {
		g.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, databases, users, address, mask, method, broken string
		if err := rows.Scan(&kind, &databases, &users, &address, &mask, &method, &broken); err != nil {
			g.t.Fatal(err)
		}
		if m := net.ParseIP(mask); m != nil {
			if v4 := m.To4(); v4 != nil && !strings.Contains(mask, ":") {
				m = v4
			}
			ones, _ := net.IPMask(m).Size()
			address = fmt.Sprintf("%s/%d", address, ones)
		}
		if strings.HasPrefix(users, "pb_") == (begin != "") {
			got = append(got, fmt.Sprintf("%s {%s} {%s} %s %s%s", kind, databases, users, address, method, broken))
		}
	}
	if err := rows.Err(); err != nil {
		g.t.Fatal(err)
	}
	if begin != "" {
		slices.Sort(got)
	}
	return got
}

// lets says what of our table is not as those connections need it. It reads the list of
// nft's by itself.
func (g *guardedTarget) lets(list []byte, live map[string]needs) error {
	var all struct{ Nftables []map[string]json.RawMessage }
	if err := json.Unmarshal(list, &all); err != nil {
		return err
	}
	open, ports, chains := map[string]bool{}, []string{}, map[string]string{}
	for _, item := range all.Nftables {
		for kind, raw := range item {
			var of struct {
				Table, Chain, Name, Comment string
				Elem                        []any
			}
			if kind == "metainfo" {
				continue
			}
			if err := json.Unmarshal(raw, &of); err != nil {
				return err
			}
			if of.Table != "patchbay" {
				continue
			}
			switch kind {
			case "set":
				for _, e := range of.Elem {
					text, err := element(e)
					if err != nil {
						return err
					}
					if of.Name == "ports" {
						ports = append(ports, text)
					} else {
						open[of.Name+" "+text] = true
					}
				}
			case "rule":
				chains[of.Chain] += of.Comment
			}
		}
	}
	if want := []string{fmt.Sprint(g.server.Port)}; !slices.Equal(ports, want) {
		return fmt.Errorf("closed are %q, and should be %q", ports, want)
	}
	want := map[string]bool{}
	for _, n := range live {
		for _, p := range n.from {
			family := 0
			if p.Addr().Is6() {
				family = 1
			}
			want[fmt.Sprintf("open%d %s . %s . %d", 4+2*family, p, databaseAt[family], g.server.Port)] = true
		}
	}
	var errs []error
	for text := range open {
		if !want[text] {
			errs = append(errs, fmt.Errorf("open is %s, which nobody needs", text))
		}
	}
	for text := range want {
		if !open[text] {
			errs = append(errs, fmt.Errorf("%s is not open", text))
		}
	}
	marks := map[string]int{}
	for name, comment := range chains {
		if !strings.HasPrefix(name, "pb_") {
			continue
		}
		known := false
		for linker := range live {
			if strings.Contains(comment, " -"+linker+" ") {
				marks[linker]++
				known = true
			}
		}
		if !known {
			errs = append(errs, fmt.Errorf("nobody owns %s: %s", name, comment))
		}
	}
	for linker := range live {
		if marks[linker] != 1 {
			errs = append(errs, fmt.Errorf("%s owns %d openings", linker, marks[linker]))
		}
	}
	return errors.Join(errs...)
}

// element is one of a set's, as text: a number, a prefix, or several of them.
func element(e any) (string, error) {
	switch e := e.(type) {
	case float64:
		return strconv.Itoa(int(e)), nil
	case string:
		a, err := netip.ParseAddr(e)
		return a.String(), err
	case map[string]any:
		if p, ok := e["prefix"].(map[string]any); ok {
			return fmt.Sprintf("%v/%v", p["addr"], p["len"]), nil
		}
		parts, ok := e["concat"].([]any)
		if !ok || len(parts) != 3 {
			break
		}
		var words []string
		for i, part := range parts {
			word, err := element(part)
			if err != nil {
				return "", err
			}
			if a, err := netip.ParseAddr(word); err == nil && i == 0 {
				word = netip.PrefixFrom(a, a.BitLen()).String()
			}
			words = append(words, word)
		}
		return strings.Join(words, " . "), nil
	}
	return "", fmt.Errorf("%v is an element that nobody asked for", e)
}

// TestAKillLeavesOpenWhatLiveConnectionsNeed is the kill suite where the way to the target
// is guarded.
func TestAKillLeavesOpenWhatLiveConnectionsNeed(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program hundreds of times")
	}
	if *every >= 20 {
		t.Skip("to find its instants takes longer than a small share of them: make crash-short, or -every below 20, runs it")
	}
	grounds := []ground{behindGuards(newestPostgres)}
	if *every == 1 && oldestPostgres() != newestPostgres() {
		grounds = append(grounds, behindGuards(oldestPostgres))
	}
	killed(t, grounds)
}

// TestRotationHasNoGapBehindGuards: the new login is let in before the settings name it,
// and the old one for as long as they do.
func TestRotationHasNoGapBehindGuards(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	rotated(t, []ground{behindGuards(newestPostgres)})
}
