package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/settings"
)

// The display strings of the four groups, where Azure has one spelled as it
// spells it (contract 4.5).
const (
	nameExistence      = "Target resource existence validated."
	nameSource         = "Source resource existence validated."
	nameNetwork        = "Target network access validated."
	nameConfiguration  = "Configured connection information validated."
	nameAuthentication = "Authentication and permissions validated."
)

// checking is one validation under way.
type checking struct {
	s      *Service
	c      patchbay.Connection
	held   holding
	ref    ref                   // the target, as its resource is by now
	driver driver.TargetDriver   // the target's
	source *driver.GuardedSource // nil when it can't be opened
	from   driver.Dialer         // where it runs; nil when nobody can speak from there
	mute   *patchbay.Error       // why
	place  driver.SourceInfo     // what it says of itself
	target *driver.GuardedTarget // nil likewise
	// afar is a target that the server has no way to: it says where it is, no more.
	afar *driver.GuardedTarget
	// shut says that the server has none; untrusted that there is one, and not to whom
	// was asked for.
	shut, untrusted bool
	// cut says that the way from there was tried, and ends.
	cut bool
	// denied says that public access to the target is, so nothing is to be open on the
	// way; resource is the target's registration.
	denied   bool
	resource patchbay.Resource
	// ways are how that ended at each server, where each was dialed.
	ways ways
	// central says that from is the server, because that was asked for.
	central bool
	facts   map[string]string
	seen    sightings // as [patchbay.Verdict].Seen
	unseen  error     // why a target that is not administered could not be seen from here
	checks  []patchbay.Check
}

// validate looks at a connection in four groups. What it finds is data; only
// what keeps it from looking at all is an error.
func (s *Service) validate(ctx context.Context, op *saga.Op) ([]byte, error) {
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	// Not the record of the submit: a change may have been before us in line.
	c, err := s.records.Connection(ctx, in.Want.ID)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	var mended []string
	if in.Fix {
		p, err := s.outlineOf(op)
		if err != nil {
			return nil, err
		}
		mended = p.Mended
		held.Openings, _ = recorded(p.Open) // what the record will have
		held.Denied = p.Denied
	}
	report := s.examine(ctx, c, held, in.From)
	report.Fixed = mended
	return json.Marshal(report)
}

// examine looks at a connection, which holds that, from there.
func (s *Service) examine(ctx context.Context, c patchbay.Connection, held holding, from patchbay.Vantage) patchbay.Report {
	started := s.now().UTC()
	v := &checking{s: s, c: c, held: held, central: from == patchbay.FromControlPlane}
	done := v.existence(ctx)
	defer done()
	v.network(ctx)
	v.unsaid()
	found, readable := v.configuration(ctx)
	v.authentication(ctx, found, readable)
	report := patchbay.Report{
		Connection: c.ID, Source: c.Source, Target: cmp.Or(c.Spec.Target.ID.String(), c.Spec.Target.Endpoint), AuthType: authType(c.Spec.Auth),
		Checks: v.checks, Started: started, Ended: s.now().UTC(), From: from, Seen: v.seen,
	}
	if len(held.Openings) == 0 {
		report.Seen = sightings{} // what is remembered of others that there were
	}
	if c.Spec.Auth == nil {
		report.AuthType = ""
	}
	return report
}

func unmarshalReport(data []byte, r *patchbay.Report) error {
	if err := json.Unmarshal(data, r); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the stored report is not what this version wrote: %w", err)
	}
	return nil
}

func (v *checking) add(group patchbay.CheckGroup, name string, result patchbay.CheckResult, code patchbay.Code, message, fix string) {
	v.checks = append(v.checks, patchbay.Check{Group: group, Name: name, Result: result, Code: code, Message: message, Fix: fix})
}

// failed adds err as the finding of a group. What the driver advises is nearer
// to the cause than fix, which is what Patchbay can do.
func (v *checking) failed(group patchbay.CheckGroup, name string, err error, fix string) {
	e := patchbay.AsError(err)
	if e.Fix != "" {
		fix = e.Fix
	}
	v.add(group, name, patchbay.Failure, e.Code, e.Message, fix)
}

func (v *checking) fix() string {
	return fmt.Sprintf("patchbay connection validate %s --fix", onCommandLine(v.c))
}

