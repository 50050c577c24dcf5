package nftables

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv/sshd"
	"patchbay.dev/patchbay/internal/testenv/systemd"
)

// TestOverSSH is a rule's life by a login that is not root, which guards the very port
// that it comes in by. The right that it lacks is the one that the error says.
func TestOverSSH(t *testing.T) {
	if _, err := os.Stat(program); err != nil {
		t.Skipf("there is no %s: `tools/deps.sh nftables` installs it", program)
	}
	files := sshd.User + ` ALL=(root) NOPASSWD: /usr/lib/openssh/sftp-server "", /usr/bin/flock, /usr/bin/test`
	m := sshd.Start(t, sshd.Options{Sudoers: []string{files}})
	raw, err := json.Marshal(map[string]any{"user": sshd.User, "become": "root", "hostKeys": []string{strings.TrimSpace(m.HostKey.Public)}})
	must(t, err)
	host, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/db1", Endpoint: m.Address, Properties: raw,
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)}, Dialer: &net.Dialer{},
	})
	must(t, err)
	t.Cleanup(func() { must(t, host.Close()) })
	at := netip.MustParseAddrPort(m.Address)
	n, err := open(t.Context(), driver.Config{Properties: json.RawMessage(`{"untilReboot":true}`), Host: host, Dialer: &net.Dialer{}},
		driver.Config{Endpoint: m.Address, Dialer: &net.Dialer{}})
	must(t, err)
	r := ruleOf("a", []netip.Prefix{pre("192.0.2.7/32"), pre("2001:db8::/64")}, at, ap("[2001:db8:1::5]:22"))
	err = n.EnsureRule(t.Context(), r)
	refused(t, err, patchbay.AdminRights, "sudo", program)
	_, rest, _ := strings.Cut(patchbay.AsError(err).Fix, "echo '")
	line, _, ok := strings.Cut(rest, "'")
	if !ok || !strings.HasSuffix(line, program) {
		t.Fatalf("the fix %q has no rule of sudo", patchbay.AsError(err).Fix)
	}
	// Who may only list can't do the work, and learns it; what the documentation lists is
	// all that it takes.
	lists := sshd.User + " ALL=(root) NOPASSWD: " + program + " -j list table inet patchbay, " + program + " -j list tables, " + program + " -j list ruleset"
	m.SetSudoers(files, lists)
	_, err = n.(driver.NetworkChecker).Check(t.Context())
	refused(t, err, patchbay.AdminRights, "sudo", program)
	m.SetSudoers(files, lists+", "+program+" -f -")
	if _, err := n.(driver.NetworkChecker).Check(t.Context()); err != nil {
		t.Errorf("with the rules of the documentation: %v", err)
	}
	m.SetSudoers(files, line)

	must(t, n.EnsureRule(t.Context(), r))
	if s, err := n.InspectRule(t.Context(), r); err != nil || s != (driver.RuleState{Exists: true, Ours: true, Exact: true}) {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
	if text := m.Must(program, "list", "table", family, tableName); !strings.Contains(text, "192.0.2.7 . "+m.Host+" . 22") || !strings.Contains(text, m.Beside+" . "+m.Host+" . 22") {
		t.Errorf("the table is\n%s", text)
	}
	if owned, err := n.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Mark != r.Mark {
		t.Errorf("Owned = %v, %v", owned, err)
	}
	must(t, n.RemoveRule(t.Context(), r))
	if s, err := n.InspectRule(t.Context(), r); err != nil || s != (driver.RuleState{}) {
		t.Errorf("InspectRule = %+v, %v", s, err)
	}
}

// changed is a host whose programs are started otherwise.
type changed struct {
	hosts.Host
	argv func([]string) []string
}

func (c changed) Run(ctx context.Context, command hosts.Command) (hosts.Result, error) {
	command.Argv = c.argv(command.Argv)
	return c.Host.Run(ctx, command)
}

// without is a host that has not some program.
type without struct {
	hosts.Host
	program string
}

func (h without) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	if c.Argv[0] == h.program {
		return hosts.Result{}, &fs.PathError{Op: "exec", Path: h.program, Err: fs.ErrNotExist}
	}
	return h.Host.Run(ctx, c)
}

// TestWhatIsMissingIsSaid, and that nothing is done without it.
func TestWhatIsMissingIsSaid(t *testing.T) {
	w := newWorld(t)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	here := hosts.NewLocal(hosts.DialRules{})
	for _, tt := range []struct {
		name  string
		host  hosts.Host
		code  patchbay.Code
		words []string
	}{
		{"the right", changed{w.box, func(argv []string) []string {
			return append([]string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}, argv...)
		}}, patchbay.Forbidden, []string{"CAP_NET_ADMIN"}},
		{"the program", changed{here, func([]string) []string { return []string{"/nowhere/nft"} }}, patchbay.NotSupported, []string{"apt-get install nftables"}},
		{"JSON", changed{here, func([]string) []string {
			return []string{"sh", "-c", "echo Error: JSON support not compiled-in; exit 1"}
		}}, patchbay.NotSupported, []string{"JSON"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.config(map[string]any{"untilReboot": true})
			c.Host = tt.host
			n, err := open(t.Context(), c, w.guarded())
			must(t, err)
			refused(t, n.EnsureRule(t.Context(), r), tt.code, tt.words...)
			refused(t, n.RemoveRule(t.Context(), r), tt.code, tt.words...)
			_, err = n.InspectRule(t.Context(), r)
			refused(t, err, tt.code, tt.words...)
			_, err = n.Owned(t.Context())
			refused(t, err, tt.code, tt.words...)
			_, err = n.(driver.NetworkChecker).Check(t.Context())
			refused(t, err, tt.code, tt.words...)
		})
	}
	// Without systemd nothing is closed that a reboot would open.
	c := w.config(nil)
	c.Host = without{w.box, systemctl}
	n, err := open(t.Context(), c, w.guarded())
	must(t, err)
	refused(t, n.EnsureRule(t.Context(), r), patchbay.NotSupported, "--until-reboot")
	_, err = n.(driver.NetworkChecker).Check(t.Context())
	refused(t, err, patchbay.NotSupported, "--until-reboot")
	w.want("the bystander", w.other, bystander4, db4, true)
	for _, bad := range []string{"x", "10.0.0.1/33", "", "fe80::1%eth0"} {
		if _, err := open(t.Context(), w.config(map[string]any{"allow": []string{bad}}), w.guarded()); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("allow %q: %v", bad, err)
		}
	}
}

