package sshd

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Machine is one that runs. It ends with its test, and nothing of it stays: its
// mounts, network and users are those of its namespaces.
type Machine struct {
	Address string // host:port
	Host    string // its address
	Beside  string // the test's own address on the network between the two
	Key     Key    // signs in as User and as root
	HostKey Key
	// Home is the user's, which the user may write in.
	Home string

	t       testing.TB
	options Options
	dir     string
	holder  *exec.Cmd
	server  *exec.Cmd
	log     *os.File
}

// Start starts a machine, or skips the test and says why there can be none.
func Start(t testing.TB, o Options) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make the namespaces of another machine")
	}
	for _, program := range []string{"/usr/sbin/sshd", "/usr/bin/nsenter", "/usr/sbin/ip"} {
		if _, err := os.Stat(program); err != nil {
			t.Skipf("there is no %s: `tools/deps.sh sshd` installs it", program)
		}
	}
	dir, err := os.MkdirTemp("", "patchbay-sshd-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755)) // #nosec G302 -- the user's home is in it
	m := &Machine{t: t, options: o, dir: dir, Key: NewKey(t, ""), HostKey: NewKey(t, ""), Home: filepath.Join(dir, "home")}
	must(t, os.Mkdir(m.Home, 0o700))
	must(t, os.Chown(m.Home, UID, UID))
	m.files()
	m.boot()
	m.StartServer()
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *Machine) write(name, content string, mode os.FileMode) {
	must(m.t, os.WriteFile(m.path(name), []byte(content), mode))
}

// files are those that the machine has otherwise than this one.
func (m *Machine) files() {
	shell := m.options.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	password := "*"
	if m.options.Password != "" {
		cmd := exec.CommandContext(context.Background(), "openssl", "passwd", "-6", "-stdin")
		cmd.Stdin = strings.NewReader(m.options.Password)
		out, err := cmd.Output()
		if err != nil {
			m.t.Skipf("there is no openssl to hash a password with: %v", err)
		}
		password = strings.TrimSpace(string(out))
	}
	for name, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:%s\n", User, UID, UID, m.Home, shell),
		"group":  fmt.Sprintf("%s:x:%d:\n", User, UID),
		"shadow": User + ":" + password + ":19000:0:99999:7:::\n",
	} {
		old, err := os.ReadFile("/etc/" + name)
		must(m.t, err)
		info, err := os.Stat("/etc/" + name)
		must(m.t, err)
		// Nor does a shell of root's that reads files of this machine's slow it down.
		text := regexp.MustCompile(`(?m)^(root:[^:]*:0:0:[^:]*:[^:]*):.*$`).ReplaceAllString(strings.TrimRight(string(old), "\n"), "$1:/bin/sh")
		m.write(name, text+"\n"+line, info.Mode().Perm())
	}
	name, err := os.Hostname()
	must(m.t, err)
	m.write("hosts", "127.0.0.1 localhost "+name+"\n::1 localhost\n", 0o644)
	m.write("sudoers", "Defaults env_reset\nDefaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\nroot ALL=(ALL:ALL) ALL\n"+strings.Join(m.options.Sudoers, "\n")+"\n", 0o440)
	m.write("authorized_keys", m.Key.Public, 0o644)
	m.write("host_key", m.HostKey.Private, 0o600)
}

// boot makes the namespaces, and the network between the machine and this one.
func (m *Machine) boot() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const holder = `
set -e
ip link set lo up
mount --make-rprivate /
for f in passwd group shadow hosts sudoers; do [ ! -e /etc/$f ] || mount --bind "$1/$f" /etc/$f; done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd
eval "$2"
echo ready
read end
`
	m.holder = exec.Command("sh", "-c", holder, "sh", m.dir, m.options.Setup)
	m.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	m.holder.Stderr = &said
	stdin, err := m.holder.StdinPipe()
	must(m.t, err)
	stdout, err := m.holder.StdoutPipe()
	must(m.t, err)
	if err := m.holder.Start(); err != nil {
		m.t.Skipf("no namespaces can be made here: %v", err)
	}
	m.t.Cleanup(func() {
		m.StopServer()
		m.KillAll()
		_ = stdin.Close()
		_ = m.holder.Process.Kill()
		_ = m.holder.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		_ = m.holder.Process.Kill()
		_ = m.holder.Wait() // it says nothing more
		if m.options.Setup != "" {
			m.t.Fatalf("the machine does not come up: %v %s", err, said.String())
		}
		m.t.Skipf("the machine does not come up: %v %s", err, said.String())
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	link := "pb" + hex.EncodeToString(id)
	for range 20 { // until a network is free
		_, _ = rand.Read(id)
		net := fmt.Sprintf("10.%d.%d.%d", 192+id[0]%32, id[1], id[2]&^3)
		base := strings.TrimSuffix(net, fmt.Sprint(id[2]&^3))
		m.Beside, m.Host = base+fmt.Sprint(id[2]&^3+1), base+fmt.Sprint(id[2]&^3+2)
		if out, err := exec.CommandContext(ctx, "ip", "route", "show", "root", net+"/30").Output(); err == nil && len(out) == 0 {
			break
		}
	}
	pid := strconv.Itoa(m.holder.Process.Pid)
	for _, argv := range [][]string{
		{"ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "addr", "add", m.Beside + "/30", "dev", link},
		{"ip", "link", "set", link, "up"},
	} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			m.t.Skipf("there can be no network to another machine: %v: %s", argv, out)
		}
	}
	m.Must("ip", "addr", "add", m.Host+"/30", "dev", "eth0")
	m.Must("ip", "link", "set", "eth0", "up")
	m.Must("ip", "route", "add", "default", "via", m.Beside)
}

