// Package driver is the contract between Patchbay and what it connects: small
// interfaces, and the structs that go in and out. A [Target] is somewhere and can
// be signed in to; one that is an [Administrator] too makes logins. A [Source]
// holds an application's settings; it may be a [Restarter], a [Keeper] and a
// [Vantage]. A [Network] guards targets. What is optional is found by its type. Package
// drivertest defines what it means to implement one.
//
// A driver describes itself ([patchbay.Driver]): the command line, the checks of
// what it is told, the catalogue and the documentation are made from that.
//
// What every driver would repeat (time limits, redaction, metrics, traces,
// injected faults) is added by the wrappers in this package. A driver says what
// happened, as a [patchbay.Error] with a code, and whether it is worth
// repeating (Transient); it repeats nothing itself.
package driver

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
)

// Dialer opens connections from some vantage point: a source's, or this
// process's own. [net.Dialer] is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Config is what a resource of the inventory says of itself; a driver is
// opened with it.
type Config struct {
	ID         patchbay.ID
	Kind       string // the resource's own kind property; most types have none
	Location   string
	Endpoint   string
	Properties json.RawMessage // the driver's own; unknown ones are an error
	Admin      Secrets         // the admin credential, by name
	Dialer     Dialer          // how this process reaches the resource; never nil
	// Host is the machine whose files, processes and sockets a source works on: the
	// one that its [HostField] names, or the server's own. Never nil when a source is
	// opened; a target has none.
	Host hosts.Host
	// Dials is what the operator of this server lets anybody connect to, from
	// wherever it is.
	Dials hosts.DialRules
	// Scope is the part of a source that is meant ([patchbay.Driver].Part), as a
	// connection names it; "" where it names none, and then Owned is of all parts.
	Scope string
}

// Secrets are named secrets: an admin credential, or what signs in.
type Secrets map[string]patchbay.Secret

// TargetDriver makes a [Target] of a registered resource.
type TargetDriver struct {
	patchbay.Driver
	// Kind is the target's kind in the settings table: postgresql, nats… It is ""
	// when the driver serves many: then the type of a connection's target id
	// says which (Microsoft.Cache/redis/databases), and a resource's kind where one
	// type has several.
	Kind string
	// Children are what a connection's target id may name below the resource: the
	// types of each chain of segments ("databases", "gremlinDatabases/graphs"), and
	// "" for the resource itself. With one chain a request's Sub is the names, with
	// / between them. With none whatever a kind has may be named, and with none or
	// several, Sub is all that the target id adds to the resource's
	// ("databases/0").
	Children []string
	// Unregistered are the schemes of the endpoints that the driver opens without a
	// registration, each with its kind: postgres: postgresql. One driver of a build
	// has them.
	Unregistered map[string]string
	// Open checks the configuration strictly and prepares a client. It need not
	// reach the resource; Inspect does. What it opens is an [Administrator] if, and
	// only if, the driver describes Logins, and an [AdminRotator] if these say so.
	Open func(ctx context.Context, c Config) (Target, error)
	// Probe signs in with the credential through r.Dialer and does what the
	// access allows, and sees refused what it does not. It changes nothing that
	// lasts. LoginRefused, RightsMissing and RightsExcess are its findings.
	//
	// It runs in a process of its own, because a client library that meets a
	// hostile server may end the one that it is in: c has neither the admin
	// credential nor a dialer, there is no network but r.Dialer, no file, and
	// little memory. What else it has to know, [Target].PrepareProbe puts into r.
	Probe func(ctx context.Context, c Config, r ProbeRequest) (ProbeResult, error)
}

// Administers reports whether the driver makes logins. Of a target where it makes
// none, a connection has the login that its caller gives, the one that was given
// at registration ([RegisteredLogins]), or an identity that others have granted
// its rights.
func (d TargetDriver) Administers() bool { return d.Logins != nil }

