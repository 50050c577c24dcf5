package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/store"
)

// restartTimeout bounds a step that may restart an application. How long that may
// take, the source's registration says.
const restartTimeout = driver.MaxWait + time.Minute

// Workflows are the steps of every kind of operation, for a saga engine.
//
//	create, update, rotate   plan → open → login → probe → settings → restart → verify (pivot) → revoke → close → release
//	delete                   plan (pivot) → settings → restart → revoke → close → release
//	validate                 validate; with fix: plan → open → login → probe → settings → restart → validate → close → release
//	sweep                    retry → marks (pivot)
//	rotateAdmin              plan → credential → verify (pivot) → record
//
// A delete goes forward only: what can't be reached is parked, so that neither
// a dead source nor a dead target blocks it.
func (s *Service) Workflows() []saga.Workflow {
	forward := []saga.Step{
		{Name: stepPlan, Do: s.plan},
		{Name: stepOpen, Where: saga.OnTarget, Do: s.entitled(s.open), Undo: s.undoOpen, Park: s.parkOpen, Timeout: time.Minute},
		{Name: stepLogin, Where: saga.OnTarget, Do: s.entitled(s.ensureLogin), Undo: s.undoLogin, Park: s.parkLogin},
		{Name: stepProbe, Do: s.entitled(s.probe)},
		{Name: stepSettings, Where: saga.OnSource, Do: s.entitled(s.writeSettings), Undo: s.undoSettings, Park: s.parkSettings, Timeout: restartTimeout},
		// Not OnSource: an application that does not come up would hold its source
		// for ever.
		{Name: stepRestart, Do: s.entitled(s.restart), Undo: s.undoSettings, Park: s.parkRestart, Timeout: restartTimeout},
	}
	closing := saga.Step{Name: stepClose, Kind: saga.Retriable, Where: saga.OnTarget, Do: s.closeOld, Park: s.parkClose, Timeout: time.Minute}
	release := saga.Step{Name: stepRelease, Kind: saga.Retriable, Do: s.release, Park: s.parkRelease}
	change := append(forward[:len(forward):len(forward)],
		saga.Step{Name: stepVerify, Kind: saga.Pivot, Do: s.verify},
		saga.Step{Name: stepRevoke, Kind: saga.Retriable, Where: saga.OnTarget, Do: s.revokeOld, Park: s.parkOld, Timeout: time.Minute},
		closing,
		release,
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
			{Name: stepRestart, Kind: saga.Retriable, Do: s.restartAfterDelete, Timeout: restartTimeout},
			{Name: stepRevoke, Kind: saga.Retriable, Where: saga.OnTarget, Do: s.revokeOwn, Park: s.parkOld},
			closing,
			release,
		}},
		{Kind: patchbay.OpValidate, Finish: s.finishValidate, Steps: append(forward[:len(forward):len(forward)],
			saga.Step{Name: stepValidate, Kind: saga.Pivot, Do: s.validate, Timeout: time.Minute},
			closing,
			release,
		)},
		s.sweepWorkflow(),
		s.rotateAdminWorkflow(),
	}
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

// loginName is made of the connection's uid and generation alone, so it is
// known before anything is.
func loginName(m driver.Mark) string { return fmt.Sprintf("pb_%s_g%d", m.UID, m.Generation) }

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
	d := &draft{in: in, given: given, asks: true, note: refuse}
	if err := who.allow(ctx, actionOf(op.Kind, in.Want.ID), in.Want.ID); err != nil {
		return nil, err
	}
	if d.parties, err = s.newParties(ctx, who, in.Want.ID, &d.in.Want.Spec); err != nil {
		return nil, err
	}
	if !in.Rotate {
		if err := s.checkPublicAccess(ctx, d.parties, d.in.Want.Spec); err != nil {
			return nil, err
		}
	}
	d.parties.scope = d.in.Want.Spec.Scope
	if err := s.decide(ctx, d); err != nil {
		return nil, err
	}
	if len(d.plan.Open) > 0 && !slices.Contains(op.Plan, stepOpen) {
		return nil, patchbay.Errorf(patchbay.Conflict, "%s got a guard that is to be opened while the operation waited", d.parties.target.ID.Name()).WithFix("try again")
	}
	return s.sealPlan(op, d.plan)
}