// Pid is of a process in the machine's own namespaces.
func (m *Machine) Pid() int { return m.holder.Process.Pid }

// Command is a command that runs on the machine, as root.
func (m *Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	pid := strconv.Itoa(m.holder.Process.Pid)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", pid, "--mount", "--net", "--wdns=/", "--"}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Must runs a command on the machine, and gives what it says.
func (m *Machine) Must(argv ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := m.Command(ctx, argv...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// Until runs a command on the machine until it succeeds.
func (m *Machine) Until(argv ...string) {
	m.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		out, err := m.Command(ctx, argv...).CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.t.Fatalf("%q does not come to succeed: %v: %s", argv, err, out)
		}
	}
}

// StartServer starts sshd with the machine's files as they are, and waits for it.
func (m *Machine) StartServer() {
	m.t.Helper()
	config := append([]string{}, m.options.Config...)
	config = append(config,
		"Port 22", "ListenAddress 0.0.0.0", "HostKey "+m.path("host_key"), "AuthorizedKeysFile "+m.path("authorized_keys"), "PidFile none", "StrictModes no", "UsePAM no",
		"PermitRootLogin yes", "PasswordAuthentication no", "Subsystem sftp internal-sftp", "LogLevel VERBOSE", "MaxStartups 100", "UseDNS no", "PrintMotd no", "PrintLastLog no")
	m.write("sshd_config", strings.Join(config, "\n")+"\n", 0o600)
	var err error
	m.log, err = os.OpenFile(m.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(m.t, err)
	m.server = m.Command(context.Background(), "/usr/sbin/sshd", "-D", "-e", "-f", m.path("sshd_config"))
	m.server.Stderr = m.log
	must(m.t, m.server.Start())
	m.Address = net.JoinHostPort(m.Host, "22")
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", m.Address)
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 4))
			_ = conn.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("sshd does not answer: %v\n%s", err, m.Log())
		}
	}
}

// StopServer stops sshd; sessions go on, as they do when a service is restarted.
func (m *Machine) StopServer() {
	if m.server != nil {
		_ = m.server.Process.Kill()
		_ = m.server.Wait()
		_ = m.log.Close()
		m.server = nil
	}
}

// Reboot ends every session and sshd, and starts sshd anew.
func (m *Machine) Reboot() {
	m.t.Helper()
	m.StopServer()
	m.KillAll()
	m.StartServer()
}

// KillSessions kills what sshd has started, and those of its processes that serve
// a connection.
func (m *Machine) KillSessions() { m.kill(m.server.Process.Pid) }

// KillAll kills everything on the machine but what holds its namespaces.
func (m *Machine) KillAll() { m.kill(0) }

// kill kills all processes of the machine but one, and what holds its namespaces.
func (m *Machine) kill(but int) {
	ours, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", m.holder.Process.Pid))
	if err != nil {
		return
	}
	for {
		found := false
		processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
		for _, name := range processes {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			if pid == m.holder.Process.Pid || pid == but {
				continue
			}
			if at, err := os.Readlink(name); err != nil || at != ours {
				continue
			}
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(stat), ") Z ") {
				continue
			}
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				found = true
			}
		}
		if !found {
			return
		}
	}
}

// ChangeHostKey gives the machine another host key, as one that was set up anew.
func (m *Machine) ChangeHostKey() {
	m.t.Helper()
	m.HostKey = NewKey(m.t, "")
	m.write("host_key", m.HostKey.Private, 0o600)
	m.Reboot()
}

// Authorize lets another key sign in, as the user and as root.
func (m *Machine) Authorize(k Key) { m.write("authorized_keys", m.Key.Public+k.Public, 0o644) }

// SetSudoers replaces the rules of sudo.
func (m *Machine) SetSudoers(lines ...string) {
	m.options.Sudoers = lines
	file := m.path("sudoers")
	head, err := os.ReadFile(file)
	must(m.t, err)
	base, _, _ := strings.Cut(string(head), "root ALL=")
	// In place: it is mounted.
	must(m.t, os.WriteFile(file, []byte(base+"root ALL=(ALL:ALL) ALL\n"+strings.Join(lines, "\n")+"\n"), 0o440)) // #nosec G306 -- as sudo wants it
}

// Silence drops every packet to and from the machine, until the function is called:
// nobody is told that the other is gone.
func (m *Machine) Silence() (restore func()) {
	m.t.Helper()
	if _, err := os.Stat("/usr/sbin/nft"); err != nil {
		m.t.Skip("there is no nft: `tools/deps.sh sshd` installs it")
	}
	m.Must("nft", "add table inet silence; add chain inet silence in { type filter hook input priority 0; policy drop; }; add chain inet silence out { type filter hook output priority 0; policy drop; }")
	return func() { m.Must("nft", "delete table inet silence") }
}

// Log is what sshd has said.
func (m *Machine) Log() string {
	b, _ := os.ReadFile(m.path("log"))
	return string(b)
}
