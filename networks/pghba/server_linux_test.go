package pghba_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/testenv"
)

var everything = flag.Bool("whole", false, "every sign-in of the suite is really tried, on every version of PostgreSQL (make test-pghba)")

// The tests sign in from many addresses: this program runs them again in a network of
// its own, which has them all and ends with it.
const (
	insideKey = "PATCHBAY_PGHBA_INSIDE"
	outside   = "NOT CHECKED: only root can make a network with the addresses that sign in"
)

var (
	from = []netip.Prefix{netip.MustParsePrefix("10.1.3.7/32"), netip.MustParsePrefix("10.1.4.0/30"), netip.MustParsePrefix("fd00:1::4/126")}
	at   = []netip.Addr{netip.MustParseAddr("10.1.0.5"), netip.MustParseAddr("fd00:2::5")}
	// addresses are those that the tests sign in from: the edges of from, and what is
	// right beside them.
	addresses = []string{
		"10.1.3.6", "10.1.3.7", "10.1.3.8", "10.1.3.255", "10.1.4.0", "10.1.4.1", "10.1.4.3", "10.1.4.4", "10.66.0.9",
		"fd00:1::3", "fd00:1::4", "fd00:1::7", "fd00:1::8",
	}
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(insideKey) == "" {
		if code, ran := again(); ran {
			os.Exit(code)
		}
	} else if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this program in a network of its own.
func again() (code int, ran bool) {
	runtime.LockOSThread() // the child dies with the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(os.Args[0], os.Args[1:]...) // #nosec G204 G702 -- itself
	cmd.Env = append(os.Environ(), insideKey+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), true
}

// furnish gives the network its addresses.
func furnish() error {
	var batch strings.Builder
	fmt.Fprintln(&batch, "link set lo up")
	for _, a := range slices.Concat(addresses, []string{at[0].String(), at[1].String()}) {
		fmt.Fprintf(&batch, "addr add %s dev lo\n", a)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the network has not its addresses: %w: %s", err, out)
	}
	return nil
}

// theirs is what the pg_hba.conf of a server has before we come.
const theirs = "# PostgreSQL Client Authentication Configuration File\r\n" +
	"#\n\n# kept out, whoever it is\nhostnossl all all 10.66.0.0/16 reject\n\n" +
	"# TYPE  DATABASE        USER            ADDRESS                 METHOD\n" +
	"local   all             postgres                                trust\n" +
	"host    all             postgres        127.0.0.1/32            scram-sha-256 # the administrator\n" +
	"host    all             limited         127.0.0.1/32            scram-sha-256"

// server is a PostgreSQL with a guard.
type server struct {
	*testenv.PostgresServer
	t    *testing.T
	conf string // its pg_hba.conf
	own  string // the file that is Patchbay's, "" before version 16
	tls  bool
	host hosts.Host

	super *pgx.Conn
	seen  string // of which rules are
	rules []hbaRule
	n     int
}

func newServer(t *testing.T, version int, withTLS bool) *server {
	t.Helper()
	if os.Getenv(insideKey) == "" {
		t.Skip(outside)
	}
	s := &server{t: t, tls: withTLS, host: hosts.NewLocal(hosts.DialRules{})}
	s.PostgresServer = testenv.Postgres(t, testenv.PostgresOptions{
		Version: version, TLS: withTLS, HBA: []string{"host all postgres 127.0.0.1/32 scram-sha-256"},
		Settings: map[string]string{"listen_addresses": "'*'", "log_min_messages": "fatal"},
	})
	var err error
	s.super, err = s.Connect(t.Context(), "postgres")
	must(t, err)
	t.Cleanup(func() { _ = s.super.Close(context.Background()) })
	must(t, s.super.QueryRow(t.Context(), "show hba_file").Scan(&s.conf))
	if version >= 16 {
		s.own = filepath.Join(filepath.Dir(s.conf), "pg_hba.patchbay.conf")
	}
	s.set(s.conf, theirs)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) exec(statement string) {
	s.t.Helper()
	_, err := s.super.Exec(context.Background(), statement)
	must(s.t, err)
}

// set writes a file as somebody does by hand, and has the server read it. The file keeps
// its owner.
func (s *server) set(path, text string) {
	s.t.Helper()
	must(s.t, os.WriteFile(path, []byte(text), 0o600))
	s.exec("select pg_reload_conf()")
	s.settled()
}

// settled returns when the server goes by what was asked before: one process
// tells the sessions, reads the rules and takes sessions in, in this order.
func (s *server) settled() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var asked time.Time
	must(s.t, s.super.QueryRow(ctx, "select clock_timestamp(), pg_reload_conf()::text").Scan(&asked, new(string)))
	for done := false; !done; {
		must(s.t, s.super.QueryRow(ctx, "select pg_conf_load_time() > $1", asked).Scan(&done))
	}
	c, err := s.Connect(ctx, "postgres")
	must(s.t, err)
	must(s.t, c.Close(ctx))
}