// Sub is what a target id adds to its resource's, in the form that the driver's
// requests have; ok is false when the driver has no such child.
func (d TargetDriver) Sub(resource, target patchbay.ID) (sub string, ok bool) {
	parts := strings.Split(string(target), "/")
	parts = parts[min(len(parts), strings.Count(string(resource), "/")+1):]
	var types, names []string
	for i, part := range parts {
		if i%2 == 0 {
			types = append(types, part)
		} else {
			names = append(names, part)
		}
	}
	if len(d.Children) == 0 {
		return strings.Join(parts, "/"), true
	}
	if len(types) != len(names) || !slices.ContainsFunc(d.Children, func(chain string) bool { return strings.EqualFold(chain, strings.Join(types, "/")) }) {
		return "", false
	}
	if len(d.Children) == 1 {
		return strings.Join(names, "/"), true
	}
	return strings.Join(parts, "/"), true
}

// Target is one target service. All methods may be called from several
// goroutines.
//
// Errors: TargetUnreachable, NameNotResolved, PortClosed, CertificateInvalid
// and Timeout when it can't be talked to (Transient where a moment may mend
// it); AdminRefused and AdminRights when it refuses us; ChildMissing;
// NotOurs when a login of that name does not bear our mark.
type Target interface {
	// Inspect says what is there. Sub is the child that a connection names
	// (a database), "" for the service as a whole; a missing one is
	// ChildMissing. Of a target that is no [Administrator], Values along with an
	// error say that it need not be reached from here: the application may have a way
	// to it.
	Inspect(ctx context.Context, sub string) (TargetInfo, error)

	// PrepareProbe completes what [TargetDriver].Probe is asked with: Servers, and
	// Facts where it has to know more than the registration says. Names are
	// looked up by the dialer.
	PrepareProbe(ctx context.Context, r ProbeRequest) (ProbeRequest, error)

	// Close lets go of connections. The target is not used after it.
	Close() error
}

// Administrator is a [Target] that makes, inspects and removes the logins
// that connections own on it. Errors are as there.
type Administrator interface {
	Target

	// NewCredential makes what the login will sign in with. It has no effect
	// anywhere: the plan is committed, sealed, before EnsureLogin is called
	// with it.
	NewCredential(ctx context.Context, r LoginRequest) (Credential, error)

	// EnsureLogin makes or repairs the login named in the request, with
	// exactly the access asked for and bearing our mark. It may be called again
	// after any failure, an unknown one included.
	EnsureLogin(ctx context.Context, r LoginRequest) error

	// InspectLogin says what the target itself knows of the login.
	// Absent is not an error.
	InspectLogin(ctx context.Context, r LoginRequest) (LoginState, error)

	// RemoveLogin stops the login from signing in, ends its sessions,
	// hands over what it owns and removes it. Absent is success. A login of
	// that name without our mark is NotOurs, and left alone. A sweep's request is
	// what Owned says: Mark, Name and Sub.
	RemoveLogin(ctx context.Context, r LoginRequest) error

	// Owned lists every login there that bears our mark.
	Owned(ctx context.Context) ([]Owned, error)
}

// RemovalChecker is implemented by an [Administrator] that can tell beforehand that
// its product would not let it remove a login.
type RemovalChecker interface {
	// CheckRemoval is AdminRights, with what would help, when RemoveLogin is refused
	// whatever is tried, and the login goes on signing in. It changes nothing.
	CheckRemoval(ctx context.Context, r LoginRequest) error
}