// draft is a plan in the making: what it is made of, and what comes of it. It is
// made in the same way for an operation, which seals it, and for a preview, which
// shows it.
type draft struct {
	in      input
	given   map[string]string // the secrets
	parties parties
	// asks says that the target may be asked. Without that no credential is known.
	asks bool
	// preview has ‹password› for what is not known.
	preview bool
	// note is told of what is in the way. It gives what ends the draft, nil to go on
	// without whatever it was.
	note func(error) error

	to     netip.Addr // where the target is; zero when that is not an address
	beyond []string   // what the login could do besides its access
	lost   []string   // what the old login has beyond its access, and the next one does not get
	advice []string   // the source's, of what is written
	warned []string   // what comes with success
	plan   plan
	set    []patchbay.Setting
	asked  settings.Request // what they were rendered from
	place  driver.SourceInfo
}

// refuse is the note of a plan that is to be carried out.
func refuse(err error) error { return err }

// decide makes the plan.
func (s *Service) decide(ctx context.Context, d *draft) error {
	ctx = driver.OneLook(ctx)
	held, err := s.openHolding(d.in.Connection)
	if err != nil {
		return err
	}
	last := d.in.Connection.Generation
	d.plan.outline = outline{ref: refOf(d.parties), Spec: &d.in.Want.Spec, Generation: last, Last: max(last, held.Last)}
	d.plan.Given = d.given
	source, done, err := s.openSourceOf(ctx, d.parties)
	if err != nil {
		if err := d.note(err); err != nil {
			return err
		}
		source, done = s.nowhere(), func() {}
	}
	defer done()
	var target *driver.GuardedTarget // nil when it can't be asked
	if d.asks {
		opened, done, err := s.openParty(ctx, d.parties)
		if err := d.note(err); err != nil {
			return err
		}
		if err == nil {
			target = opened
			defer done()
		}
	}
	d.place, err = source.Inspect(ctx)
	if err := d.note(err); err != nil {
		return err
	}
	d.plan.Restarts = source.Restarts()
	var facts driver.TargetInfo
	if target != nil {
		facts, err = inspect(ctx, target, d.plan.Sub)
		if err := d.note(err); err != nil {
			return err
		}
	}
	d.to, _ = netip.ParseAddr(facts.Values["host"])
	if err := d.note(s.planLogin(ctx, d, held, source, target)); err != nil {
		return err
	}
	if err := d.note(s.planOpenings(ctx, d, held, source, target)); err != nil {
		return err
	}
	if len(d.plan.Reach) > 0 && target != nil {
		facts, err = s.seenFacts(ctx, d.plan.ref, d.parties.source.ID)
		if err := d.note(err); err != nil {
			return err
		}
	}
	if d.plan.LoginKind == loginGiven && target != nil {
		d.plan.Where = whereIs(facts.Values)
		if d.in.Kept {
			if err := d.note(held.stays(d.in.Want, d.plan.Where)); err != nil {
				return err
			}
		}
	}
	if err := s.planSettings(ctx, d, held, facts.Values, source); err != nil {
		return err
	}
	d.warned = append(facts.Warnings, d.warnings()...)
	d.plan.Message = strings.Join(d.warned, "; ")
	return nil
}

// warnings are what comes with success, besides what the target says.
func (d *draft) warnings() []string {
	list := slices.Clone(d.beyond)
	if text := d.deniedText(); text != "" {
		list = append(list, text)
	}
	if scope := d.in.Want.Spec.Scope; scope != "" && d.plan.Write != nil && d.parties.sources.Part == "" {
		list = append(list, fmt.Sprintf("the part %s on %s was not looked at: the settings are those of all of it", scope, d.parties.source.ID.Name()))
	}
	if len(d.lost) > 0 {
		list = append(list, fmt.Sprintf("the login %s has what its access does not give, and the one that replaces it has not: %s", d.plan.Old.Name, strings.Join(d.lost, ", ")))
	}
	if a := d.in.Want.Spec.Auth; a != nil && a.Type == patchbay.AuthAccessKey && len(a.Permissions) > 0 {
		list = append(list, "the key is the registered one, and may do what it may: permissions was not looked at")
	}
	list = append(list, d.advice...)
	if d.plan.Write != nil && !d.plan.Restarts && !d.in.Created {
		list = append(list, fmt.Sprintf("%s has no way to be restarted by Patchbay; restart it so that it reads the new settings", d.parties.source.ID.Name()))
	}
	if d.plan.Reading != nil {
		for _, u := range unsaid(*d.plan.Reading, d.parties.source.ID.Name(), d.place) {
			list = append(list, u.What+": "+u.Step)
		}
	}
	return list
}

