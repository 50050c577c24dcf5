package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

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
	source driver.Source // nil when it can't be opened
	target driver.Target // nil likewise
	facts  map[string]string
	checks []patchbay.Check
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
	started := s.now().UTC()
	v := &checking{s: s, c: c}
	if v.held, err = s.openHolding(c); err != nil {
		return nil, err
	}
	done := v.existence(ctx)
	defer done()
	v.network(ctx)
	found, readable := v.configuration(ctx)
	v.authentication(ctx, found, readable)
	report := patchbay.Report{
		Connection: c.ID, Source: c.Source, Target: c.Spec.Target.ID.String(), AuthType: authType(c.Spec.Auth),
		Checks: v.checks, Started: started, Ended: s.now().UTC(),
	}
	if c.Spec.Auth == nil {
		report.AuthType = ""
	}
	if in.Fix {
		p, err := s.readPlan(op)
		if err != nil {
			return nil, err
		}
		report.Fixed = p.Mended
	}
	return json.Marshal(report)
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
	return fmt.Sprintf("patchbay connection validate %s/%s --fix", v.c.Source.Name(), v.c.Name)
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
	source, close, err := v.s.source(ctx, v.c.Source)
	if err == nil {
		closers = append(closers, close)
		if _, err = source.Inspect(ctx); err == nil {
			v.source = source
		}
	}
	if err != nil {
		ok = false
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			err = patchbay.Errorf(patchbay.SourceNotFound, "the source %s is not in the inventory any more", v.c.Source.Name())
		}
		v.failed(patchbay.CheckExistence, nameSource, err, "bring the source back, or delete the connection")
	}
	target, close, err := v.s.target(ctx, v.held.Target)
	if err == nil {
		closers = append(closers, close)
		var info driver.TargetInfo
		if info, err = target.Inspect(ctx, v.held.Sub); err == nil {
			v.target, v.facts = target, info.Values
		}
	}
	if err != nil {
		v.failed(patchbay.CheckExistence, nameExistence, err, "bring the target back, or delete the connection")
	} else if ok {
		v.add(patchbay.CheckExistence, nameExistence, patchbay.Success, "", "", "")
	}
	return done
}

// network opens a connection from the source's vantage point.
func (v *checking) network(ctx context.Context) {
	skip := func(why string) {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.NotChecked, "", why, "")
	}
	if n := v.c.Spec.PublicNetwork; n != nil && strings.EqualFold(n.Action, patchbay.OptOut) {
		skip("the network was left to the caller (opt-out)")
		return
	}
	if v.source == nil {
		skip("the source can't be spoken from")
		return
	}
	address := addressOf(v.facts)
	if address == "" {
		skip("the target did not say where it is")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := v.source.Dialer().DialContext(ctx, "tcp", address)
	if err != nil {
		e := driver.DialError(err, address)
		v.failed(patchbay.CheckNetwork, nameNetwork, e, "check the way from "+v.c.Source.Name()+" to "+address)
		return
	}
	_ = conn.Close()
	v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Success, "", "", "")
}

// addressOf is host:port of what a target says of itself.
func addressOf(facts map[string]string) string {
	if facts["host"] != "" && facts["port"] != "" {
		return net.JoinHostPort(facts["host"], facts["port"])
	}
	first, _, _ := strings.Cut(facts["url"], ",") // a cluster's url lists several
	u, err := url.Parse(first)
	if err != nil || u.Port() == "" {
		return ""
	}
	return u.Host
}

