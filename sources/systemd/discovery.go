package systemd

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// searched is what a search is told, which is in every registration that it leads to.
var searched = []string{"host", "manager", "user"}

// seen are what is asked of all units at once.
var seen = []string{"Id", "Description", "LoadState", "ActiveState", "SubState", "UnitFileState", "FragmentPath", "SourcePath", "Transient", "MainPID", "Environment", "Type", "RefuseManualStart", "RefuseManualStop"}

// search finds the services that run or start with the machine. Which of them are
// applications is told by where their units stand: an administrator's are in /etc, a
// user's in their home. What is elsewhere came with the distribution's packages, or
// was made by another unit, and is plumbing, if it is not a service that applications use.
func search(ctx context.Context, c driver.Config, reveal func(driver.Found) driver.Reveal) ([]driver.Found, error) {
	// Opened as the source that any of them would be: what it is told is checked alike.
	c.Endpoint = "any.service"
	s, err := open(c)
	if err != nil {
		return nil, err
	}
	names, err := s.services(ctx)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	out, err := s.systemctl(ctx, append([]string{"show", "--property=" + strings.Join(seen, ","), "--"}, names...)...)
	if err != nil {
		return nil, s.unreachable(err)
	}
	listens := s.listens(ctx)
	var all []driver.Found
	known := map[string]bool{}
	for block := range strings.SplitSeq(out, "\n\n") {
		u := unit{facts: properties(block)}
		id := u.facts["Id"]
		enabled := slices.Contains([]string{"enabled", "enabled-runtime", "linked", "linked-runtime"}, u.facts["UnitFileState"])
		switch {
		case id == "" || known[id] || !u.is("LoadState", "loaded"):
			continue
		case !u.running() && !u.is("ActiveState", "failed") && !enabled:
			continue // nobody wants it to run
		}
		known[id] = true
		f := driver.Found{
			Name: strings.TrimSuffix(id, ".service"), Instance: "unit " + id, Endpoint: id, Unit: id,
			What: "unit " + id, State: u.facts["ActiveState"], Running: u.running(),
			Plumbing: !u.administrators(),
		}
		if text := u.facts["Description"]; text != "" && text != id {
			f.What += " (" + driver.Quoted(clip(text)) + ")"
		}
		if err := s.usable(u); err != nil {
			e := patchbay.AsError(err)
			f.Refused, f.Fix = e.Message, e.Fix
		}
		if u.is("Type", "oneshot") {
			f.Unit = "" // it stands for what other units run
		}
		for _, l := range listens {
			if l.pid != "" && l.pid == u.facts["MainPID"] && !slices.Contains(f.Ports, l.port) {
				f.Ports = append(f.Ports, l.port)
			}
		}
		f.Reach = reach(listens, u.facts["MainPID"])
		variables := map[string]string{}
		for _, item := range words(u.facts["Environment"]) {
			name, value, _ := strings.Cut(item, "=")
			variables[name] = value
		}
		if err := f.Environment(variables, reveal, func(path string) (string, error) {
			return "", patchbay.Errorf(patchbay.NotSupported, "the file %s of %s is not read", driver.Quoted(path), id).
				WithFix("give its content yourself, when you register it")
		}); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// administrators reports whether somebody has put the unit there for this machine.
func (u unit) administrators() bool {
	path := u.facts["FragmentPath"]
	switch {
	case u.is("Transient", "yes") || path == "":
		return false
	case u.is("UnitFileState", "generated"): // of a file that somebody wrote for a generator
		return strings.HasPrefix(u.facts["SourcePath"], "/etc/containers/") || strings.Contains(u.facts["SourcePath"], "/.config/containers/")
	}
	for _, theirs := range []string{"/usr/", "/lib/", "/run/"} {
		if strings.HasPrefix(path, theirs) && !strings.HasPrefix(path, "/usr/local/") {
			return false
		}
	}
	return true
}

// services are the names of the services that are loaded, or start with the machine.
func (s *source) services(ctx context.Context) ([]string, error) {
	var names []string
	for _, args := range [][]string{
		{"list-units", "--type=service", "--all", "--plain", "--no-legend"},
		{"list-unit-files", "--type=service", "--state=enabled,enabled-runtime,linked,linked-runtime", "--no-legend"},
	} {
		out, err := s.systemctl(ctx, args...)
		if err != nil {
			return nil, s.unreachable(err)
		}
		for line := range strings.Lines(out) {
			fields := strings.Fields(strings.TrimLeft(line, "●*○ "))
			if len(fields) == 0 || !strings.HasSuffix(fields[0], ".service") || strings.HasSuffix(fields[0], "@.service") || !unitForm.MatchString(fields[0]) {
				continue
			}
			names = append(names, fields[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// listen is a port that something listens on.
type listen struct {
	at   netip.Addr
	port uint16
	pid  string // "" where we may not know
}

var listener = regexp.MustCompile(`pid=(\d+)`)

// listens are the machine's, without those whose form is not known; none where the
// program is not there.
func (s *source) listens(ctx context.Context) []listen {
	out, err := s.plainRun(ctx, "ss", "-Hltnp")
	if err != nil {
		return nil
	}
	var all []listen
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[0] != "LISTEN" {
			continue
		}
		at := strings.LastIndexByte(fields[3], ':')
		host, _, _ := strings.Cut(strings.Trim(fields[3][:max(at, 0)], "[]"), "%")
		if host == "*" {
			host = "::"
		}
		ip, err := netip.ParseAddr(host)
		port, portErr := strconv.ParseUint(fields[3][at+1:], 10, 16)
		if err != nil || portErr != nil {
			continue
		}
		pids := listener.FindAllStringSubmatch(line, -1)
		if len(pids) == 0 {
			all = append(all, listen{ip, uint16(port), ""})
		}
		for _, pid := range pids {
			all = append(all, listen{ip, uint16(port), pid[1]})
		}
	}
	return all
}

// reach is where the ports answer that a process listens on. Those that nobody is known
// to listen on are it, too: only root sees whose they are.
func reach(listens []listen, pid string) []driver.Reach {
	var all []driver.Reach
	for _, l := range listens {
		if l.pid != pid && l.pid != "" || pid == "" || pid == "0" {
			continue
		}
		way := driver.Reach{Port: l.port, Address: ":" + strconv.Itoa(int(l.port))}
		switch {
		case l.at.IsLoopback():
			way.Note = fmt.Sprintf("it listens on %s alone, where nothing reaches it but what runs on the machine itself", l.at)
		case !l.at.IsUnspecified():
			way.Address = netip.AddrPortFrom(l.at, l.port).String()
		}
		if !slices.ContainsFunc(all, func(r driver.Reach) bool { return r.Port == way.Port && r.Address == way.Address }) {
			all = append(all, way)
		}
	}
	return all
}