// planFix puts everything back to what the connection is on record to be. It
// decides nothing anew, so the record stays as it is.
func (s *Service) planFix(ctx context.Context, op *saga.Op, id patchbay.ID, who Caller) ([]byte, error) {
	ctx = driver.OneLook(ctx)
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
	if err := s.mayRepair(ctx, who, c, held.ref); err != nil {
		return nil, err
	}
	p := plan{agreed: agreed{
		outline{Spec: &c.Spec, Generation: c.Generation, Last: held.Last, Login: held.Login, LoginKind: held.whose()},
		secrets{Credential: held.Credential, Given: held.Given},
	}}
	p.Reading = held.Reading
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
	source, done, err := s.source(ctx, sourceOf(c))
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := source.Inspect(ctx); err != nil {
		return nil, err
	}
	if err := s.fixOpenings(ctx, op, &p.outline, c, held, source, target); err != nil {
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
		change.Client = cmp.Or(change.Client, c.Spec.Client, "none")
		if err := source.CheckChange(ctx, change.open()); err != nil {
			return nil, err
		}
		advice, err := source.Advise(ctx, change.open())
		if err != nil {
			return nil, err
		}
		p.Message = strings.Join(advice, "; ")
		p.Write = &written{Change: change, Before: hideSnapshot(before)}
	}
	if err := s.findBroken(ctx, &p, target); err != nil {
		return nil, err
	}
	return s.sealPlan(op, p)
}

// findBroken notes what a fix will have mended.
func (s *Service) findBroken(ctx context.Context, p *plan, target *driver.GuardedTarget) error {
	open, err := s.isOpen(ctx, p.Open)
	if err != nil {
		return err
	}
	if !open {
		p.Mended = append(p.Mended, stepOpen)
	}
	if p.Login != nil {
		r := *p.Login
		r.Credential = p.Credential.open()
		state, err := target.InspectLogin(ctx, r)
		if err != nil {
			return err
		}
		if !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
			p.Mended = append(p.Mended, stepLogin)
		}
	}
	if p.Write != nil {
		change, before := p.Write.Change.open(), p.Write.Before.Settings
		for _, set := range change.Set {
			if held, ok := before[change.Key(set)]; !ok || held != set.Value.Reveal() {
				p.PutBack = append(p.PutBack, set.Name)
			}
		}
		if slices.Sort(p.PutBack); len(p.PutBack) > 0 {
			p.Mended = append(p.Mended, stepSettings)
		}
	}
	return nil
}

// planLogin decides which login the connection has afterwards.
func (s *Service) planLogin(ctx context.Context, d *draft, held holding, source *driver.GuardedSource, target *driver.GuardedTarget) error {
	p, want := &d.plan, d.in.Want
	if held.Login != nil {
		p.Old, p.OldTarget = held.Login, held.Target
	}
	p.LoginKind = loginOf(d.parties, want.Spec, p.Given)
	var c driver.Credential
	var err error
	switch {
	case p.LoginKind == loginNone:
		return nil
	case p.LoginKind == loginIdentity:
		c, err = s.identity(ctx, want, p.Kind, p.Given)
	case target == nil:
		return nil
	case p.LoginKind == loginOwn:
		return s.planOwnLogin(ctx, d, held, source, target)
	case p.LoginKind == loginGiven:
		c, err = target.Given(p.Sub, want.Spec.Auth.Name, patchbay.NewSecret(p.Given[givenValue]))
	default:
		c, err = target.Registered(p.Sub)
	}
	if err != nil {
		return err
	}
	p.Credential = hideCredential(c)
	if held.Login != nil || !p.Credential.equal(held.Credential) {
		p.next()
	}
	return nil
}

