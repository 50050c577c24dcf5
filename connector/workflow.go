package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/store"
)

// Workflows are the steps of every kind of operation, for a saga engine.
//
//	create, update, rotate   plan → principal → probe → settings → restart → verify (pivot) → revoke
//	delete                   plan (pivot) → settings → restart → revoke
//	validate                 validate; with fix: plan → principal → probe → settings → restart → validate
//
// A delete goes forward only: what can't be reached is parked, so that neither
// a dead source nor a dead target blocks it.
func (s *Service) Workflows() []saga.Workflow {
	forward := []saga.Step{
		{Name: stepPlan, Do: s.plan},
		{Name: stepPrincipal, Where: saga.OnTarget, Do: s.entitled(s.ensurePrincipal), Undo: s.undoPrincipal, Park: s.parkPrincipal},
		{Name: stepProbe, Do: s.entitled(s.probe)},
		{Name: stepSettings, Where: saga.OnSource, Do: s.entitled(s.writeSettings), Undo: s.undoSettings, Park: s.parkSettings},
		// Not OnSource: an application that does not come up would hold its source
		// for ever.
		{Name: stepRestart, Do: s.entitled(s.restart), Undo: s.undoSettings, Park: s.parkRestart},
	}
	change := append(forward[:len(forward):len(forward)],
		saga.Step{Name: stepVerify, Kind: saga.Pivot, Do: s.verify},
		saga.Step{Name: stepRevoke, Kind: saga.Retriable, Where: saga.OnTarget, Do: s.revokeOld, Park: s.parkOld, Timeout: time.Minute},
	)
	return []saga.Workflow{
		{Kind: patchbay.OpCreate, Steps: change, Finish: s.finishChange},
		{Kind: patchbay.OpUpdate, Steps: change, Finish: s.finishChange},
		{Kind: patchbay.OpRotate, Steps: change, Finish: s.finishChange},
		{Kind: patchbay.OpDelete, Finish: s.finishDelete, Steps: []saga.Step{
			{Name: stepPlan, Kind: saga.Pivot, Do: s.planDelete},
			// Not OnSource: then a source that lets nobody write would hold the
			// delete for ever, and its login would stay.
			{Name: stepSettings, Kind: saga.Retriable, Do: s.removeSettings, Park: s.parkSettings},
			{Name: stepRestart, Kind: saga.Retriable, Do: s.restartAfterDelete},
			{Name: stepRevoke, Kind: saga.Retriable, Where: saga.OnTarget, Do: s.revokeOwn, Park: s.parkOld},
		}},
		{Kind: patchbay.OpValidate, Finish: s.finishValidate, Steps: append(forward[:len(forward):len(forward)],
			saga.Step{Name: stepValidate, Kind: saga.Pivot, Do: s.validate, Timeout: time.Minute},
		)},
	}
}

// plan is what an operation decided before its first effect. It is journalled,
// sealed, as the output of its first step; everything later reads it and
// decides nothing.
type plan struct {
	ref
	Generation int64 `json:"generation"`
	Last       int64 `json:"last"` // as holding.Last
	// Principal is the login to ensure; nil when the login was given or none is
	// wanted. Made says that this operation makes it, so undo removes it.
	Principal *driver.PrincipalRequest `json:"principal,omitempty"`
	Made      bool                     `json:"made,omitempty"`
	Login     login                    `json:"login,omitempty"`
	// Credential is what the application will sign in with.
	Credential credential `json:"credential"`
	// Old is the login that is revoked once the new settings are in use.
	Old       *driver.PrincipalRequest `json:"old,omitempty"`
	OldTarget patchbay.ID              `json:"oldTarget,omitempty"`
	// Write is what happens to the source's settings, and what they were; nil
	// for nothing.
	Write *written          `json:"write,omitempty"`
	Given map[string]string `json:"given,omitempty"`
	Where map[string]string `json:"where,omitempty"` // as holding.Where
	// Restarts says that the source has a way to restart.
	Restarts bool   `json:"restarts,omitempty"`
	Message  string `json:"message,omitempty"` // a warning for the user
	// Mended names what a fix found broken and puts right.
	Mended []string `json:"mended,omitempty"`
}

func planContext(op *saga.Op) string { return "plan " + op.ID }

func (s *Service) sealPlan(op *saga.Op, p plan) ([]byte, error) {
	sealed, err := s.seal(p, planContext(op))
	return sealed, err
}

