package connector

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func (w *world) opened(want ...string) {
	w.t.Helper()
	if got := w.wall.opened(); !slices.Equal(got, want) {
		w.t.Errorf("open is %q, want %q", got, want)
	}
}

func (w *world) delete() patchbay.Operation {
	w.t.Helper()
	return w.end(w.Delete(w.t.Context(), w.linker, w.caller, ""))
}

// TestAWayIsOpenForAsLongAsItIsNeeded, for exactly where its source speaks from.
func TestAWayIsOpenForAsLongAsItIsNeeded(t *testing.T) {
	w := newWorld(t)
	guard := w.walled("wall")[0]
	op := w.put(w.spec())
	w.want(op, patchbay.Done, "")
	w.opened("g2 10.0.3.7/32 ")
	if at := slices.Index(op.Plan, stepOpen); at != 1 || op.Plan[2] != stepLogin {
		t.Errorf("the way is to be open before there is a login: %q", op.Plan)
	}
	c, err := w.Get(t.Context(), w.linker)
	if err != nil || !slices.Equal(c.Guards, []patchbay.ID{guard}) {
		t.Errorf("the connection has openings at %q, %v", c.Guards, err)
	}
	if err := w.DeleteResource(t.Context(), guard, ""); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("a guard that a target is behind goes away: %v", err)
	}
	w.want(w.put(w.spec()), patchbay.Done, "") // a repair
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	w.opened("g2 10.0.3.7/32 ")
	w.want(w.delete(), patchbay.Done, "")
	w.opened()
	// What nobody owns any more is not closed while the login is there.
	if want := []string{"open 10.0.3.7/32", "open 10.0.3.7/32", "open 10.0.3.7/32", "close 10.0.3.7/32"}; !slices.Equal(w.wall.trail, want) {
		t.Errorf("%q", w.wall.trail)
	}
}

// TestAFailedChangeClosesWhatItOpened, and leaves what was open.
func TestAFailedChangeClosesWhatItOpened(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.LoginRefused)
	w.opened()
	w.broker.failProbe = nil
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := w.wall.opened()
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.8/32")}
	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.LoginRefused)
	w.opened(before...)
}

// TestAGuardOfLoginsLetsTheNewOneInBeforeTheOldOneGoes.
func TestAGuardOfLoginsLetsTheNewOneInBeforeTheOldOneGoes(t *testing.T) {
	w := newWorld(t)
	w.walled("wall", "hba")
	w.want(w.put(w.spec()), patchbay.Done, "")
	c, _ := w.Get(t.Context(), w.linker)
	w.opened("g2 10.0.3.7/32 ", "g3 10.0.3.7/32 "+c.Login)
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	next, _ := w.Get(t.Context(), w.linker)
	if next.Login == c.Login {
		t.Fatalf("the login is still %s", c.Login)
	}
	w.opened("g2 10.0.3.7/32 ", "g5 10.0.3.7/32 "+next.Login)
	if want := "open 10.0.3.7/32, open 10.0.3.7/32, close 10.0.3.7/32"; !strings.HasSuffix(strings.Join(w.wall.trail, ", "), want) {
		t.Errorf("%q", w.wall.trail)
	}
}

// TestAWayThatMoved is found by a validation, and opened before the old one is closed
// by its fix.
func TestAWayThatMoved(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.want(w.put(w.spec()), patchbay.Done, "")
	find := func(fix bool) []patchbay.Check {
		t.Helper()
		op := w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: fix}))
		w.want(op, patchbay.Done, "")
		return slices.DeleteFunc(op.Result.Checks, func(c patchbay.Check) bool { return c.Group != patchbay.CheckNetwork })
	}
	if found := find(false); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Fatalf("%+v", found)
	}
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.8/32")}
	found := find(false)
	if len(found) != 1 || found[0].Code != patchbay.RuleMissing || !strings.Contains(found[0].Message, "10.0.3.8/32") || !strings.Contains(found[0].Fix, "--fix") {
		t.Fatalf("%+v", found)
	}
	w.opened("g2 10.0.3.7/32 ")
	if found := find(true); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Fatalf("after the fix: %+v", found)
	}
	w.opened("g3 10.0.3.8/32 ")
	// Somebody took it out by hand.
	w.wall.rules = map[string]driver.Rule{}
	if found := find(false); len(found) != 1 || found[0].Code != patchbay.RuleMissing {
		t.Fatalf("%+v", found)
	}
	if found := find(true); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Fatalf("%+v", found)
	}
	w.opened("g3 10.0.3.8/32 ")
	w.wall.despite = "the chain input of the table theirs drops it"
	if found := find(false); len(found) != 1 || found[0].Code != patchbay.PortClosed || !strings.Contains(found[0].Message, "theirs drops it") {
		t.Fatalf("%+v", found)
	}
	w.want(w.delete(), patchbay.Done, "")
	w.opened()
}

