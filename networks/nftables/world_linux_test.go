package nftables

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// world is three machines: the database's, which is guarded, one of applications, and
// a bystander's. Every address of 10.64.0.0/10 and fd64::/32 is the applications', and
// Patchbay speaks from 10.64.9.9 and fd00::1.
type world struct {
	t              testing.TB
	db, app, other *netns.Network
	box            *box
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ap(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
func pre(text string) netip.Prefix  { return netip.MustParsePrefix(text) }

// Where the database listens, and the addresses of its machine besides.
var (
	db4, db6      = ap("10.0.0.5:5432"), ap("[fd00::5]:5433")
	beside4       = ap("10.0.1.5:5432") // towards the bystander
	bystander4    = netip.MustParseAddr("10.0.1.1")
	bystander6    = netip.MustParseAddr("fd01::1")
	web, batch    = pre("10.64.3.7/32"), pre("10.64.4.0/24")
	web6          = pre("fd64:0:0:1::/64")
	controlPlane4 = netip.MustParseAddr("10.64.9.9")
	controlPlane6 = netip.MustParseAddr("fd00::1")
	endpoint      = db4.String()
)

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make the networks of other machines")
	}
	if _, err := os.Stat(program); err != nil {
		t.Skipf("there is no %s: `tools/deps.sh nftables` installs it", program)
	}
	w := &world{t: t}
	db, app, other := machineOf(t), machineOf(t), machineOf(t)
	w.db, w.app, w.other = netns.Of(t, db), netns.Of(t, app), netns.Of(t, other)
	w.sh(w.db, `set -e
		ip link set lo up
		ip link add apps type veth peer name eth0 netns `+strconv.Itoa(app)+`
		ip link add bystander type veth peer name eth0 netns `+strconv.Itoa(other)+`
		ip addr add 10.0.0.5/24 dev apps; ip addr add fd00::5/64 dev apps nodad; ip link set apps up
		ip addr add 10.0.1.5/24 dev bystander; ip addr add fd01::5/64 dev bystander nodad; ip link set bystander up`)
	w.sh(w.app, `set -e
		ip link set lo up
		ip addr add 10.0.0.1/24 dev eth0; ip addr add fd00::1/64 dev eth0 nodad; ip link set eth0 up
		echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind; ip addr add 10.64.9.9/32 dev lo
		ip route add local 10.64.0.0/10 dev lo; ip -6 route add local fd64::/32 dev lo
		ip route add default via 10.0.0.5 src 10.64.9.9; ip -6 route add default via fd00::5
		ip route replace 10.0.0.0/24 dev eth0 src 10.64.9.9`)
	w.sh(w.other, `set -e
		ip link set lo up
		ip addr add 10.0.1.1/24 dev eth0; ip addr add fd01::1/64 dev eth0 nodad; ip link set eth0 up
		ip route add default via 10.0.1.5; ip -6 route add default via fd01::5`)
	w.sh(w.db, `set -e
		ip route add 10.64.0.0/10 via 10.0.0.1; ip -6 route add fd64::/32 via fd00::1`)
	for _, port := range []string{":5432", ":5433", ":6432"} {
		w.echo(w.db.Listen(t, port))
	}
	w.box = newBox(t, w.db)
	return w
}

// machineOf is a process in a network of its own, which ends with the test.
func machineOf(t testing.TB) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "echo up && exec cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	if err := cmd.Start(); err != nil {
		t.Skipf("no network can be made: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	_, err = io.ReadFull(out, make([]byte, 3))
	must(t, err)
	return cmd.Process.Pid
}

