package nftables

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
)

const (
	program   = "/usr/sbin/nft"
	systemctl = "/usr/bin/systemctl"
	// rulesFile is loaded at boot. Its directory is there on every machine, and is what
	// writers lock.
	rulesFile = "/etc/patchbay-nftables.nft"
	unitName  = "patchbay-nftables.service"
	unitFile  = "/etc/systemd/system/" + unitName
)

// rulesHeading begins a file of ours.
const rulesHeading = "# Patchbay's guard: who may connect to which port of this machine. It is written anew\n"

const rulesAbout = rulesHeading + `# with every change. To take all of it away, which opens the ports:
#   systemctl disable ` + unitName + `
#   rm ` + rulesFile + `
#   nft delete table ` + family + ` ` + tableName + `
`

// unit loads the file. nftables.service, where a machine has it, flushes everything
// when it starts, stops or is reloaded: it comes before, and ours follows it.
const unitText = `# Written by Patchbay.
[Unit]
Description=Ports that Patchbay guards
ConditionPathExists=` + rulesFile + `
DefaultDependencies=no
Wants=network-pre.target
After=nftables.service
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
StandardInput=null
ExecStart=` + program + ` -f ` + rulesFile + `
ExecReload=` + program + ` -f ` + rulesFile + `

[Install]
WantedBy=sysinit.target nftables.service
`

// machine is where the guard is.
type machine struct{ host hosts.Host }

const (
	maxList = 64 << 20 // bytes of a list of all rules: a cluster's node has tens of thousands
	maxFile = 16 << 20
	// backLimit bounds what is done though the caller has gone.
	backLimit = 20 * time.Second
)

// run runs a program. What it says of a failure is in the result.
func (m machine) run(ctx context.Context, stdin string, argv ...string) (hosts.Result, error) {
	result, err := m.host.Run(ctx, hosts.Command{Argv: argv, Stdin: []byte(stdin), MaxOutput: maxList})
	if err != nil {
		return result, m.cannotRun(argv[0], err)
	}
	return result, nil
}

func (m machine) cannotRun(name string, err error) error {
	var known *patchbay.Error
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case missing && name == program:
		return patchbay.Errorf(patchbay.NotSupported, "the machine has no %s", program).
			WithFix("apt-get install nftables   (on the machine; other distributions call it the same)")
	case missing:
		return patchbay.Errorf(patchbay.NotSupported, "the machine has no %s, which would load the rules at boot", name).
			WithFix("register the guard again with --until-reboot: the next boot then opens what it closed")
	case errors.Is(err, fs.ErrPermission):
		return patchbay.Errorf(patchbay.Forbidden, "Patchbay may not run %s on the machine", name).WithFix("%s", m.rights())
	}
	return patchbay.Errorf(patchbay.Internal, "%s can't be run: %w", name, err)
}

// rights say how Patchbay gets what it needs, where it is.
func (m machine) rights() string {
	if _, here := m.host.(*hosts.Local); here {
		return "let the server work as root, or give its unit AmbientCapabilities=CAP_NET_ADMIN and register the guard with --until-reboot; or register this machine as one that is reached by SSH, with --become root"
	}
	return "register the host with --become root: patchbay host check NAME prints the rules of sudo that it needs, and one more is for " + program
}

// failed says why nft said no.
func (m machine) failed(what string, got hosts.Result) error {
	said := string(got.Output)
	e := func(code patchbay.Code, format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(code, format, args...).WithSaid(driver.LastWords(got.Output, nil))
	}
	switch {
	case strings.Contains(said, "peration not permitted"), strings.Contains(said, "must be root"):
		return e(patchbay.Forbidden, "nft may not %s: it lacks CAP_NET_ADMIN", what).WithFix("%s", m.rights())
	case strings.Contains(said, "JSON support not compiled"):
		return e(patchbay.NotSupported, "the machine's nft is built without JSON").WithFix("install the package of nftables that has it   (nftables-json, on OpenWrt)")
	case strings.Contains(said, "peration not supported"), strings.Contains(said, "syntax error"), strings.Contains(said, "rotocol not supported"):
		return e(patchbay.NotSupported, "the machine's nft or kernel is too old to %s: it needs Linux 5.9 and nftables 0.9.4", what).WithFix("uname -r; nft --version   (on the machine)")
	}
	return e(patchbay.Internal, "nft can't %s: it failed with exit code %d", what, got.Exit).WithFix("%s list table %s %s   (on the machine)", program, family, tableName)
}