// existence asks both ends whether they are there, and are what the record
// says.
func (v *checking) existence(ctx context.Context) (done func()) {
	var closers []func()
	done = func() {
		for _, f := range closers {
			f()
		}
	}
	ok := true
	source, close, err := v.s.source(ctx, sourceOf(v.c))
	if err == nil {
		closers = append(closers, close)
		if v.place, err = source.Inspect(ctx); err == nil {
			v.source = source
		}
	}
	switch {
	case v.central:
		v.from = v.s.dialer
	case v.source != nil:
		from, mute := source.Dialer(ctx)
		if mute == nil {
			v.from = from
			closers = append(closers, func() { _ = from.Close() })
		} else {
			v.mute = patchbay.AsError(mute)
		}
	}
	if err != nil {
		ok = false
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			err = patchbay.Errorf(patchbay.SourceNotFound, "the source %s is not in the inventory any more", v.c.Source.Name())
		}
		v.failed(patchbay.CheckExistence, nameSource, err, "bring the source back, or delete the connection")
	}
	for try := 0; ; try++ {
		if close, err = v.openTarget(ctx); close != nil {
			closers = append(closers, close)
		}
		if try > 0 || patchbay.CodeOf(err) != patchbay.AdminRefused || !patchbay.IsTransient(err) {
			break // otherwise the administrator's credential was replaced meanwhile
		}
	}
	switch {
	case err != nil && v.shut:
		e := patchbay.AsError(err)
		v.add(patchbay.CheckExistence, nameExistence, patchbay.Failure, e.Code, "the server has no way to it: "+e.Message, cmp.Or(e.Fix, "bring the target back, or delete the connection"))
	case err != nil:
		v.failed(patchbay.CheckExistence, nameExistence, err, "bring the target back, or delete the connection")
	case v.unseen != nil:
		v.add(patchbay.CheckExistence, nameExistence, patchbay.NotChecked, "", "the server has no way to it: "+patchbay.AsError(v.unseen).Message, "")
	case ok:
		v.add(patchbay.CheckExistence, nameExistence, patchbay.Success, "", "", "")
	}
	return done
}

// openTarget opens the target and asks it where it is.
func (v *checking) openTarget(ctx context.Context) (done func(), err error) {
	if !v.held.made() {
		return nil, notMade(v.c)
	}
	if v.ref, v.driver, err = v.s.today(ctx, v.held.ref, v.c.Spec.Target.ID); err != nil {
		return nil, err
	}
	target, done, err := v.s.openRef(ctx, v.ref)
	if err != nil {
		return nil, err
	}
	info, err := target.Inspect(ctx, v.ref.Sub)
	if err == nil || len(info.Values) > 0 {
		v.target, v.facts, v.unseen = target, info.Values, err
		return done, nil
	}
	if noWay(err) {
		v.afar, v.untrusted = target, driver.HopOf(err).OfTLS()
		v.shut = !v.untrusted
	}
	return done, err
}

// optsOutOfNetwork reports whether spec leaves the network to the caller.
func optsOutOfNetwork(spec patchbay.Spec) bool {
	return spec.PublicNetwork != nil && strings.EqualFold(spec.PublicNetwork.Action, patchbay.OptOut)
}

// noVantage says why what is tried from where an application runs was not.
func noVantage(source patchbay.ID, why error) string {
	return "nothing can be tried from where " + source.Name() + " runs: " + patchbay.AsError(why).Message
}

