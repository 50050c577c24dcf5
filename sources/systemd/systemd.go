// Package systemd is the source driver for a service that systemd runs, of the system
// or of a user.
//
// # What is written
//
// The unit's own files are never edited. Beside them, in the directory of its drop-ins,
// each connection has a drop-in that names an environment file to the manager; the file
// is the manager's alone (mode 0600), and stands in the same directory, so that
// systemctl revert takes all of it away. A new generation is a new content of that file,
// in one instant: the drop-in stays. Systemd takes an EnvironmentFile= before any
// Environment=, wherever that stands.
//
// With deliver files, settings that are files become credentials of the service
// (LoadCredential=): a directory that is replaced as a whole, out of which the manager
// makes the service's own copy at each start. $CREDENTIALS_DIRECTORY is flat, and
// libraries look for a directory of each connection: $SERVICE_BINDING_ROOT, which the
// drop-in sets, has one of links to them.
//
// # What is read
//
// ReadSettings is what the unit's next process would have: its manager's environment,
// Environment=, every file of EnvironmentFile= in systemd's order, without what
// UnsetEnvironment= takes away. Which those are, the manager says; what only stands in
// files that it has not loaded does not count.
//
// # Restarting
//
// Restart restarts the unit and waits for it to be active, and ready where it says so;
// then that it stays so for a while. What is stopped, or has failed, stays down: whoever
// starts it, starts it with the new settings. An undo starts what was running before.
package systemd

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// registration is what a resource of this driver may say besides its endpoint.
type registration struct {
	Host    string      `json:"host"`    // resolved into Config.Host
	Manager string      `json:"manager"` // system, or user
	User    string      `json:"user"`    // whose manager
	Reload  bool        `json:"reload"`  // instead of a restart
	Deliver string      `json:"deliver"` // environment, or files too
	Egress  []string    `json:"egress"`
	Wait    driver.Wait `json:"wait"`
}

// Driver is the driver for units.
func Driver() driver.SourceDriver {
	return driver.SourceDriver{
		Driver: description, Discover: search,
		Open: func(_ context.Context, c driver.Config) (driver.Source, error) {
			return open(c)
		},
	}
}

type source struct {
	*manager
	id            patchbay.ID
	unit          string
	deliver       bool // files too
	reload        bool
	egress        []netip.Prefix
	limit, steady time.Duration
	units         atomic.Pointer[string] // where the manager's were when it was asked last
}

var _ interface {
	driver.Source
	driver.Restarter
	driver.Adviser
	driver.Vantage
} = (*source)(nil)