// booted is a machine of systemd's as Patchbay works on it. Its files are its own, so
// that they are written by its programs.
type booted struct {
	hosts.Host
	m *systemd.Machine
}

func (b booted) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	cmd := b.m.Command(ctx, c.Argv...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) {
		return hosts.Result{Exit: exit.ExitCode(), Output: out}, nil
	}
	return hosts.Result{Output: out}, err
}

func (b booted) ReadFile(ctx context.Context, name string, _ int64) (hosts.File, error) {
	out, err := b.m.Command(ctx, "cat", name).Output()
	if err != nil {
		return hosts.File{}, fs.ErrNotExist
	}
	return hosts.File{Content: out}, nil
}

func (b booted) ReplaceFile(ctx context.Context, r hosts.Replacement) error {
	cmd := b.m.Command(ctx, "dd", "status=none", "of="+path.Join(path.Dir(r.Path), r.Temp))
	cmd.Stdin = bytes.NewReader(r.Content)
	return errors.Join(cmd.Run(), b.m.Command(ctx, "mv", path.Join(path.Dir(r.Path), r.Temp), r.Path).Run())
}

func (b booted) CheckReplace(context.Context, string) error   { return nil }
func (b booted) Lock(context.Context, string) (func(), error) { return func() {}, nil }
func (b booted) RemoveFile(ctx context.Context, name, _ string) error {
	return b.m.Command(ctx, "rm", name).Run()
}

// TestAMachineBoots with its guard, and what others do with nftables.service does not
// take it away.
func TestAMachineBoots(t *testing.T) {
	if _, err := os.Stat("/lib/systemd/system/nftables.service"); err != nil {
		t.Skip("the package nftables is not installed: `make deps` does")
	}
	m := systemd.Boot(t)
	run := func(argv ...string) string {
		t.Helper()
		out, err := m.Command(t.Context(), argv...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
		return string(out)
	}
	// What Debian's service loads, and the machine boots.
	run("sh", "-c", `printf '#!/usr/sbin/nft -f\nflush ruleset\ntable inet filter {\n}\n' >/etc/nftables.conf
		mkdir -p /etc/systemd/system/`+systemd.Target+`.wants /etc/systemd/system/sysinit.target.wants; systemctl enable nftables.service`)
	n, err := open(t.Context(), driver.Config{Properties: json.RawMessage(`{"allow":["10.0.0.9"]}`), Host: booted{hosts.NewLocal(hosts.DialRules{}), m}, Dialer: &net.Dialer{}},
		driver.Config{Endpoint: "192.0.2.1:5432", Dialer: nowhere{}})
	must(t, err)
	r := ruleOf("a", []netip.Prefix{web}, db4)
	must(t, n.EnsureRule(t.Context(), r))
	there := func(after string) {
		t.Helper()
		settle(t, m)
		s, err := n.InspectRule(t.Context(), r)
		if err != nil || !s.Exact || !strings.Contains(s.Despite, "10.0.0.5") { // which is not its address
			t.Errorf("after %s InspectRule = %+v, %v", after, s, err)
			t.Log(run("systemctl", "status", "--no-pager", unitName))
		}
	}
	there("it is made")
	run("systemctl", "start", "nftables.service")
	there("a start of nftables.service")
	run("systemctl", "reload", "nftables.service")
	there("a reload of nftables.service")
	run("systemctl", "restart", "nftables.service")
	there("a restart of nftables.service")
	run("systemctl", "stop", "nftables.service")
	run("systemctl", "start", "nftables.service")
	there("a stop and a start of nftables.service")
	m.Reboot(t)
	there("a boot")
	if text := run(program, "list", "tables"); !strings.Contains(text, "table inet filter") {
		t.Errorf("the others' tables after a boot are %q", text)
	}
	must(t, n.RemoveRule(t.Context(), r))
	m.Reboot(t)
	if s, err := n.InspectRule(t.Context(), r); err != nil || s != (driver.RuleState{}) {
		t.Errorf("after a removal and a boot InspectRule = %+v, %v", s, err)
	}
	if text := run(program, "list", "set", family, tableName, "ports"); !strings.Contains(text, "5432") {
		t.Errorf("after a boot the port is not closed: %s", text)
	}
}

// settle waits until nothing is left to do: a job that follows from another one is not
// waited for by who asked for that.
func settle(t *testing.T, m *systemd.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := m.Command(ctx, "systemctl", "list-jobs", "--no-legend", "--no-pager").CombinedOutput()
		if err == nil && strings.TrimSpace(strings.ReplaceAll(string(out), "No jobs running.", "")) == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("there are jobs left: %v %s", err, out)
		}
	}
}

type nowhere struct{}

func (nowhere) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("there is no way")
}