func (w *world) sh(n *netns.Network, script string) string {
	w.t.Helper()
	out, err := n.Inside("sh", "-c", script).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// nft runs a script of nft's on the database's machine.
func (w *world) nft(script string) error {
	cmd := w.db.Inside(program, "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}

// echo answers what comes, until the test ends.
func (w *world) echo(l net.Listener) {
	var open sync.Map
	w.t.Cleanup(func() {
		open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, nil)
			go func() {
				defer open.Delete(c)
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// patience bounds what must come; haste bounds the wait for what is dropped, and does
// not come.
const (
	patience = 20 * time.Second
	haste    = 300 * time.Millisecond
)

// reaches tries whether a connection is made, and answered.
func reaches(ctx context.Context, n *netns.Network, from netip.Addr, to netip.AddrPort) (bool, error) {
	c, err := n.DialFrom(ctx, from, to)
	if err == nil {
		defer func() { _ = c.Close() }()
		if err = speak(c, "x"); err == nil {
			return true, nil
		}
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return false, err
}

// speak sends a word, and waits for its echo.
func speak(c net.Conn, word string) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(word)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, len(word)))
	return err
}

func (w *world) want(what string, n *netns.Network, from netip.Addr, to netip.AddrPort, want bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	got, err := reaches(ctx, n, from, to)
	if err != nil || got != want {
		w.t.Errorf("%s: from %s to %s: open is %t, %v, want %t", what, from, to, got, err, want)
	}
}

// box is the database's machine as Patchbay works on it: its network is another one,
// its files are in a directory of the test's, and its manager of services keeps but
// what it is told.
type box struct {
	hosts.Host
	net  *netns.Network
	root string

	mu      sync.Mutex
	enabled bool
	// effect, when there is one, is asked before each effect, and gives whether it
	// happens and whether its doer lives on.
	effect func(what string) (happens, lives bool)
}

func newBox(t testing.TB, n *netns.Network) *box {
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(unitFile)), 0o755))
	return &box{Host: hosts.NewLocal(hosts.DialRules{}), net: n, root: root}
}

var errDead = errors.New("the process is dead")

func (b *box) do(what string, effect func() error) error {
	happens, lives := true, true
	if b.effect != nil {
		happens, lives = b.effect(what)
	}
	var err error
	if happens {
		err = effect()
	}
	if !lives {
		return errDead
	}
	return err
}

func (b *box) Run(ctx context.Context, c hosts.Command) (result hosts.Result, err error) {
	switch {
	case c.Argv[0] == systemctl && slices.Contains(c.Argv, "show"):
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.enabled {
			return hosts.Result{Output: []byte("UnitFileState=enabled\nActiveState=active\n")}, nil
		}
		return hosts.Result{Output: []byte("UnitFileState=\nActiveState=inactive\n")}, nil
	case c.Argv[0] == systemctl:
		err = b.do("systemctl "+c.Argv[2], func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.enabled = b.enabled || c.Argv[2] == "enable"
			return nil
		})
		return hosts.Result{}, err
	}
	run := func() error {
		c.Argv = b.net.Inside(c.Argv...).Args
		result, err = b.Host.Run(ctx, c)
		return err
	}
	if slices.Contains(c.Argv, "list") {
		return result, errors.Join(run())
	}
	err = b.do("nft", run)
	return result, err
}

func (b *box) at(path string) string { return filepath.Join(b.root, path) }

func (b *box) ReadFile(ctx context.Context, path string, limit int64) (hosts.File, error) {
	return b.Host.ReadFile(ctx, b.at(path), limit)
}

func (b *box) CheckReplace(ctx context.Context, path string) error {
	return b.Host.CheckReplace(ctx, b.at(path))
}

func (b *box) ReplaceFile(ctx context.Context, r hosts.Replacement) error {
	name := r.Path
	r.Path = b.at(r.Path)
	return b.do("write "+name, func() error { return b.Host.ReplaceFile(ctx, r) })
}

func (b *box) RemoveFile(ctx context.Context, path, sum string) error {
	return b.do("remove "+path, func() error { return b.Host.RemoveFile(ctx, b.at(path), sum) })
}

func (b *box) Lock(ctx context.Context, path string) (func(), error) {
	return b.Host.Lock(ctx, b.at(path))
}

// reboot forgets what the kernel has, and loads what is loaded at boot.
func (w *world) reboot() {
	w.t.Helper()
	must(w.t, w.nft("flush ruleset"))
	if _, err := os.Stat(w.box.at(rulesFile)); err == nil && w.box.enabled {
		w.sh(w.db, program+" -f "+w.box.at(rulesFile))
	}
}

func (w *world) config(properties map[string]any) driver.Config {
	w.t.Helper()
	if properties == nil {
		properties = map[string]any{}
	}
	raw, err := json.Marshal(properties)
	must(w.t, err)
	return driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/db1", Properties: raw, Host: w.box, Dialer: &net.Dialer{},
	}
}

// guarded is the registration of the database.
func (w *world) guarded() driver.Config {
	return driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders", Endpoint: endpoint, Dialer: w.app,
	}
}

func (w *world) open(properties map[string]any) driver.Network {
	w.t.Helper()
	n, err := Driver().Open(w.t.Context(), w.config(properties), w.guarded())
	must(w.t, err)
	return n
}

func ruleOf(uid string, from []netip.Prefix, to ...netip.AddrPort) driver.Rule {
	return driver.Rule{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web").Linker("orders")},
		Name: "pb_" + uid + "_g1", From: from, To: to,
	}
}

// content is all that the guard holds, without what the kernel numbers and the order in
// which it happens to list.
func (w *world) content() (string, error) {
	out, err := w.db.Inside(program, "-j", "list", "ruleset").Output()
	if err != nil {
		return "", err
	}
	var list struct{ Nftables []map[string]map[string]any }
	if err := json.Unmarshal(out, &list); err != nil {
		return "", err
	}
	rules, lines := map[string]string{}, []string{}
	for _, item := range list.Nftables {
		for kind, what := range item {
			if kind == "metainfo" {
				continue
			}
			delete(what, "handle")
			if elements, ok := what["elem"].([]any); ok {
				slices.SortFunc(elements, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
			text, err := json.Marshal(what)
			if err != nil {
				return "", err
			}
			if kind == "rule" { // their order counts
				rules[fmt.Sprint(what["family"], what["table"], what["chain"])] += string(text) + "\n"
				continue
			}
			lines = append(lines, kind+" "+string(text)+"\n")
		}
	}
	for _, text := range rules {
		lines = append(lines, text)
	}
	slices.Sort(lines)
	file, err := os.ReadFile(w.box.at(rulesFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return strings.Join(lines, "") + string(file), nil
}