// TestAClosingThatFailsIsALeftover.
func TestAClosingThatFailsIsALeftover(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.wall.fail(patchbay.Errorf(patchbay.TargetUnreachable, "gone"))
	w.want(w.delete(), patchbay.Done, "")
	left, _, err := w.Leftovers(t.Context(), "", 0)
	if err != nil || len(left) != 1 || !strings.HasPrefix(left[0].What, "opening pb_") {
		t.Fatalf("%+v, %v", left, err)
	}
	w.wall.fail(nil)
	op, err := w.Sweep(t.Context(), w.caller)
	w.want(w.end(Begun{Operation: op}, err), patchbay.Done, "")
	w.opened()
}

// TestWhatIsOpenForNobodyIsClosedBySweeping.
func TestWhatIsOpenForNobodyIsClosedBySweeping(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.want(w.put(w.spec()), patchbay.Done, "")
	stray := driver.Rule{Name: "pb_nobody_g1"}
	stray.Mark.UID, stray.Mark.Generation, stray.Mark.Connection = "nobody", 1, w.app.id.Linker("gone")
	w.wall.rules[stray.Name] = stray
	op, err := w.Sweep(t.Context(), w.caller)
	op = w.end(Begun{Operation: op}, err)
	if len(op.Swept.Removed) != 1 || !strings.Contains(op.Swept.Removed[0].What, "opening pb_nobody_g1") {
		t.Errorf("%+v", op.Swept)
	}
	w.opened("g2 10.0.3.7/32 ")
}

// TestNobodyKnowsFromWhere: nothing is opened for everybody.
func TestNobodyKnowsFromWhere(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.app.egress = nil
	op := w.put(w.spec())
	w.want(op, patchbay.Undone, patchbay.InvalidArgument)
	if !strings.Contains(op.Error.Fix, "--egress") {
		t.Errorf("%v", op.Error)
	}
	w.opened()
	spec := w.spec()
	spec.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
	w.want(w.put(spec), patchbay.Done, "")
	w.opened()
	if len(w.broker.names()) != 1 {
		t.Errorf("%q", w.broker.names())
	}
}

// TestOptingOutClosesTheWay, and so does a target that is not guarded any more.
func TestOptingOutClosesTheWay(t *testing.T) {
	for name, change := range map[string]func(*world, *patchbay.Spec){
		"opt-out": func(_ *world, s *patchbay.Spec) {
			s.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
		},
		"no guard": func(w *world, s *patchbay.Spec) { w.walled(); s.Client = "python" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.walled("wall")
			w.want(w.put(w.spec()), patchbay.Done, "")
			spec := w.spec()
			change(w, &spec)
			w.want(w.put(spec), patchbay.Done, "")
			w.opened()
			if c, err := w.Get(t.Context(), w.linker); err != nil || len(c.Guards) != 0 {
				t.Errorf("%q, %v", c.Guards, err)
			}
		})
	}
}