// planOwnLogin decides on a login of Patchbay's own.
func (s *Service) planOwnLogin(ctx context.Context, d *draft, held holding, source *driver.GuardedSource, target *driver.GuardedTarget) error {
	p, want := &d.plan, d.in.Want
	spec := want.Spec
	r := driver.LoginRequest{
		Sub: p.Sub, Auth: spec.Auth.Type, Access: spec.Access, Roles: spec.Auth.Roles, Options: spec.Options,
	}
	if d.parties.targets.Logins.Sources {
		from, err := source.Egress(ctx, d.to)
		if err != nil {
			return err
		}
		r.Sources = from
	}
	if p.Old != nil && !d.in.Rotate && p.OldTarget.Equal(p.Target) && sameRights(*p.Old, r) {
		// Nothing about the login changes: ensure the one there is, and do
		// not remove it when something else fails.
		p.Login, p.Credential, p.Old = p.Old, held.Credential, nil
		return nil
	}
	if !d.in.Rotate { // who makes or changes it decides; a rotation decides nothing
		var err error
		if d.beyond, err = target.Beyond(ctx, r); err != nil {
			return err
		}
	}
	if p.Old != nil && p.OldTarget.Equal(p.Target) {
		// Whoever gave it more should hear that before it goes. That it can't be
		// asked now is no reason to stop.
		if state, err := target.InspectLogin(ctx, *p.Old); err == nil && state.Ours {
			d.lost = state.Excess
		}
	}
	p.next()
	p.Made = true
	r.Mark = driver.Mark{UID: want.UID, Generation: p.Generation, Connection: want.ID}
	r.Name = loginName(r.Mark)
	c, err := target.NewCredential(ctx, r)
	if err != nil {
		return err
	}
	p.Login, p.Credential = &r, hideCredential(c)
	return nil
}

// next begins a new generation of the credential.
func (p *outline) next() {
	p.Last++
	p.Generation = p.Last
}

func sameRights(old, r driver.LoginRequest) bool {
	r.Mark, r.Name, r.Credential = old.Mark, old.Name, old.Credential
	a, errA := json.Marshal(old)
	b, errB := json.Marshal(r)
	return errA == nil && errB == nil && string(a) == string(b)
}