// unitForm is a unit's name as systemd has it (systemd.unit(5)).
var unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`)

// open checks what the resource says, and looks at nothing.
func open(c driver.Config) (*source, error) {
	var p registration
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	name, err := unitName(c.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &source{
		manager: &manager{host: c.Host, user: p.Manager == "user", login: p.User},
		id:      c.ID, unit: name, deliver: p.Deliver == "files", reload: p.Reload,
	}
	switch {
	case p.User != "" && !s.user:
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a user is named, and the unit is the system's").
			WithFix("register it with --manager user too, or without --user")
	case p.User != "" && !loginForm.MatchString(p.User):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the user %q is no login", clip(p.User))
	case s.reload && s.deliver:
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a reload gives a unit no new credentials: it has those that it was started with").
			WithFix("register it without --reload, or with --deliver environment")
	}
	if s.egress, err = driver.ParseEgress(p.Egress); err != nil {
		return nil, err
	}
	if s.limit, s.steady, err = p.Wait.Durations(); err != nil {
		return nil, err
	}
	return s, nil
}

// unitName is the whole name of a service's unit.
func unitName(endpoint string) (string, error) {
	refuse := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	}
	name := endpoint
	known := []string{".service", ".socket", ".timer", ".target", ".path", ".mount", ".automount", ".swap", ".slice", ".scope", ".device"}
	if !slices.Contains(known, filepath.Ext(name)) {
		name += ".service"
	}
	base := strings.TrimSuffix(name, ".service")
	switch {
	case !unitForm.MatchString(name) || base == "" || base == "." || base == ".." || strings.HasPrefix(base, "-") || strings.HasPrefix(base, "@"):
		return "", refuse("the unit %q has no name of a systemd unit, such as web.service", clip(endpoint)).
			WithFix("systemctl list-units --type=service --all   (lists them)")
	case base == name:
		return "", refuse("%s is no service: what has settings is a .service", name).
			WithFix("register the service that it starts: systemctl show --property=Triggers,Unit %s", quoted(name))
	case strings.HasSuffix(base, "@"):
		return "", refuse("%s is a template, and has settings for each of its instances", name).
			WithFix("register an instance, such as %s1.service", base)
	}
	return name, nil
}

// Inspect implements [driver.Source].
func (s *source) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	v, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return driver.SourceInfo{}, err
	}
	u := v.unit
	if err := s.usable(u); err != nil {
		return driver.SourceInfo{}, err
	}
	info := driver.SourceInfo{}
	switch {
	case !s.deliver:
		info.NoFiles = "register it with --deliver files: they are then its credentials"
	case v.version < filesVersion:
		info.NoFiles = fmt.Sprintf("systemd %d gives a service no directories of credentials: version %d does", v.version, filesVersion)
	default:
		info.Files, info.FilesAt = true, v.place.bindings()
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	switch {
	case u.is("ActiveState", "failed"):
		warn("%s has failed (%s), and a connection does not start it: systemctl %sstart %s", u.facts["Id"], u.facts["Result"], s.flag(), quoted(s.unit))
	case u.is("NeedDaemonReload", "yes"):
		warn("somebody changed %s and has not told systemd: the first connection does (systemctl %sdaemon-reload), and the change is then in force with it", u.facts["Id"], s.flag())
	}
	if strings.HasPrefix(u.facts["FragmentPath"], "/run/") && !u.is("UnitFileState", "generated") {
		warn("%s is in %s, and gone when the host starts anew", u.facts["Id"], filepath.Dir(u.facts["FragmentPath"]))
	}
	if s.reload {
		warn("a reload gives new settings to the command of ExecReload= alone: the processes that run keep the environment that they were started with")
	}
	if s.deliver && info.Files {
		all, err := s.environment(ctx, v)
		if err != nil {
			return driver.SourceInfo{}, err
		}
		if set, ok := all[rootVariable]; ok {
			info.Files, info.FilesAt = false, ""
			info.NoFiles = fmt.Sprintf("take $%s out of %s: its libraries would not look where credentials are", rootVariable, set.from)
		}
	}
	return info, nil
}

// filesVersion is the first systemd that makes credentials of a directory.
const filesVersion = 250

func (s *source) flag() string {
	if s.manager.user {
		return "--user "
	}
	return ""
}

// view is what there is at one moment.
type view struct {
	unit
	own
	place place
}

// look asks for the unit and its manager, and finds out where things are.
func (s *source) look(ctx context.Context) (view, error) {
	type answer struct {
		own
		err error
	}
	second := make(chan answer, 1) // at once: each is a way to the host
	go func() {
		o, err := s.own(ctx)
		second <- answer{o, err}
	}()
	u, err := s.show(ctx, s.unit)
	o := <-second
	if err != nil {
		return view{}, err
	}
	if o.err != nil {
		return view{}, o.err
	}
	s.units.Store(&o.units)
	return s.viewOf(u, o.own), nil
}

func (s *source) viewOf(u unit, o own) view {
	name := u.facts["Id"]
	p := place{dir: filepath.Join(o.units, name+".d"), credentials: filepath.Join("/run/credentials", name)}
	if s.manager.user {
		p.credentials = filepath.Join(o.environment["XDG_RUNTIME_DIR"], "credentials", name)
	}
	return view{u, o, p}
}

// missing: there is no such unit.
func (u unit) missing() bool { return u.is("LoadState", "not-found") }

func (s *source) notFound() error {
	return patchbay.Errorf(patchbay.SourceNotFound, "there is no unit %s", s.unit).
		WithFix("systemctl %slist-unit-files --type=service   (lists them, on the host)", s.flag())
}

// usable says why settings for such a unit would do nothing.
func (s *source) usable(u unit) error {
	name := u.facts["Id"]
	no := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.NotSupported, format, args...)
	}
	switch {
	case u.missing():
		return s.notFound()
	case u.is("LoadState", "masked"), strings.HasPrefix(u.facts["UnitFileState"], "masked"):
		return no("%s is masked: nothing can start it, and systemd ignores what is written for it", name).WithFix("systemctl %sunmask %s", s.flag(), quoted(name))
	case !u.is("LoadState", "loaded"):
		return no("systemd can't load %s: %s", name, u.facts["LoadState"]).WithFix("systemd-analyze %sverify %s", s.flag(), quoted(name))
	case u.is("Transient", "yes"):
		return no("%s was made by a program (systemd-run) and is gone when it stops", name).WithFix("write a unit file for it")
	case s.reload && !u.is("CanReload", "yes"):
		return no("%s can't be reloaded: it has no ExecReload=", name).WithFix("register it without --reload, so that it is restarted")
	case s.reload && onlySignals(u.facts["ExecReload"]):
		return no("a reload of %s is a signal to the process that runs, which keeps the environment that it was started with: it would never read new settings", name).
			WithFix("register it without --reload, so that it is restarted")
	case !s.reload && (u.is("RefuseManualStop", "yes") || u.is("RefuseManualStart", "yes")):
		return no("%s can't be restarted by hand: RefuseManualStart= or RefuseManualStop= says so", name).
			WithFix("systemctl %sedit %s   (and take it out)", s.flag(), quoted(name))
	}
	return nil
}

// onlySignals reports whether a reload runs nothing that could read new settings.
func onlySignals(execReload string) bool {
	programs := regexp.MustCompile(`\bpath=(\S+) ;`).FindAllStringSubmatch(execReload, -1)
	return !slices.ContainsFunc(programs, func(p []string) bool { return !slices.Contains([]string{"kill", "pkill"}, filepath.Base(p[1])) })
}

// Close implements [driver.Source].
func (s *source) Close() error { return nil }