func (s *server) text(path string) string {
	s.t.Helper()
	b, err := os.ReadFile(path)
	must(s.t, err)
	return string(b)
}

// holder is the file that the rules stand in.
func (s *server) holder() string {
	if s.own != "" {
		return s.own
	}
	return s.conf
}

// guard and target are their registrations.
func (s *server) guard() driver.Config {
	c := driver.Config{ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/hba", Host: s.host}
	if !s.tls {
		c.Properties = []byte(`{"tls":"optional"}`)
	}
	return c
}

func (s *server) target() driver.Config {
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders",
		Endpoint: s.Addr(), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret(s.Password)},
	}
}

// content is all that the guard holds, and what it may have left.
func (s *server) content() (string, error) {
	var b strings.Builder
	names, err := os.ReadDir(filepath.Dir(s.conf))
	if err != nil {
		return "", err
	}
	for _, e := range names {
		if !strings.Contains(e.Name(), "patchbay") && e.Name() != filepath.Base(s.conf) {
			continue
		}
		path := filepath.Join(filepath.Dir(s.conf), e.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "== %s %v %d:%d\n%s\n", e.Name(), info.Mode(), owner.Uid, owner.Gid, text)
	}
	return b.String(), nil
}

// signsIn tries a sign-in, until the server asks for a password or refuses.
func (s *server) signsIn(ctx context.Context, from netip.Addr, port uint16, encrypted bool, login, database string) (bool, error) {
	to := at[0]
	if from.Is6() {
		to = at[1]
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(to, port).String())
	if err != nil {
		if strings.Contains(err.Error(), "refused") && int(port) != s.Port {
			return false, nil
		}
		return false, err
	}
	defer func() { _ = conn.Close() }()
	// What a server is started on next is not kept by connections that have ended.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return false, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if encrypted {
		request, _ := (&pgproto3.SSLRequest{}).Encode(nil)
		answer := make([]byte, 1)
		if _, err := conn.Write(request); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
			return false, fmt.Errorf("no TLS: %q, %w", answer, err)
		}
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- who answers is known
	}
	return asks(conn, map[string]string{"user": login, "database": database})
}

// asks reports whether the server asks for a password, or lets in without; false when it
// refuses by pg_hba.conf.
func asks(conn net.Conn, parameters map[string]string) (bool, error) {
	hello, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters}).Encode(nil)
	if err != nil {
		return false, err
	}
	if _, err := conn.Write(hello); err != nil {
		return false, err
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(conn, head); err != nil {
		return false, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return false, err
	}
	switch {
	case head[0] == 'R':
		return true, nil
	case head[0] == 'E' && strings.Contains(string(body), "C28000\x00") && strings.Contains(string(body), "pg_hba.conf"):
		return false, nil
	}
	return false, fmt.Errorf("the server answers %q %q", head[0], body)
}

// hbaRule is a line as the server says that it reads it.
type hbaRule struct {
	kind             string
	databases, users []string
	address, mask    string
	method           string
}