// AdminRotator is implemented by an [Administrator] that may replace its own credential;
// the driver says so ([patchbay.Logins].RotatesAdmin). Both the old and the new one are on
// disk before the product is told: whatever happens, one of them signs in.
type AdminRotator interface {
	// NewAdmin makes the credential that is to replace the one that the target was opened
	// with: all of its parts, also those that stay. It may ask the product, and changes
	// nothing. Where the product would not take it, where what it takes is kept elsewhere
	// too (a pooler, a directory), or where it lets anybody in, so that nothing would be
	// proven, it is NotSupported or AdminRights, with what would help.
	NewAdmin(ctx context.Context) (Secrets, error)

	// RotateAdmin has the product take next in place of what the target was opened with,
	// at once and for good: afterwards next signs in, and the other does not. It may come
	// twice, after an outcome that nobody knows, from another process, opened with either
	// one, and with what the product takes already. It also comes with the old credential,
	// to take a rotation back; what an earlier call still has under way must not end
	// after it. AdminRefused says that the one that it was opened with does not sign in
	// (any more). Who signs in decides, not what it answers.
	RotateAdmin(ctx context.Context, next Secrets) error
}

// GivenLogins is implemented by a [Target] whose given logins are not a user
// name and a password. Without it they are: Public "username", Secret
// "password".
type GivenLogins interface {
	// Given makes the credential of a login to sub that the caller gave; name may
	// be "".
	Given(sub, name string, secret patchbay.Secret) (Credential, error)
}

// RegisteredLogins is implemented by a [Target] that hands out a login that was
// given with its registration.
type RegisteredLogins interface {
	// Registered is the login for sub; InvalidArgument when there is none, with
	// how to give one.
	Registered(sub string) (Credential, error)
}

// WarnedLogins is implemented by an [Administrator] of a product that lets a login
// do more than its access says, with nothing to forbid it by.
type WarnedLogins interface {
	// Beyond says what such a login could do besides its access, in sentences for
	// who asks for it. It is asked before the login is made, without a name, mark
	// or credential. Nothing of it is in the target's words.
	Beyond(ctx context.Context, r LoginRequest) ([]string, error)
}

// TargetInfo is what a target says of itself.
type TargetInfo struct {
	Version string   `json:"version"`
	Subs    []string `json:"subs,omitempty"` // databases, streams…
	TLS     string   `json:"tls,omitempty"`  // protocol of the admin connection; "" when in the clear
	// Values are what a client needs to reach it, under the names of package
	// settings: host, port, ssl, database, url…
	Values map[string]string `json:"values"`
	// Warnings are worth telling the user at registration.
	Warnings []string `json:"warnings,omitempty"`
}

// Mark is what everything that we make bears.
type Mark struct {
	UID        string      `json:"uid"` // the connection's
	Generation int64       `json:"generation"`
	Connection patchbay.ID `json:"connection"` // for people; the uid decides
}

// LoginRequest names a login and says what it may do. The same
// request, in whole, is what removes it.
type LoginRequest struct {
	Mark Mark `json:"mark"`
	// Name is the login's, made of the connection's uid and generation:
	// lower-case letters, digits and underscores, at most 40.
	Name    string            `json:"name"`
	Sub     string            `json:"sub,omitempty"` // the database… that the connection's target id names
	Auth    patchbay.AuthType `json:"auth"`
	Access  patchbay.Access   `json:"access"`
	Roles   []string          `json:"roles,omitempty"`   // the target's own, in place of Access
	Options map[string]string `json:"options,omitempty"` // the driver's own
	Sources []netip.Prefix    `json:"sources,omitempty"` // the only addresses it may sign in from; empty: any
	// Credential is what NewCredential gave; EnsureLogin needs it, the
	// others do not.
	Credential Credential `json:"-"`
}

// Credential is what a login signs in with.
type Credential struct {
	// Public names things that are no secret: user, public keys.
	Public map[string]string
	// Secret names what is: password, jwt, seed.
	Secret Secrets
}

// Values are both, under the names of package settings.
func (c Credential) Values() map[string]patchbay.Secret {
	v := make(map[string]patchbay.Secret, len(c.Public)+len(c.Secret))
	for name, value := range c.Public {
		v[name] = patchbay.NewSecret(value)
	}
	for name, value := range c.Secret {
		v[name] = value
	}
	return v
}