// TestWhatIsNoGuard is refused where it is named.
func TestWhatIsNoGuard(t *testing.T) {
	w := newWorld(t)
	guard := w.walled("wall")[0]
	db := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	for name, r := range map[string]patchbay.Resource{
		"unknown":     {ID: db, Guards: []patchbay.ID{w.group.Child("providers/Patchbay.Services/guards", "nowhere")}},
		"an app":      {ID: db, Guards: []patchbay.ID{w.app.id}},
		"twice":       {ID: db, Guards: []patchbay.ID{guard, guard}},
		"of a source": {ID: w.app.id, Guards: []patchbay.ID{guard}},
	} {
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: w.caller})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAGuardIsAskedWhenItIsRegistered, and when a target that names it is: what it may
// not is known before the first connection.
func TestAGuardIsAskedWhenItIsRegistered(t *testing.T) {
	w := newWorld(t)
	var told []patchbay.AuditEntry
	w.caller.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
		told = append(told, e)
		return nil
	}
	guard := patchbay.Resource{ID: w.group.Child("providers/Patchbay.Services/guards", "wall"), Driver: "wall"}
	db := patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Guards: []patchbay.ID{guard.ID}}
	put := func(r patchbay.Resource, noCheck bool) ([]string, error) {
		_, _, warnings, err := w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: w.caller, NoCheck: noCheck})
		return warnings, err
	}
	w.wall.fail(patchbay.Errorf(patchbay.Forbidden, "it lacks the right").WithFix("give it"))
	_, err := put(guard, false)
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Forbidden || e.Fix != "give it" {
		t.Errorf("%v", err)
	}
	if _, err := w.Resource(t.Context(), guard.ID); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("it is registered all the same: %v", err)
	}
	if _, err := put(guard, true); err != nil {
		t.Errorf("without asking: %v", err)
	}
	_, err = put(db, false)
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Forbidden || !strings.Contains(e.Message, "its guard wall: ") || e.Fix != "give it" {
		t.Errorf("a target behind it: %v", err)
	}
	if r, err := w.Resource(t.Context(), db.ID); err != nil || len(r.Guards) > 0 {
		t.Errorf("the target is behind %q, %v", r.Guards, err)
	}
	if len(told) != 2 || told[0].Resource != guard.ID || told[1].Resource != db.ID || told[1].Code != patchbay.Forbidden {
		t.Errorf("the audit log has %+v", told)
	}
	if _, err := put(db, true); err != nil {
		t.Errorf("without asking: %v", err)
	}
	w.wall.fail(nil)
	w.wall.warns = []string{"sessions are not ended"}
	for _, r := range []patchbay.Resource{guard, db} {
		warnings, err := put(r, false)
		if err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], "sessions are not ended") {
			t.Errorf("%s: %q, %v", r.ID.Name(), warnings, err)
		}
	}
}

// TestACallersOwnRangesAreOpenedBesides, and who can't be told is refused.
func TestACallersOwnRangesAreOpenedBesides(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	spec := w.spec()
	with := func(r patchbay.FirewallRules) patchbay.Spec {
		spec.PublicNetwork = &patchbay.PublicNetworkSolution{FirewallRules: &r}
		return spec
	}
	for name, r := range map[string]patchbay.FirewallRules{
		"azureServices":  {AzureServices: "true"},
		"callerClientIP": {CallerClientIP: "true"},
		"10.0.9.1/24":    {IPRanges: []string{"10.0.9.1/24"}},
		"0.0.0.0/0":      {IPRanges: []string{"0.0.0.0/0"}},
		"somewhere":      {IPRanges: []string{"somewhere"}},
	} {
		if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: with(r), Caller: w.caller}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.want(w.put(with(patchbay.FirewallRules{IPRanges: []string{"10.0.9.0/24", "10.0.3.7", "10.0.8.1"}, AzureServices: "false"})), patchbay.Done, "")
	w.opened("g2 10.0.3.7/32, 10.0.8.1/32, 10.0.9.0/24 ")
	weak := w.caller
	weak.Allow = func(_ context.Context, action string, _ patchbay.ID) error {
		if action == ActionHost {
			return patchbay.Errorf(patchbay.Forbidden, "no")
		}
		return nil
	}
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: with(patchbay.FirewallRules{IPRanges: []string{"10.0.7.0/24"}}), Caller: weak}); patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("whoever may connect lets others in: %v", err)
	}
	if !w.validated(false).Available() {
		t.Error("what was opened is not what is looked for")
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.opened("g3 10.0.3.7/32 ")
}