func (s *Service) readPlan(op *saga.Op) (plan, error) {
	var p plan
	return p, s.unseal(op.Output(stepPlan), planContext(op), &p)
}

func readInput(op *saga.Op) (input, error) {
	var in input
	if err := json.Unmarshal(op.Input, &in); err != nil {
		return in, patchbay.Errorf(patchbay.Internal, "the operation's input is not what this version wrote: %w", err)
	}
	in.Connection.Sealed = in.Sealed
	return in, nil
}

func (s *Service) given(op *saga.Op) (map[string]string, error) {
	var given map[string]string
	return given, s.unseal(op.Sealed, "operation "+op.ID, &given)
}

func notMade(c patchbay.Connection) error {
	return patchbay.Errorf(patchbay.Conflict, "the connection %s is not made yet", c.Name)
}

// principalName is made of the connection's uid and generation alone, so it is
// known before anything is.
func principalName(m driver.Mark) string { return fmt.Sprintf("pb_%s_g%d", m.UID, m.Generation) }

// plan reads the world and decides everything.
func (s *Service) plan(ctx context.Context, op *saga.Op) ([]byte, error) {
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	given, err := s.given(op)
	if err != nil {
		return nil, err
	}
	who := s.actsFor(op, in)
	if in.Fix {
		return s.planFix(ctx, op, in.Want.ID, who)
	}
	want := in.Want
	if err := who.allow(ctx, actionOf(op.Kind, want.ID), want.ID); err != nil {
		return nil, err
	}
	parties, err := s.newParties(ctx, who, want.ID, &want.Spec)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(in.Connection)
	if err != nil {
		return nil, err
	}
	p := plan{
		ref: refOf(parties), Generation: in.Connection.Generation, Last: max(in.Connection.Generation, held.Last), Given: given,
	}
	source, done, err := s.openSourceOf(ctx, parties)
	if err != nil {
		return nil, err
	}
	defer done()
	target, doneTarget, err := s.openParty(ctx, parties)
	if err != nil {
		return nil, err
	}
	defer doneTarget()

	if _, err := source.Inspect(ctx); err != nil {
		return nil, err
	}
	p.Restarts = source.Restarts()
	facts, err := inspect(ctx, target, p.Sub)
	if err != nil {
		return nil, err
	}
	if err := s.planPrincipal(ctx, &p, in, want, held, parties, source, target); err != nil {
		return nil, err
	}
	if p.Login == loginGiven {
		p.Where = whereIs(facts.Values)
		if in.Kept {
			if err := held.stays(want, p.Where); err != nil {
				return nil, err
			}
		}
	}
	if err := s.planSettings(ctx, &p, in, want, held, facts.Values, source); err != nil {
		return nil, err
	}
	p.Message = strings.Join(facts.Warnings, "; ")
	if p.Write != nil && !p.Restarts && !in.Created {
		restart := fmt.Sprintf("%s has no way to be restarted by Patchbay; restart it so that it reads the new settings", parties.source.ID.Name())
		p.Message = strings.TrimPrefix(p.Message+"; "+restart, "; ")
	}
	return s.sealPlan(op, p)
}

// planFix puts everything back to what the connection is on record to be. It
// decides nothing anew, so the record stays as it is.
func (s *Service) planFix(ctx context.Context, op *saga.Op, id patchbay.ID, who Caller) ([]byte, error) {
	// Not the record of the submit: a change may have been before us in line.
	c, err := s.records.Connection(ctx, id)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	if !held.made() {
		return nil, notMade(c)
	}
	if err := mayRepair(ctx, who, c, held.ref); err != nil {
		return nil, err
	}
	p := plan{
		Generation: c.Generation, Last: held.Last,
		Principal: held.Principal, Login: held.whose(), Credential: held.Credential, Given: held.Given,
	}
	if p.ref, _, err = s.today(ctx, held.ref, c.Spec.Target.ID); err != nil {
		return nil, err
	}
	target, doneTarget, err := s.openRef(ctx, p.ref)
	if err != nil {
		return nil, err
	}
	defer doneTarget()
	if held.whose() == loginGiven {
		facts, err := inspect(ctx, target, p.Sub)
		if err == nil {
			err = held.stays(c, facts.Values)
		}
		if err != nil {
			return nil, err
		}
	}
	source, done, err := s.source(ctx, op.Source)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := source.Inspect(ctx); err != nil {
		return nil, err
	}
	p.Restarts = source.Restarts()
	if held.Written != nil {
		before, err := source.ReadSettings(ctx)
		if err != nil {
			return nil, err
		}
		change := held.Written.kept().Change
		change.Had = change.Set
		if err := source.CheckChange(ctx, change.open()); err != nil {
			return nil, err
		}
		p.Write = &written{Change: change, Before: hideSnapshot(before)}
	}
	if err := p.findBroken(ctx, target); err != nil {
		return nil, err
	}
	return s.sealPlan(op, p)
}