// configuration compares what the source holds with what was written. It
// gives what the source holds of the connection, for the sign-in.
func (v *checking) configuration(ctx context.Context) (have map[string]patchbay.Secret, readable bool) {
	switch {
	case v.c.ID.IsLocal():
		return nil, false // it has no configuration that could be checked (contract 4.5)
	case v.held.Written == nil:
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.NotChecked, "", "the settings were left to the caller (opt-out)", "")
		return nil, false
	case v.source == nil:
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.NotChecked, "", "the source can't be read", "")
		return nil, false
	}
	found, now, err := v.s.settingsHeld(ctx, sourceOf(v.c), v.held.Written.open())
	if err == nil {
		err = v.s.eachLeftoverAt(ctx, v.c.Source, func(l patchbay.Leftover) error {
			if l.What == whatRestart && l.Connection.Equal(v.c.ID) {
				found = append(found, finding{patchbay.RestartFailed, fmt.Sprintf("%s could not be restarted when a change was taken back, and may still use what was taken back: %s", v.c.Source.Name(), l.Why)})
			}
			return nil
		})
	}
	if err != nil {
		v.failed(patchbay.CheckConfiguration, nameConfiguration, err, v.fix())
		return nil, false
	}
	for _, f := range found {
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.Failure, f.Code, f.Message, v.fix())
	}
	if len(found) == 0 {
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.Success, "", "", "")
	}
	have = map[string]patchbay.Secret{}
	change := v.held.Written.open()
	for _, set := range change.Set {
		if value, ok := now.Settings[change.Key(set)]; ok {
			have[set.Name] = value
		}
	}
	return have, true
}

// authentication compares the login's rights with those asked for, and signs
// in with what the source holds.
func (v *checking) authentication(ctx context.Context, have map[string]patchbay.Secret, readable bool) {
	const group, name = patchbay.CheckAuthentication, nameAuthentication
	switch {
	case !authenticates(v.c.Spec):
		v.add(group, name, patchbay.NotChecked, "", "the connection has no authentication of its own (opt-out)", "")
		return
	case v.target == nil:
		v.add(group, name, patchbay.NotChecked, "", "the target can't be asked", "")
		return
	case v.source == nil && !v.central:
		v.add(group, name, patchbay.NotChecked, "", "the source can't be spoken from", "")
		return
	}
	before := len(v.checks)
	if r := v.held.Login; r != nil && !v.rights(ctx, *r) {
		return
	}
	if v.held.whose() == loginIdentity {
		v.add(group, name, patchbay.Warning, "", v.granted(), "")
		return
	}
	if err := v.held.stays(v.c, v.facts); err != nil {
		v.failed(group, name, err, "")
		return
	}
	p := agreed{outline{ref: v.ref, Login: v.held.Login, LoginKind: v.held.whose(), Reading: v.reading()}, secrets{Credential: v.held.Credential}}
	holds := v.held.Credential.open()
	if readable {
		values, ok := v.holds(p, have)
		if !ok {
			return
		}
		holds = holdsOf(holds, values)
	}
	if v.from == nil {
		v.add(group, name, patchbay.NotChecked, "", noVantage(v.c.Source, v.mute), v.mute.Fix)
		return
	}
	if v.central && v.admitted() {
		v.add(group, name, patchbay.NotChecked, "", "the login is let in from where "+v.c.Source.Name()+" runs alone, so it can't be tried from the server", "")
		return
	}
	if v.cut { // a sign-in would wait for what has been waited for
		v.add(group, name, patchbay.NotChecked, "", "there is no way from "+v.whence()+" to the target", "")
		return
	}
	result, err := v.s.signInFrom(ctx, v.from, sourceOf(v.c).id, p.outline, holds)
	if err == nil && len(result.NotChecked) > 0 {
		v.add(group, name, patchbay.NotChecked, "", "the sign-in works; not tried: "+strings.Join(result.NotChecked, "; "), "")
	}
	switch {
	case err != nil && p.LoginKind == loginRegistered && v.registeredAnew(p):
		v.failed(group, name, patchbay.AsError(err), "")
		v.checks[len(v.checks)-1].Fix = fmt.Sprintf("another login was registered since: patchbay connection rotate %s", onCommandLine(v.c))
	case err != nil && driver.HopOf(err).OfTLS():
		v.distrusted(err)
	case err != nil && driver.HopOf(err) != "":
		v.failed(group, name, err, "patchbay connection validate "+onCommandLine(v.c)+"   (once more: a moment ago there was a way)")
	case err != nil:
		v.failed(group, name, err, v.fix())
	case len(result.Allowed) == 0:
		v.add(group, name, patchbay.NotChecked, "", "Patchbay has no way to sign in to a service of this kind", "")
	case len(result.Warnings) > 0:
		for _, warning := range result.Warnings {
			v.add(group, name, patchbay.Warning, "", warning, "")
		}
	case len(v.checks) == before:
		message := ""
		if v.central {
			message = v.centrally()
			if !readable && v.held.Written != nil {
				message += ", with what was written there"
			}
		}
		v.add(group, name, patchbay.Success, "", message, "")
	}
}