// TestAWayStaysOpenForALoginThatIsStillInUse: what can't be revoked yet still passes, and
// the way is closed behind it.
func TestAWayStaysOpenForALoginThatIsStillInUse(t *testing.T) {
	w := newWorld(t)
	w.walled("hba")
	w.want(w.put(w.spec()), patchbay.Done, "")
	old, _ := w.Get(t.Context(), w.linker)
	w.broker.mu.Lock()
	w.broker.sessions[old.Login] = 1
	w.broker.mu.Unlock()
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	open := strings.Join(w.wall.opened(), "\n")
	next, _ := w.Get(t.Context(), w.linker)
	if !strings.Contains(open, old.Login) || !strings.Contains(open, next.Login) {
		t.Fatalf("in use are %s and %s, and open is\n%s", old.Login, next.Login, open)
	}
	w.broker.mu.Lock()
	w.broker.sessions[old.Login] = 0
	w.broker.mu.Unlock()
	op, err := w.Sweep(t.Context(), w.caller)
	w.want(w.end(Begun{Operation: op}, err), patchbay.Done, "")
	if open := w.wall.opened(); len(open) != 1 || !strings.Contains(open[0], next.Login) {
		t.Errorf("behind the old login, open is %q", open)
	}
}

// TestAWayStaysOpenForALoginThatAnUndoLeaves.
func TestAWayStaysOpenForALoginThatAnUndoLeaves(t *testing.T) {
	w := newWorld(t)
	w.walled("hba")
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.restartErr = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	op := w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}))
	w.want(op, patchbay.Undone, patchbay.RestartFailed)
	if open := w.wall.opened(); len(open) != len(w.broker.names()) {
		t.Errorf("there are the logins %q, and open is %q", w.broker.names(), open)
	}
	w.app.restartErr = nil
	sweep, err := w.Sweep(t.Context(), w.caller)
	w.want(w.end(Begun{Operation: sweep}, err), patchbay.Done, "")
	if open, names := w.wall.opened(), w.broker.names(); len(open) != 1 || len(names) != 1 {
		t.Errorf("in the end there are the logins %q, and open is %q", names, open)
	}
}

// TestAWayIsAskedForByWhatAGuardStandsFor: nothing is promised that no guard keeps.
func TestAWayIsAskedForByWhatAGuardStandsFor(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.VNet = &patchbay.VNetSolution{Type: "PrivateLink"}
	put := func() error {
		_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		return err
	}
	if err := put(); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("without a guard: %v", err)
	}
	w.walled("hba")
	if err := put(); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "leave vNetSolution out") {
		t.Errorf("with a guard that is none: %v", err)
	}
	w.walled("wall")
	w.want(w.put(spec), patchbay.Done, "")
	w.opened("g2 10.0.3.7/32 ")
	spec.VNet.Type = "expressWay"
	if err := put(); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("what nobody knows: %v", err)
	}
}

// TestRulesAreLookedAtWithoutAVantage: that nobody can speak from where an application runs
// keeps nobody from asking the guard.
func TestRulesAreLookedAtWithoutAVantage(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.mute = true
	w.restart() // which opens it anew
	clear(w.wall.rules)
	op := w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller}))
	if !slices.ContainsFunc(op.Result.Checks, func(c patchbay.Check) bool { return c.Code == patchbay.RuleMissing }) {
		t.Errorf("it finds %+v", op.Result.Checks)
	}
}

// TestALoginThatIsLetInFromElsewhereIsFound, where the product itself guards it, and an
// update has it let in from where its source speaks by then.
func TestALoginThatIsLetInFromElsewhereIsFound(t *testing.T) {
	w := newWorld(t)
	w.Service.catalog.Targets["memory"].Logins.Sources = true
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.7/32")}
	w.want(w.put(w.spec()), patchbay.Done, "")
	validate := func() *patchbay.Report {
		return w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller})).Result
	}
	if report := validate(); !report.Available() {
		t.Errorf("it finds %+v", report.Checks)
	}
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.8/32")}
	report := validate()
	at := slices.IndexFunc(report.Checks, func(c patchbay.Check) bool { return c.Code == patchbay.RuleMissing })
	if at < 0 || !strings.Contains(report.Checks[at].Message, "10.0.3.8/32") || !strings.Contains(report.Checks[at].Fix, "connection update") {
		t.Fatalf("it finds %+v", report.Checks)
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	if report := validate(); !report.Available() {
		t.Errorf("after an update it finds %+v", report.Checks)
	}
	for _, r := range w.broker.logins {
		if texts(r.Sources) != "10.0.3.8/32" {
			t.Errorf("the login is let in from %s", texts(r.Sources))
		}
	}
}