// findBroken notes what a fix will have mended.
func (p *plan) findBroken(ctx context.Context, target *driver.GuardedTarget) error {
	if p.Principal != nil {
		r := *p.Principal
		r.Credential = p.Credential.open()
		state, err := target.InspectPrincipal(ctx, r)
		if err != nil {
			return err
		}
		if !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
			p.Mended = append(p.Mended, stepPrincipal)
		}
	}
	if p.Write != nil {
		change, before := p.Write.Change.open(), p.Write.Before.Settings
		for _, set := range change.Set {
			if held, ok := before[change.Key(set)]; !ok || held != set.Value.Reveal() {
				p.Mended = append(p.Mended, stepSettings)
				break
			}
		}
	}
	return nil
}

// planPrincipal decides which login the connection has afterwards.
func (s *Service) planPrincipal(ctx context.Context, p *plan, in input, want patchbay.Connection, held holding, parties parties, source *driver.GuardedSource, target *driver.GuardedTarget) error {
	spec := want.Spec
	if held.Principal != nil {
		p.Old, p.OldTarget = held.Principal, held.Target
	}
	switch {
	case !authenticates(spec):
	case !parties.targets.Administers():
		return s.planExternal(ctx, p, want, held, target)
	case spec.Auth.Type == patchbay.AuthSecret && p.Given[givenValue] != "":
		p.Login = loginGiven
		c, err := target.Given(p.Sub, spec.Auth.Name, patchbay.NewSecret(p.Given[givenValue]))
		if err != nil {
			return err
		}
		p.Credential = hideCredential(c)
		if held.Principal != nil || !p.Credential.equal(held.Credential) {
			p.next()
		}
	default:
		p.Login = loginOwn
		r := driver.PrincipalRequest{
			Sub: p.Sub, Auth: spec.Auth.Type, Access: spec.Access, Roles: spec.Auth.Roles, Options: spec.Options,
		}
		if parties.targets.Logins.Sources {
			from, err := source.Egress(ctx)
			if err != nil {
				return err
			}
			r.Sources = from
		}
		if p.Old != nil && !in.Rotate && p.OldTarget.Equal(p.Target) && sameRights(*p.Old, r) {
			// Nothing about the login changes: ensure the one there is, and do
			// not remove it when something else fails.
			p.Principal, p.Credential, p.Old = p.Old, held.Credential, nil
			return nil
		}
		p.next()
		p.Made = true
		r.Mark = driver.Mark{UID: want.UID, Generation: p.Generation, Connection: want.ID}
		r.Name = principalName(r.Mark)
		c, err := target.NewCredential(ctx, r)
		if err != nil {
			return err
		}
		p.Principal, p.Credential = &r, hideCredential(c)
	}
	return nil
}

// next begins a new generation of the credential.
func (p *plan) next() {
	p.Last++
	p.Generation = p.Last
}

func sameRights(old, r driver.PrincipalRequest) bool {
	r.Mark, r.Name, r.Credential = old.Mark, old.Name, old.Credential
	a, errA := json.Marshal(old)
	b, errB := json.Marshal(r)
	return errA == nil && errB == nil && string(a) == string(b)
}

// planSettings decides what is written to the source.
func (s *Service) planSettings(ctx context.Context, p *plan, in input, want patchbay.Connection, held holding, facts map[string]string, source driver.Source) error {
	if want.ID.IsConnector() {
		// Nothing is written. Whoever reads them later must be able to have them.
		_, err := s.localSettings(*p, want, facts)
		return err
	}
	if !configures(want.Spec) && held.Written == nil {
		return nil
	}
	before, err := source.ReadSettings(ctx)
	if err != nil {
		return err
	}
	c := driver.Change{Mark: driver.Mark{UID: want.UID, Generation: p.Generation, Connection: want.ID}, Name: want.Name}
	if held.Written != nil {
		c.Had = openSettings(held.Written.Change.Set)
	}
	if configures(want.Spec) {
		all, err := s.ownersOn(ctx, want.Source)
		if err != nil {
			return err
		}
		if c.Set, err = s.render(*p, want, facts, before, all); err != nil {
			return err
		}
	}
	if err := source.CheckChange(ctx, c); err != nil {
		return err
	}
	p.Write = &written{Change: hideChange(c), Before: hideSnapshot(before)}
	return nil
}