// list is our table, or nothing.
func (m machine) list(ctx context.Context) ([]listed, error) {
	got, err := m.run(ctx, "", program, "-j", "list", "table", family, tableName)
	if err != nil {
		return nil, err
	}
	if got.Exit == 0 {
		return m.parsed(got)
	}
	// It is not there, or there is another reason: the list of all tables knows.
	all, err := m.run(ctx, "", program, "-j", "list", "tables")
	if err != nil {
		return nil, err
	}
	if all.Exit != 0 {
		return nil, m.failed("list the tables", all)
	}
	list, err := m.parsed(all)
	if err == nil && ours(list) != nil {
		err = m.failed("list the table "+family+" "+tableName, got)
	}
	return nil, err
}

// listAll is every table.
func (m machine) listAll(ctx context.Context) ([]listed, error) {
	got, err := m.run(ctx, "", program, "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	if got.Exit != 0 {
		return nil, m.failed("list all rules", got)
	}
	return m.parsed(got)
}

func (m machine) parsed(got hosts.Result) ([]listed, error) {
	list, err := parseList(got.Output)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "what nft lists can't be read: %w", err)
	}
	return list, nil
}

// apply hands nft a transaction.
func (m machine) apply(ctx context.Context, script string) error {
	if err := failpoint.Hit(ctx, "nftables/table/before"); err != nil {
		return err
	}
	got, err := m.run(ctx, script, program, "-f", "-")
	if err != nil {
		return err
	}
	if got.Exit != 0 {
		return m.failed("change the table "+family+" "+tableName, got)
	}
	return failpoint.Hit(ctx, "nftables/table/after")
}

// tryOut hands nft a transaction that changes nothing, in the way of apply: rules of sudo
// may be for its very arguments.
func (m machine) tryOut(ctx context.Context) error {
	got, err := m.run(ctx, trial, program, "-f", "-")
	if err == nil && got.Exit != 0 {
		err = m.failed("change a table", got)
	}
	return err
}

// applyAnyhow is apply when the caller may have gone.
func (m machine) applyAnyhow(ctx context.Context, script string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backLimit)
	defer cancel()
	return m.apply(ctx, script)
}

// elsewhere says that none of the addresses is the machine's: what is sent to them does
// not come here. "" where it does, or nobody knows.
func (m machine) elsewhere(ctx context.Context, to []netip.AddrPort) string {
	for _, at := range to {
		got, err := m.host.Run(ctx, hosts.Command{Argv: []string{"ip", "-o", "route", "get", at.Addr().String()}})
		routed := got.Exit == 0 && !bytes.HasPrefix(got.Output, []byte("local "))
		if err != nil || !routed && !bytes.Contains(got.Output, []byte("unreachable")) {
			return ""
		}
	}
	return fmt.Sprintf("the machine of the guard has not the address %s", to[0].Addr())
}

func (m machine) lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = m.host.Lock(ctx, rulesFile)
	if err != nil {
		return nil, m.fault(rulesFile, err)
	}
	return unlock, nil
}

// rulesIn is the file, as it was read.
type rulesIn struct {
	records records // nil when there is no file
	sum     string  // "" when there is none
}

var commentForm = regexp.MustCompile(`^\t\treturn comment "([^"]*)"$`)

// readFile reads what is loaded at boot.
func (m machine) readFile(ctx context.Context) (rulesIn, error) {
	f, err := m.host.ReadFile(ctx, rulesFile, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return rulesIn{}, nil
	}
	if err != nil {
		return rulesIn{}, m.fault(rulesFile, err)
	}
	if !bytes.HasPrefix(f.Content, []byte(rulesHeading)) {
		return rulesIn{}, patchbay.Errorf(patchbay.NotOurs, "%s is there, and Patchbay did not write it", rulesFile).WithFix("mv %s ELSEWHERE", rulesFile)
	}
	in := rulesIn{records{}, hosts.Sum(f.Content)}
	lines := bufio.NewScanner(bytes.NewReader(f.Content))
	name, text := "", ""
	for lines.Scan() {
		line := lines.Text()
		if begun, ok := strings.CutPrefix(line, "\tchain "); ok {
			name, text = strings.TrimSuffix(begun, " {"), ""
		}
		if m := commentForm.FindStringSubmatch(line); m != nil {
			text += m[1]
		}
		if r, ok := parseRecord(name, text); ok && line == "\t}" && isRecord(name) {
			in.records[name] = r
		}
	}
	return in, lines.Err()
}

// canKeep fails where the file or its unit could not be written, before anything else
// is done; ready says that the unit need not be.
func (m machine) canKeep(ctx context.Context) (ready bool, err error) {
	if ready, err = m.enabled(ctx); err != nil {
		return false, err
	}
	paths := []string{rulesFile}
	if !ready {
		paths = append(paths, unitFile)
	}
	for _, path := range paths {
		if err := m.host.CheckReplace(ctx, path); err != nil {
			return false, m.fault(path, err)
		}
	}
	return ready, nil
}