// admitted reports whether the login may sign in from where its source runs alone: a
// guard knows it, or the target.
func (v *checking) admitted() bool {
	return v.held.Login != nil && len(v.held.Login.Sources) > 0 || slices.ContainsFunc(v.held.Openings, func(o opening) bool { return o.Rule.Login != "" })
}

// rights compares the login's rights with those asked for; it is false when
// there is nothing to sign in with.
func (v *checking) rights(ctx context.Context, r driver.LoginRequest) bool {
	const group, name = patchbay.CheckAuthentication, nameAuthentication
	r.Credential = v.held.Credential.open()
	state, err := v.target.InspectLogin(ctx, r)
	switch {
	case err != nil:
		v.failed(group, name, err, "")
		return false
	case !state.Exists:
		v.add(group, name, patchbay.Failure, patchbay.LoginMissing, fmt.Sprintf("the login %s is not on the target any more", r.Name), v.fix())
		return false
	case !state.Ours:
		v.add(group, name, patchbay.Failure, patchbay.NotOurs, fmt.Sprintf("the login %s lost Patchbay's mark", r.Name), v.fix())
	}
	if len(r.Sources) > 0 && v.source != nil {
		to, _ := netip.ParseAddr(v.facts["host"])
		if now, err := v.source.Egress(ctx, to); err == nil && len(now) > 0 && !slices.Equal(sorted(now), sorted(r.Sources)) {
			v.add(group, name, patchbay.Failure, patchbay.RuleMissing,
				fmt.Sprintf("%s speaks from %s by now, and the login %s is let in from %s alone", v.c.Source.Name(), texts(now), r.Name, texts(r.Sources)), v.updated())
			return false
		}
	}
	if len(state.Missing) > 0 {
		v.add(group, name, patchbay.Failure, patchbay.RightsMissing, fmt.Sprintf("the login %s lacks: %s", r.Name, strings.Join(state.Missing, "; ")), v.fix())
	}
	if len(state.Excess) > 0 {
		v.add(group, name, patchbay.Failure, patchbay.RightsExcess, fmt.Sprintf("the login %s has more than %s access: %s", r.Name, r.Access, strings.Join(state.Excess, "; ")), v.fix())
	}
	return true
}

func sorted(all []netip.Prefix) []netip.Prefix {
	return slices.SortedFunc(slices.Values(all), netip.Prefix.Compare)
}

// granted says who has to give an identity its rights.
func (v *checking) granted() string {
	target := v.held.Target.Name()
	if v.held.Target == "" {
		target = "the target"
	}
	as := ""
	if user := v.held.Credential.Public["username"]; user != "" {
		as = ", as the user " + user
	}
	return fmt.Sprintf("Patchbay granted nothing, because it does not administer %s: its owner must give access there to %s%s", target, v.identity(), as)
}

// identity names what the connection signs in as.
func (v *checking) identity() string {
	a := v.c.Spec.Auth
	switch a.Type {
	case patchbay.AuthSystemIdentity:
		return "the system-assigned identity of " + v.c.Source.Name()
	case patchbay.AuthUserIdentity:
		return "the identity with client id " + a.ClientID
	case patchbay.AuthSPSecret, patchbay.AuthSPCertificate:
		return "the service principal with client id " + a.ClientID
	}
	return "the user account"
}

// registeredAnew reports whether the target has another login registered than
// the one that the connection took.
func (v *checking) registeredAnew(p agreed) bool {
	c, err := v.target.Registered(p.Sub)
	return err == nil && !hideCredential(c).equal(p.Credential)
}

// holds is the login that the source's settings hold; ok is false when it is
// not one to sign in with, and a check says why.
func (v *checking) holds(p agreed, have map[string]patchbay.Secret) (values settings.Values, ok bool) {
	const group, name = patchbay.CheckAuthentication, nameAuthentication
	values, err := settings.Parse(v.request(p), have)
	if err != nil {
		v.add(group, name, patchbay.NotChecked, "", "what the source holds is not a login that can be read: "+patchbay.AsError(err).Message, v.fix())
		return nil, false
	}
	switch where := v.elsewhere(values); {
	case where == "":
		return values, true
	case v.asWritten(have):
		v.add(group, name, patchbay.Failure, patchbay.SettingChanged,
			fmt.Sprintf("the target moved since the settings were written: its %s is another now", where),
			v.updated())
	default:
		v.add(group, name, patchbay.NotChecked, "", "the source points elsewhere: its "+where+" is not the target's, so what it holds was not sent there", v.fix())
	}
	return nil, false
}