// owners are the uids of a source's connections by the settings that they have
// on record, as [driver.Snapshot].Settings names them. While a connection has a
// name on record no other comes to have it, whatever becomes of the file.
type owners map[string][]string

func (o owners) add(c patchbay.Connection, change driver.Change) {
	for _, set := range change.Set {
		o[change.Key(set)] = append(o[change.Key(set)], c.UID)
	}
}

// only reports whether the name is the connection's and nobody else's.
func (o owners) only(uid, name string) bool { return len(o[name]) == 1 && o[name][0] == uid }

// taken reports whether a connection can't come to have a name.
func (o owners) taken(uid string, now driver.Snapshot) func(name string) bool {
	return func(name string) bool {
		_, there := now.Settings[name]
		return (there || len(o[name]) > 0) && !o.only(uid, name)
	}
}

func (s *Service) ownersOn(ctx context.Context, source patchbay.ID) (owners, error) {
	all := owners{}
	err := s.eachOf(ctx, source, func(c patchbay.Connection) error {
		held, err := s.openHolding(c)
		if err == nil && held.Written != nil {
			all.add(c, held.Written.open())
		}
		return err
	})
	return all, err
}

// eachOf calls do for the connections of a source until it fails.
func (s *Service) eachOf(ctx context.Context, source patchbay.ID, do func(patchbay.Connection) error) error {
	for after := ""; ; {
		page, next, err := s.records.Connections(ctx, source, after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, c := range page {
			if err := do(c); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// localSettings are the settings of a local connection. Its names collide with
// nobody's.
func (s *Service) localSettings(p plan, c patchbay.Connection, facts map[string]string) ([]patchbay.Setting, error) {
	if !configures(c.Spec) {
		return []patchbay.Setting{}, nil
	}
	return s.render(p, c, facts, driver.Snapshot{}, nil)
}

// render gives the settings that a connection has on a source with those
// settings and owners. Names that it has already it keeps: that another
// connection's namesakes are gone must not rename what the application reads.
func (s *Service) render(p plan, c patchbay.Connection, facts map[string]string, now driver.Snapshot, all owners) ([]patchbay.Setting, error) {
	login := authenticates(c.Spec)
	set, err := renderLogin(s.settingsRequest(p, c, facts, func(name string) bool { return !all.only(c.UID, name) }), login)
	if err == nil {
		return set, nil
	}
	return renderLogin(s.settingsRequest(p, c, facts, all.taken(c.UID, now)), login)
}

// renderLogin renders r; without a login, only the settings that have no part
// of one: those say where the target is.
func renderLogin(r settings.Request, login bool) ([]patchbay.Setting, error) {
	r.Preview = r.Preview || !login
	set, err := settings.Render(r)
	if login || err != nil {
		return set, err
	}
	return slices.DeleteFunc(set, func(one patchbay.Setting) bool {
		_, additional := r.Additional[one.Name]
		return !additional && strings.Contains(one.Value.Reveal(), "‹") // a value that is not there
	}), nil
}

func (s *Service) settingsRequest(p plan, c patchbay.Connection, facts map[string]string, taken func(string) bool) settings.Request {
	values := settings.Values{}
	for name, value := range facts {
		values[name] = patchbay.NewSecret(value)
	}
	if _, ok := values["vault"]; !ok && p.Target != "" {
		values["vault"] = patchbay.NewSecret(p.Target.Name()) // what a Key Vault is to a CSI driver
	}
	for name, value := range p.Credential.open().Values() {
		values[name] = value
	}
	r := settings.Request{
		Kind: p.Kind, Client: c.Spec.Client, Auth: settingsAuth(p.Kind, c.Spec), Naming: c.Spec.Naming,
		Connection: c.Name, Taken: taken, Values: values,
	}
	if i := c.Spec.Configuration; i != nil {
		r.Customized, r.Additional, r.ConnectionString = i.CustomizedKeys, i.Additional, i.ConnectionString
	}
	return r
}