// LoginState is what a target says of a login.
type LoginState struct {
	Exists   bool
	Ours     bool     // it bears the mark of the request
	Missing  []string // rights of the request that it lacks, in the target's words
	Excess   []string // rights that it has and the request does not give
	Sessions int      // open ones; 0 when the driver can't tell
	LastUse  time.Time
}

// ProbeRequest is a sign-in to try.
type ProbeRequest struct {
	Credential Credential
	Dialer     Dialer // the source's vantage point; never nil
	Sub        string
	// Access and Options as in LoginRequest. Access is "" for a login that
	// was given: then only signing in is tried.
	Access  patchbay.Access
	Options map[string]string
	// Reading is what the application's library makes of the settings: where that
	// is stricter than the registration, the sign-in is too ([TLS].ReadBy).
	Reading Reading
	// Servers are the only addresses that may be talked to, host:port, the first
	// to try in front; none where nobody knows where the service is. Facts are
	// the driver's own. Both are PrepareProbe's.
	Servers []string
	Facts   json.RawMessage
	// Asked is what a message calls the server, where it is not Servers' own: a
	// name server's answer is not shown.
	Asked string
	// Share is whose share of the probes that run at once this one takes, from
	// the outside in.
	Share []string
}

// ProbeResult says what was tried.
type ProbeResult struct {
	Allowed []string // what was done, in a few words each
	Refused []string // what was tried and rightly refused
	// NotChecked is what could not be tried, and why; something else than the login's
	// rights was in the way.
	NotChecked []string
	// Warnings say what the login may not do although one would expect it of its
	// access, and whoever owns the thing could give.
	Warnings []string
	TLS      string // protocol, "" when in the clear
	Took     time.Duration
}

// Owned is one thing that bears our mark.
type Owned struct {
	Mark Mark
	Name string
	// Sub is the child of the target that a login was made for, as in
	// LoginRequest: with it Mark and Name are all that its removal needs.
	Sub string
}

// SourceDriver makes a [Source] of a registered resource.
type SourceDriver struct {
	patchbay.Driver
	// Open checks the configuration strictly. What it opens is a [Restarter] when
	// the application can be told of its settings, a [Vantage] when it can be
	// spoken from where it runs, a [Keeper] when it keeps what it replaces, and a
	// [Watcher] when its platform says that it changed.
	Open func(ctx context.Context, c Config) (Source, error)
	// Keeps says that what it opens is a [Keeper].
	Keeps bool
	// Discover finds what could be such a source, and the services beside it; nil
	// when the description has no Search.
	Discover Search
}

// HostDriver makes a [hosts.Remote] of a registered machine, which sources name by
// their [HostField].
type HostDriver struct {
	patchbay.Driver
	// Open checks the configuration strictly, and reaches nothing.
	Open func(ctx context.Context, c Config) (hosts.Remote, error)
}

// Source is where an application runs: what holds its settings. Errors:
// SourceNotFound, SettingsUnreadable, SettingsUnwritable, SettingsChanged,
// RestartFailed, NotSupported.
type Source interface {
	// Inspect says what is there.
	Inspect(ctx context.Context) (SourceInfo, error)

	// ReadSettings reads everything, with a version that changes when anything
	// does.
	ReadSettings(ctx context.Context) (Snapshot, error)

	// CheckChange says, without an effect, whether the change can be written:
	// names and values that the format can't hold are InvalidArgument.
	CheckChange(ctx context.Context, c Change) error

	// WriteSettings applies the change if the settings still have version
	// ifVersion, or already are as the change would leave them; otherwise the
	// error is SettingsChanged. It is atomic: a reader sees all or nothing.
	// Everything that is not named in the change stays byte for byte. It
	// returns the new version.
	//
	// A change that sets nothing is a delete. It gives nothing back, for a
	// connection takes no name that somebody else has; when nobody else wrote,
	// the configuration is then byte for byte what it was before the first of our
	// connections, in whichever order they go.
	WriteSettings(ctx context.Context, c Change, ifVersion string) (version string, err error)

	// RestoreSettings takes back a change that was made to before, however much
	// of it happened: an operation's undo. When nobody else wrote since, the
	// configuration is then byte for byte what before holds; otherwise only what
	// still is ours goes: names that hold the change's value get back what before
	// had, or are removed, and everything else stays. A source that is gone is
	// success.
	RestoreSettings(ctx context.Context, c Change, before Snapshot) error

	// Owned lists the marks of connections that have settings here.
	Owned(ctx context.Context) ([]Owned, error)

	Close() error
}