// writeFile writes what is loaded at boot, where it is something else than was read.
func (m machine) writeFile(ctx context.Context, was rulesIn, all records) error {
	return m.write(ctx, rulesFile, rulesAbout+all.script(), was.sum, 0o644) // what is in it is no secret: who may connect
}

func (m machine) write(ctx context.Context, path, content, sum string, mode fs.FileMode) error {
	if hosts.Sum([]byte(content)) == sum {
		return nil
	}
	at := "nftables/file/"
	if path == unitFile {
		at = "nftables/unit/"
	}
	if err := failpoint.Hit(ctx, at+"before"); err != nil {
		return err
	}
	err := m.host.ReplaceFile(ctx, hosts.Replacement{
		Path: path, Content: []byte(content), Temp: path[strings.LastIndexByte(path, '/')+1:] + ".patchbay-new", Mode: mode, IfSum: sum,
		Ready: func(ctx context.Context) error { return failpoint.Hit(ctx, at+"before-rename") },
	})
	if err != nil {
		return m.fault(path, err)
	}
	return failpoint.Hit(ctx, at+"after")
}

// removeFile takes away what another registration wrote.
func (m machine) removeFile(ctx context.Context, was rulesIn) error {
	if was.sum == "" {
		return nil
	}
	return m.fault(rulesFile, m.host.RemoveFile(ctx, rulesFile, was.sum))
}

// enabled says whether the unit is there as it should be, and loads the file at boot.
func (m machine) enabled(ctx context.Context) (bool, error) {
	got, err := m.run(ctx, "", systemctl, "--no-ask-password", "show", "--property=UnitFileState,ActiveState", "--", unitName)
	if err != nil {
		return false, err
	}
	if got.Exit != 0 {
		return false, patchbay.Errorf(patchbay.NotSupported, "systemd does not answer on the machine (exit code %d), and it is what loads the rules at boot", got.Exit).
			WithSaid(driver.LastWords(got.Output, nil)).WithFix("systemctl is-system-running   (on the machine); or register the guard again with --until-reboot")
	}
	lines := strings.Split(string(got.Output), "\n")
	is := func(want string) bool {
		for _, line := range lines {
			if line == want {
				return true
			}
		}
		return false
	}
	if !is("UnitFileState=enabled") || !is("ActiveState=active") {
		return false, nil
	}
	unit, err := m.unit(ctx)
	return unit == unitText, err
}

// unit is the text of the unit's file; "" when there is none.
func (m machine) unit(ctx context.Context) (string, error) {
	f, err := m.host.ReadFile(ctx, unitFile, 64<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", m.fault(unitFile, err)
	}
	return string(f.Content), nil
}

// enable makes the unit, and lets it load the file at boot.
func (m machine) enable(ctx context.Context) error {
	have, err := m.unit(ctx)
	if err != nil {
		return err
	}
	sum := ""
	if have != "" {
		sum = hosts.Sum([]byte(have))
	}
	if err := m.write(ctx, unitFile, unitText, sum, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "--now", "--quiet", "--", unitName}} {
		if err := failpoint.Hit(ctx, "nftables/"+args[0]+"/before"); err != nil {
			return err
		}
		got, err := m.run(ctx, "", append([]string{systemctl, "--no-ask-password"}, args...)...)
		if err != nil {
			return err
		}
		if got.Exit != 0 {
			return patchbay.Errorf(patchbay.Forbidden, "systemctl can't %s %s (exit code %d): the rules are in force, and would not be after a reboot", args[0], unitName, got.Exit).
				WithSaid(driver.LastWords(got.Output, nil)).
				WithFix("systemctl daemon-reload && systemctl enable --now %s   (as root on the machine); or register the guard again with --until-reboot", unitName)
		}
	}
	return nil
}

// fault says why a file could not be read or written.
func (m machine) fault(path string, err error) error {
	var known *patchbay.Error
	frozen := (*hosts.FrozenError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, hosts.ErrChanged):
		return patchbay.Errorf(patchbay.Conflict, "somebody else changed %s meanwhile", path).AsTransient()
	case errors.As(err, &frozen):
		return patchbay.Errorf(patchbay.Forbidden, "%s can't be changed: %w", path, err).WithFix("chattr -%s %s", frozen.Attribute, frozen.Path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, hosts.ErrReadOnly), errors.Is(err, hosts.ErrOwner):
		return patchbay.Errorf(patchbay.Forbidden, "Patchbay may not do that with %s: %w", path, err).WithFix("%s", m.rights())
	}
	return patchbay.Errorf(patchbay.Internal, "%s: %w", path, err).WithFix("ls -l %s; df -h /etc   (on the machine)", path)
}