// configuration compares what the source holds with what was written. It
// gives what the source holds of the connection, for the sign-in.
func (v *checking) configuration(ctx context.Context) (have map[string]patchbay.Secret, readable bool) {
	switch {
	case v.held.Written == nil:
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.NotChecked, "", "the settings were left to the caller (opt-out)", "")
		return nil, false
	case v.source == nil:
		v.add(patchbay.CheckConfiguration, nameConfiguration, patchbay.NotChecked, "", "the source can't be read", "")
		return nil, false
	}
	found, now, err := v.s.settingsHeld(ctx, v.c.Source, v.held.Written.Change.open())
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
	change := v.held.Written.Change.open()
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
	case v.source == nil:
		v.add(group, name, patchbay.NotChecked, "", "the source can't be spoken from", "")
		return
	}
	before := len(v.checks)
	if r := v.held.Principal; r != nil {
		request := *r
		request.Credential = v.held.Credential.open()
		state, err := v.target.InspectPrincipal(ctx, request)
		switch {
		case err != nil:
			v.failed(group, name, err, "")
			return
		case !state.Exists:
			v.add(group, name, patchbay.Failure, patchbay.PrincipalMissing, fmt.Sprintf("the login %s is not on the target any more", r.Name), v.fix())
			return
		case !state.Ours:
			v.add(group, name, patchbay.Failure, patchbay.NotOurs, fmt.Sprintf("the login %s lost Patchbay's mark", r.Name), v.fix())
		}
		if len(state.Missing) > 0 {
			v.add(group, name, patchbay.Failure, patchbay.RightsMissing, fmt.Sprintf("the login %s lacks: %s", r.Name, strings.Join(state.Missing, "; ")), v.fix())
		}
		if len(state.Excess) > 0 {
			v.add(group, name, patchbay.Failure, patchbay.RightsExcess, fmt.Sprintf("the login %s has more than %s access: %s", r.Name, r.Access, strings.Join(state.Excess, "; ")), v.fix())
		}
	}
	p := plan{Target: v.held.Target, Sub: v.held.Sub, Kind: v.held.Kind, Principal: v.held.Principal, Credential: v.held.Credential}
	holds := v.held.Credential.open()
	if readable {
		values, err := settings.Parse(v.s.settingsRequest(p, v.c, v.facts, nil), have)
		if err != nil {
			v.add(group, name, patchbay.NotChecked, "", "what the source holds is not a login that can be read: "+patchbay.AsError(err).Message, v.fix())
			return
		}
		where := v.elsewhere(values)
		if where != "" && v.asWritten(have) {
			v.add(group, name, patchbay.Failure, patchbay.SettingChanged,
				fmt.Sprintf("the target moved since the settings were written: its %s is another now", where),
				fmt.Sprintf("patchbay connection update %s %s/%s --client-type %s", v.word(), v.c.Source.Name(), v.c.Name, v.c.Spec.Client))
			return
		}
		if where != "" {
			v.add(group, name, patchbay.NotChecked, "", "the source points elsewhere: its "+where+" is not the target's, so what it holds was not sent there", v.fix())
			return
		}
		holds = holdsOf(holds, values)
	}
	if err := v.s.signIn(ctx, v.c.Source, p, holds); err != nil {
		v.failed(group, name, err, v.fix())
	}
	if len(v.checks) == before {
		v.add(group, name, patchbay.Success, "", "", "")
	}
}

// asWritten reports whether the source holds what was written there.
func (v *checking) asWritten(have map[string]patchbay.Secret) bool {
	return !slices.ContainsFunc(v.held.Written.Change.Set, func(set setting) bool { return have[set.Name].Reveal() != set.Plain })
}

// word is what the command line calls the target's kind.
func (v *checking) word() string {
	for _, k := range settings.Kinds() {
		if k.Name == v.held.Kind && len(k.CLI) > 0 {
			return slices.MinFunc(k.CLI, func(a, b string) int { return len(a) - len(b) })
		}
	}
	return v.held.Kind
}

// elsewhere names the part of an address in which the source's settings and
// the target differ, "" when they do not.
func (v *checking) elsewhere(values settings.Values) string {
	for _, part := range []string{"url", "host", "port", "database"} {
		if held, ok := values[part]; ok && v.facts[part] != "" && held.Reveal() != v.facts[part] {
			return part
		}
	}
	return ""
}

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