// request is what the settings that are on record were made from, as far as it is
// known today.
func (v *checking) request(p agreed) settings.Request {
	r := settingsRequest(p, v.c, v.facts, v.place.FilesAt)
	if v.held.Written != nil {
		r.Written = map[string]bool{}
		for _, set := range v.held.Written.Change.Set {
			r.Written[set.Name] = true
		}
	}
	return r
}

// reading is what the application's library makes of the settings; nil when there
// are none. An earlier release did not keep it.
func (v *checking) reading() *settings.Reading {
	if v.held.Reading != nil || v.held.Written == nil && !v.c.ID.IsLocal() || v.facts == nil {
		return v.held.Reading
	}
	r := settingsRequest(agreed{outline{ref: v.ref}, secrets{Credential: v.held.Credential}}, v.c, v.facts, "")
	_, reading, err := renderLogin(r, authenticates(v.c.Spec))
	if err != nil {
		return nil
	}
	return &reading
}

// unsaid warns of what the application's library is not told of the target's
// security.
func (v *checking) unsaid() {
	group, name := patchbay.CheckConfiguration, nameConfiguration
	if v.c.ID.IsLocal() {
		group, name = patchbay.CheckAuthentication, nameAuthentication
	}
	r := v.reading()
	if r == nil {
		return
	}
	for _, u := range unsaid(*r, v.c.Source.Name(), v.place) {
		v.add(group, name, patchbay.Warning, "", u.What, u.Step)
	}
	if v.held.Written == nil || v.facts["ca"] == "" {
		return
	}
	for _, set := range v.held.Written.Change.Set {
		if set.File && set.Plain != v.facts["ca"] && r.Told && strings.HasPrefix(set.Plain, "-----BEGIN CERTIFICATE") {
			v.add(group, name, patchbay.Warning, "", fmt.Sprintf("another authority was registered for %s since %s was written", v.held.Target.Name(), set.Name),
				fmt.Sprintf("patchbay connection rotate %s", onCommandLine(v.c)))
		}
	}
}

// asWritten reports whether the source holds what was written there.
func (v *checking) asWritten(have map[string]patchbay.Secret) bool {
	return !slices.ContainsFunc(v.held.Written.Change.Set, func(set setting) bool { return have[set.Name].Reveal() != set.Plain })
}

// word is what the command line calls the target's kind.
func (v *checking) word() string {
	for _, k := range settings.Kinds() {
		if k.Name == v.held.Kind && len(k.Words) > 0 {
			return slices.MinFunc(k.Words, func(a, b string) int { return len(a) - len(b) })
		}
	}
	return v.held.Kind
}

// whereabouts are the values that say where a target is.
var whereabouts = []string{
	"url", "host", "port", "database", "endpoint", "endpoints", "servers", "account", "tableEndpoint", "openaiEndpoint", "speechEndpoint", "ingestionEndpoint", "keyspace", "graph", "bucket", "vhost",
}

// elsewhere names the part of an address in which the source's settings and
// the target differ, "" when they do not.
func (v *checking) elsewhere(values settings.Values) string {
	for _, part := range whereabouts {
		if held, ok := values[part]; ok && v.facts[part] != "" && pointing(held.Reveal()) != pointing(v.facts[part]) {
			return part
		}
	}
	return ""
}

// pointing is a value of whereabouts without what it says of TLS: an earlier release
// wrote nats:// for servers that insist on it.
func pointing(value string) string { return strings.ReplaceAll(value, "tls://", "nats://") }

// holdsOf is the credential with what the source holds in place of what was
// written.
func holdsOf(c driver.Credential, values settings.Values) driver.Credential {
	for name := range c.Public {
		if v, ok := values[name]; ok {
			c.Public[name] = v.Reveal()
		}
	}
	for name := range c.Secret {
		if v, ok := values[name]; ok {
			c.Secret[name] = v
		}
	}
	return c
}