// Restarter is a [Source] whose application can be made to read its settings.
type Restarter interface {
	// Restart makes the application read its settings anew, and returns when it is
	// up with them; RestartFailed, with what it last said ([LastWords]), when it does
	// not come up in time. An application that somebody has stopped stays so, which
	// is success: whoever starts it reads the new ones.
	Restart(ctx context.Context) error

	// RestartLimit is how long Restart may take at most, waiting included.
	RestartLimit() time.Duration
}

// Keeper is a [Source] that keeps what a change replaces (a container, a Secret),
// so that RestoreSettings gives back exactly that.
type Keeper interface {
	// Release lets go of what is kept from before c: nothing goes back to it any
	// more. It may come twice, and for a change that kept nothing.
	Release(ctx context.Context, c Change) error
}

// Adviser is a [Source] that has something to say of changes that it can make.
type Adviser interface {
	// Advise is what the user should know of a change that CheckChange allows: a
	// value that some of the application's libraries read otherwise, say. It has no
	// effect.
	Advise(ctx context.Context, c Change) ([]string, error)
}

// Vantage is a [Source] from where the application runs it can be spoken.
type Vantage interface {
	// Dialer speaks from where the application runs, until it is closed; ctx bounds
	// its opening alone. NotSupported says why nobody can at the moment: what would be tried from there
	// is then not checked.
	Dialer(ctx context.Context) (ClosingDialer, error)

	// Egress is the addresses that the application speaks from to that one, or to
	// any when it is zero; empty when that can't be known.
	Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error)
}

// Platformed is a [Source] that a platform runs, which may guard targets too
// ([Platform]).
type Platformed interface {
	// Peer is who the application is there; nil when that can't be said, or when its
	// network is not the platform's (a container that has its host's).
	Peer(ctx context.Context) (*Peer, error)
}

// Watcher is a [Source] whose platform says when it changed.
type Watcher interface {
	// Watch calls changed after each change that may matter to the source's settings,
	// its application's state or address: also for changes of our own, and rather once
	// too often than not. Reading is none. The first call says that from now on nothing
	// is missed; a source that is not there is waited for. changed returns at once, and
	// is called by one goroutine at a time.
	//
	// Watch returns when ctx ends (nil), or with an error when it can't watch (any
	// more): the caller begins again with a growing delay. NotSupported says that it is
	// of no use to begin again.
	Watch(ctx context.Context, changed func()) error
}

// Starter is a [Vantage] that starts something in order to be spoken from.
type Starter interface {
	// DialerLimit bounds Dialer; 0 for [DefaultTimeout], as any other call.
	DialerLimit() time.Duration
}

// ClosingDialer is a [Dialer] that holds something: a channel, a process, a helper
// in the application's network.
type ClosingDialer interface {
	Dialer
	Close() error
}