// allows says whether a sign-in gets as far as the password: by the server itself, or,
// so that the suite ends on the same day, fifteen times in sixteen by the rules that
// the server says it reads. Both have to agree where both are asked.
func (s *server) allows(ctx context.Context, from netip.Addr, to netip.AddrPort, login, database string) (bool, error) {
	worked, sure, err := s.workedOut(ctx, from, login, database)
	if err != nil {
		return false, err
	}
	port := to.Port()
	s.n++
	if sure && int(port) == s.Port && !*everything && s.n%16 != 0 {
		return worked, nil
	}
	tried, err := s.signsIn(ctx, from, port, s.tls, login, database)
	if err == nil && sure && int(port) == s.Port && tried != worked {
		err = fmt.Errorf("%s as %q in %q: the server lets it in: %t, by its rules %t", from, login, database, tried, worked)
	}
	return tried, err
}

func (s *server) workedOut(ctx context.Context, from netip.Addr, login, database string) (open, sure bool, err error) {
	now := ""
	for _, path := range []string{s.conf, s.own} {
		if info, err := os.Stat(path); err == nil {
			now += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), info.Sys().(*syscall.Stat_t).Ino, " ")
		}
	}
	if now != s.seen {
		rows, err := s.super.Query(ctx, "select type, database, user_name, coalesce(address, ''), coalesce(netmask, ''), auth_method from pg_hba_file_rules where error is null")
		if err != nil {
			return false, false, err
		}
		s.rules, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r hbaRule, err error) {
			return r, row.Scan(&r.kind, &r.databases, &r.users, &r.address, &r.mask, &r.method)
		})
		if err != nil {
			return false, false, err
		}
		s.seen = now
	}
	special := regexp.MustCompile(`^(all|replication|sameuser|samerole|[+/@].*)$`)
	decided := false
	for _, r := range s.rules {
		// The view does not say what was quoted.
		if r.method == "scram-sha-256" && (special.MatchString(r.users[0]) || special.MatchString(r.databases[0]) && r.users[0] != "postgres" && r.users[0] != "limited") {
			return false, false, nil
		}
		match := !decided && (r.kind == "host" || r.kind == "hostssl" && s.tls || r.kind == "hostnossl" && !s.tls) &&
			(slices.Contains(r.databases, "all") || slices.Contains(r.databases, database)) && (slices.Contains(r.users, "all") || slices.Contains(r.users, login))
		if match && r.address != "all" {
			mask := net.ParseIP(r.mask)
			if four := mask.To4(); four != nil {
				mask = four
			}
			network := net.IPNet{IP: net.ParseIP(r.address), Mask: net.IPMask(mask)}
			match = network.Contains(net.IP(from.AsSlice()))
		}
		if match {
			open, decided = r.method != "reject", true
		}
	}
	return open, true, nil
}

func (s *server) endpoints() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(at[0], uint16(s.Port)), netip.AddrPortFrom(at[1], uint16(s.Port))}
}

// rule is one of a connection's.
func (s *server) rule(uid string, from ...string) driver.Rule {
	r := driver.Rule{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web").Linker("orders")},
		Name: "pb_" + uid + "_g1", To: s.endpoints()[:1],
	}
	r.Login, r.Sub = r.Name, "orders"
	for _, p := range from {
		r.From = append(r.From, netip.MustParsePrefix(p))
	}
	return r
}

func versions() []int {
	if *everything {
		return []int{13, 14, 15, 16, 17, 18}
	}
	return []int{15, 18}
}

func each(t *testing.T, f func(t *testing.T, s *server)) { on(t, versions(), f) }

// one is each, of what is the same in all versions: on one of them that the test's name
// chooses.
func one(t *testing.T, f func(t *testing.T, s *server)) {
	all := versions()
	if !*everything {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(t.Name()))
		at := int(sum.Sum32() % uint32(len(all))) // #nosec G115 -- a few
		all = all[at : at+1]
	}
	on(t, all, f)
}

func on(t *testing.T, versions []int, f func(t *testing.T, s *server)) {
	for _, version := range versions {
		t.Run(strconv.Itoa(version), func(t *testing.T) { f(t, newServer(t, version, version%2 == 0)) })
	}
}