// planSettings decides what is written to the source. To that of a local
// connection nothing is: whoever reads them later must be able to have them.
func (s *Service) planSettings(ctx context.Context, d *draft, held holding, facts map[string]string, source *driver.GuardedSource) error {
	want := d.in.Want
	wanted, local := configures(want.Spec), want.ID.IsLocal()
	if !wanted && (local || held.Written == nil) {
		return nil
	}
	var before driver.Snapshot
	var all owners
	var err error
	if !local {
		before, err = source.ReadSettings(ctx)
		if err := d.note(err); err != nil {
			return err
		}
	}
	if wanted && !local {
		all, err = s.ownersOn(ctx, d.parties)
		if err := d.note(err); err != nil {
			return err
		}
	}
	if wanted {
		d.asked = settingsRequest(d.plan.agreed, want, facts, d.place.FilesAt)
		d.asked.Preview = d.preview
		var reading settings.Reading
		d.set, reading, err = render(&d.asked, want, before, all)
		err = all.mayForce(err)
		if err := d.note(err); err != nil {
			return err
		}
		if err == nil {
			d.plan.Reading = &reading
		}
	}
	if local {
		return nil
	}
	c := driver.Change{Mark: driver.Mark{UID: want.UID, Generation: d.plan.Generation, Connection: want.ID}, Name: want.Name, Client: cmp.Or(want.Spec.Client, "none"), Set: d.set}
	if held.Written != nil {
		c.Had = openSettings(held.Written.Change.Set)
		c.Back = openSettings(held.Written.Change.Back)
		if len(c.Set) == 0 {
			c.Mark = held.Written.Change.Mark // of what goes: nothing new is marked
		}
	}
	if want.Spec.TakeOver {
		c.Back = append(c.Back, takenOver(c, before)...)
	}
	if err := d.note(source.CheckChange(ctx, c)); err != nil {
		return err
	}
	if d.advice, err = source.Advise(ctx, c); err != nil {
		return d.note(err)
	}
	d.plan.Write = &written{Change: hideChange(c), Before: hideSnapshot(before)}
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

// mayForce adds to a refused name that it may be taken over, if it is not another
// connection's.
func (o owners) mayForce(err error) error {
	var e *patchbay.Error
	if !errors.As(err, &e) || e.Code != patchbay.Conflict || e.Subject == "" || len(o[e.Subject]) > 0 {
		return err
	}
	more := *e
	more.Fix += "; or take it over with --force: what it has now comes back when the connection goes"
	return &more
}

// takenOver are the settings of somebody else's that c comes to have.
func takenOver(c driver.Change, now driver.Snapshot) (theirs []patchbay.Setting) {
	for _, set := range c.Set {
		value, there := now.Settings[set.Name]
		if set.File || !there || slices.ContainsFunc(c.Had, func(had patchbay.Setting) bool { return !had.File && had.Name == set.Name }) {
			continue
		}
		theirs = append(theirs, patchbay.Setting{Name: set.Name, Value: value, Secret: true})
	}
	return theirs
}

// ownersOn are those of a part of a source; of one that has none, of all of it.
func (s *Service) ownersOn(ctx context.Context, p parties) (owners, error) {
	all := owners{}
	err := s.eachOf(ctx, p.source.ID, func(c patchbay.Connection) error {
		if p.sources.Part != "" && apart(c.Spec.Scope, p.scope) {
			return nil
		}
		held, err := s.openHolding(c)
		if err == nil && held.Written != nil {
			all.add(c, held.Written.open())
		}
		return err
	})
	return all, err
}

// apart reports whether two scopes are of different parts. Which one a connection
// has that names none, its driver decides.
func apart(a, b string) bool { return a != "" && b != "" && a != b }

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

// render gives the settings that a connection has on a source with those
// settings and owners. Names that it has already it keeps: that another
// connection's namesakes are gone must not rename what the application reads.
// r.Taken is then what they were named by.
func render(r *settings.Request, c patchbay.Connection, now driver.Snapshot, all owners) ([]patchbay.Setting, settings.Reading, error) {
	if c.Spec.TakeOver {
		now = driver.Snapshot{} // only what another connection has is in the way
	}
	login, taken := authenticates(c.Spec), all.taken(c.UID, now)
	r.Taken = func(name string) bool {
		if settings.ProcessWide(name) { // it has no other name
			return taken(name)
		}
		return !all.only(c.UID, name)
	}
	set, reading, err := renderLogin(*r, login)
	if err == nil {
		return set, reading, nil
	}
	r.Taken = taken
	return renderLogin(*r, login)
}

// renderLogin renders r; without a login, only the settings that have no part
// of one: those say where the target is.
func renderLogin(r settings.Request, login bool) ([]patchbay.Setting, settings.Reading, error) {
	r.Preview = r.Preview || !login
	set, reading, err := settings.Read(r)
	if login || err != nil {
		return set, reading, err
	}
	return slices.DeleteFunc(set, func(one patchbay.Setting) bool {
		_, additional := r.Additional[one.Name]
		return !additional && strings.Contains(one.Value.Reveal(), "‹") // a value that is not there
	}), reading, nil
}

// settingsRequest is what the settings of c are made from. filesAt is where the
// application finds its connections' files, "" when that is not known.
func settingsRequest(p agreed, c patchbay.Connection, facts map[string]string, filesAt string) settings.Request {
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
	r := settingsAsked(p.Kind, c.Spec, settingsAuth(p.Kind, c.Spec))
	r.Connection, r.Values = c.Name, values
	file := settings.AuthorityFile
	if i := c.Spec.Configuration; i != nil {
		for name, custom := range i.CustomizedKeys {
			if strings.EqualFold(name, file) {
				file = custom
			}
		}
		r.Customized, r.Additional, r.ConnectionString = i.CustomizedKeys, i.Additional, i.ConnectionString
	}
	if facts["ca"] != "" && filesAt != "" {
		values["caFile"] = patchbay.NewSecret(path.Join(filesAt, c.Name, file))
	}
	return r
}