// SourceInfo is what a source says of itself.
type SourceInfo struct {
	Files bool `json:"files"` // it can hold settings that are files (naming servicebinding)
	// FilesAt is the directory in which the application finds the directories of
	// its connections' files; "" when that is not known.
	FilesAt string `json:"filesAt,omitempty"`
	// NoFiles is how it comes to have one.
	NoFiles  string   `json:"noFiles,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// Snapshot is a source's settings at one moment.
type Snapshot struct {
	Version  string
	Settings map[string]patchbay.Secret
	// Content is the driver's own exact copy, for RestoreSettings. It holds
	// secrets: it is kept sealed.
	Content patchbay.Secret
}

// FileSetting is the name that a file of a connection's binding directory has
// in [Snapshot].Settings: no environment variable can be called so.
func FileSetting(connection, entry string) string { return connection + "/" + entry }

// Key is the name that one of the change's settings has in [Snapshot].Settings.
func (c Change) Key(s patchbay.Setting) string {
	if s.File {
		return FileSetting(c.Name, s.Name)
	}
	return s.Name
}

// Change is what a connection does to a source's settings, as one.
type Change struct {
	// Mark is of what is set; of a change that sets nothing, the mark that was
	// written last.
	Mark Mark
	Name string // the connection's name; of the binding directory too
	// Client is what reads the settings; "" in changes that an earlier release
	// planned.
	Client patchbay.ClientType
	// Set are the settings afterwards, in this order. Files (Setting.File) go
	// into the connection's binding directory.
	Set []patchbay.Setting
	// Had is what the connection had written before. What it no longer sets
	// goes, wherever it stands and however often, as does all that bears the
	// connection's mark. A name that has another value by now is somebody's edit,
	// and stays; so does a name that another connection's mark lists.
	Had []patchbay.Setting
	// Back are settings that somebody else had, under names that the connection has
	// taken over: one that is dropped gets that value instead of going, as if nobody
	// had ever touched it. A source whose settings only cover what others set need not
	// look at it.
	Back []patchbay.Setting
}

// Dropped are the settings in Had that Set does not have.
func (c Change) Dropped() []patchbay.Setting {
	return slices.DeleteFunc(slices.Clone(c.Had), func(had patchbay.Setting) bool {
		return slices.ContainsFunc(c.Set, func(s patchbay.Setting) bool { return c.Key(s) == c.Key(had) })
	})
}

// Catalog lists the drivers of a build, by name. It is filled where drivers are
// listed, never by an init function.
type Catalog struct {
	Targets  map[string]TargetDriver
	Sources  map[string]SourceDriver
	Hosts    map[string]HostDriver
	Networks map[string]NetworkDriver
}

// NewCatalog lists drivers under the names that they describe themselves with.
func NewCatalog(targets []TargetDriver, sources []SourceDriver, machines []HostDriver, guards []NetworkDriver) Catalog {
	c := Catalog{Targets: map[string]TargetDriver{}, Sources: map[string]SourceDriver{}, Hosts: map[string]HostDriver{}, Networks: map[string]NetworkDriver{}}
	for _, d := range targets {
		c.Targets[d.Name] = d
	}
	for _, d := range sources {
		c.Sources[d.Name] = d
	}
	for _, d := range machines {
		c.Hosts[d.Name] = d
	}
	for _, d := range guards {
		c.Networks[d.Name] = d
	}
	return c
}

// Describe is what clients have to know of the drivers, and of these kinds of
// targets.
func (c Catalog) Describe(kinds []patchbay.TargetKind) patchbay.Catalog {
	var all patchbay.Catalog
	administered := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		d := c.Targets[name]
		all.Targets = append(all.Targets, d.Driver)
		administered[d.Kind] = administered[d.Kind] || d.Administers()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		all.Sources = append(all.Sources, c.Sources[name].Driver)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Hosts)) {
		all.Hosts = append(all.Hosts, c.Hosts[name].Driver)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Networks)) {
		all.Guards = append(all.Guards, c.Networks[name].Driver)
	}
	rank := func(k patchbay.TargetKind) int {
		if administered[k.Name] {
			return 0
		}
		return 1
	}
	all.Kinds = slices.SortedStableFunc(slices.Values(kinds), func(a, b patchbay.TargetKind) int { return rank(a) - rank(b) })
	return all
}
