package connector

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// public registers the target anew, with public access as it is said, and gives what the
// registration warns of.
func (w *world) public(access patchbay.PublicAccess) []string {
	w.t.Helper()
	_, _, warnings, err := w.PutResource(w.t.Context(), ResourceRequest{
		Resource: patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", PublicAccess: access}, Caller: w.caller,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return warnings
}

// ofNetwork are a validation's findings of the network.
func (w *world) ofNetwork(fix bool) []patchbay.Check {
	w.t.Helper()
	op := w.end(w.Validate(w.t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: fix}))
	w.want(op, patchbay.Done, "")
	return slices.DeleteFunc(op.Result.Checks, func(c patchbay.Check) bool { return c.Group != patchbay.CheckNetwork })
}

// deniedAndReached wants the warning, and what the probe found.
func (w *world) deniedAndReached(found []patchbay.Check, says string) {
	w.t.Helper()
	if len(found) != 2 || found[0].Result != patchbay.Warning || found[0].Code != patchbay.PublicAccessDenied ||
		!strings.Contains(found[0].Message, says) || found[1].Result != patchbay.Success || found[1].Message != "" {
		w.t.Fatalf("it finds %+v", found)
	}
}

// TestPublicAccessThatIsDeniedIsNotOpened: a connection is made, with a warning, and no
// guard is asked for anything, whatever is done to the connection.
func TestPublicAccessThatIsDeniedIsNotOpened(t *testing.T) {
	w := newWorld(t)
	w.walled("wall", "hba")
	w.public(patchbay.PublicDisabled)
	untouched := func(when string) {
		t.Helper()
		if len(w.wall.trail) > 0 {
			t.Fatalf("%s, a guard was told %q", when, w.wall.trail)
		}
	}
	pv, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if err != nil || len(pv.Problems) > 0 || slices.ContainsFunc(pv.Steps, func(s PreviewStep) bool { return s.Name == stepOpen }) ||
		!strings.Contains(pv.Steps[0].Text, "nothing is opened: public access to db is denied") || !strings.Contains(strings.Join(pv.Warnings, "; "), "public access to db is denied") {
		t.Fatalf("%+v, %v", pv, err)
	}
	op := w.put(w.spec())
	w.want(op, patchbay.Done, "")
	if !strings.Contains(op.Message, "public access to db is denied: nothing is opened on the way to it") {
		t.Errorf("it says %q", op.Message)
	}
	untouched("at the create")
	if c, err := w.Get(t.Context(), w.linker); err != nil || len(c.Guards) > 0 || c.Message != op.Message {
		t.Errorf("%+v, %v", c, err)
	}
	w.deniedAndReached(w.ofNetwork(false), "nothing is opened")
	w.deniedAndReached(w.ofNetwork(true), "nothing is opened")
	untouched("at a fix")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	untouched("at a rotation")
	w.deniedAndReached(w.ofNetwork(true), "nothing is opened")
	w.want(w.put(w.spec()), patchbay.Done, "")
	untouched("at an update")
	w.want(w.delete(), patchbay.Done, "")
	untouched("at the delete")
}

// TestPublicAccessIsAllowedAgain: a validation finds that the way is not open, and its fix
// opens it, for the login that there is by then.
func TestPublicAccessIsAllowedAgain(t *testing.T) {
	w := newWorld(t)
	w.walled("wall", "hba")
	w.public(patchbay.PublicDisabled)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	w.public(patchbay.PublicEnabled)
	w.opened()
	found := w.ofNetwork(false)
	if len(found) != 1 || found[0].Code != patchbay.RuleMissing || found[0].Result != patchbay.Failure || !strings.Contains(found[0].Fix, "--fix") {
		t.Fatalf("it finds %+v", found)
	}
	// A fix that fails leaves it as it was.
	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
	w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true})), patchbay.Undone, patchbay.LoginRefused)
	w.broker.failProbe = nil
	w.opened()
	if found := w.ofNetwork(true); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Fatalf("after the fix: %+v", found)
	}
	c, err := w.Get(t.Context(), w.linker)
	if err != nil || len(c.Guards) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	w.opened("g3 10.0.3.7/32 ", "g4 10.0.3.7/32 "+c.Login)
	if found := w.ofNetwork(false); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Fatalf("it finds %+v", found)
	}
	w.want(w.delete(), patchbay.Done, "")
	w.opened()
}

// TestWhatWasOpenBeforePublicAccessWasDenied stays until an update or the delete closes
// it: a validation says so, its fix leaves it, and a rotation lets the new login pass
// where the old one did.
func TestWhatWasOpenBeforePublicAccessWasDenied(t *testing.T) {
	for _, end := range []string{"update", "delete"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t)
			w.walled("wall", "hba")
			w.want(w.put(w.spec()), patchbay.Done, "")
			open := w.wall.opened()
			if warned := w.public(patchbay.PublicDisabled); len(warned) != 1 || !strings.Contains(warned[0], "1 connection to db stays open") {
				t.Errorf("the registration warns of %q", warned)
			}
			if warned := w.public(""); len(warned) > 0 {
				t.Errorf("one that changes nothing warns of %q", warned)
			}
			for _, fix := range []bool{false, true} {
				found := w.ofNetwork(fix)
				w.deniedAndReached(found, "still let in at wall, hba")
				if !strings.Contains(found[0].Fix, "patchbay connection update") {
					t.Errorf("its fix is %q", found[0].Fix)
				}
			}
			w.opened(open...)
			trail := len(w.wall.trail)
			w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
			c, _ := w.Get(t.Context(), w.linker)
			w.opened("g2 10.0.3.7/32 ", "g5 10.0.3.7/32 "+c.Login)
			if told := w.wall.trail[trail:]; !slices.Equal(told, []string{"open 10.0.3.7/32", "close 10.0.3.7/32"}) {
				t.Errorf("a rotation told the guards %q", told)
			}
			// Taken out by hand, it does not come back.
			delete(w.wall.rules, "pb_"+c.UID+"_g2")
			w.deniedAndReached(w.ofNetwork(true), "still let in at hba")
			w.opened("g5 10.0.3.7/32 " + c.Login)
			if end == "delete" {
				w.want(w.delete(), patchbay.Done, "")
				w.opened()
				return
			}
			op := w.put(w.spec())
			w.want(op, patchbay.Done, "")
			if !strings.Contains(op.Message, "what is open at wall, hba is closed") {
				t.Errorf("it says %q", op.Message)
			}
			w.opened()
			w.deniedAndReached(w.ofNetwork(false), "nothing is opened")
		})
	}
}

// TestAPrivateLinkIsWhatRemains when public access is denied: its guards are opened, and
// those that know logins alone, and none that is another way.
func TestAPrivateLinkIsWhatRemains(t *testing.T) {
	w := newWorld(t)
	w.walled("fence", "wall", "hba")
	w.public(patchbay.PublicDisabled)
	spec := w.spec()
	spec.VNet = &patchbay.VNetSolution{Type: "PrivateLink"}
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	if op.Message != "" {
		t.Errorf("it warns: %q", op.Message)
	}
	c, err := w.Get(t.Context(), w.linker)
	if err != nil || len(c.Guards) != 2 || c.Guards[0].Name() != "wall" || c.Guards[1].Name() != "hba" {
		t.Fatalf("it has openings at %q, %v", c.Guards, err)
	}
	clear(w.wall.rules)
	if found := w.ofNetwork(false); len(found) != 2 || found[0].Code != patchbay.RuleMissing {
		t.Errorf("it finds %+v", found)
	}
	if found := w.ofNetwork(true); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Errorf("after the fix, %+v", found)
	}
	w.opened("g2 10.0.3.7/32 ", "g3 10.0.3.7/32 "+c.Login)
}

// TestAnOpeningBesideAPrivateLink: of a connection by a private link, what was open at
// another guard is left by a fix, and closed by an update.
func TestAnOpeningBesideAPrivateLink(t *testing.T) {
	w := newWorld(t)
	w.walled("fence", "wall")
	spec := w.spec()
	spec.VNet = &patchbay.VNetSolution{Type: "privateLink"}
	w.want(w.put(spec), patchbay.Done, "")
	w.opened("g2 10.0.3.7/32 ", "g3 10.0.3.7/32 ")
	w.public(patchbay.PublicDisabled)
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.8/32")}
	found := w.ofNetwork(true)
	w.deniedAndReached(found, "still let in at fence")
	w.opened("g2 10.0.3.7/32 ", "g4 10.0.3.8/32 ")
	w.want(w.put(spec), patchbay.Done, "")
	w.opened("g4 10.0.3.8/32 ")
}

// TestWhoAsksToBeLetInWherePublicAccessIsDenied is refused, with a fix that is true there.
func TestWhoAsksToBeLetInWherePublicAccessIsDenied(t *testing.T) {
	public := func(r patchbay.FirewallRules) func(*patchbay.Spec) {
		return func(s *patchbay.Spec) { s.PublicNetwork = &patchbay.PublicNetworkSolution{FirewallRules: &r} }
	}
	for name, ask := range map[string]func(*patchbay.Spec){
		"ipRanges":           public(patchbay.FirewallRules{IPRanges: []string{"10.0.9.0/24"}}),
		"azureServices":      public(patchbay.FirewallRules{AzureServices: "True"}),
		"callerClientIP":     public(patchbay.FirewallRules{CallerClientIP: "true"}),
		"a service endpoint": func(s *patchbay.Spec) { s.VNet = &patchbay.VNetSolution{Type: "ServiceEndpoint"} },
	} {
		for guards, fix := range map[string]string{"wall": "--private-endpoint, which wall is", "fence": "--deny-public-access=false", "": "private way to db"} {
			if guards == "" && name == "a service endpoint" {
				continue // nothing is one
			}
			w := newWorld(t)
			if w.walled(); guards != "" {
				w.walled(guards)
			}
			w.public(patchbay.PublicDisabled)
			spec := w.spec()
			ask(&spec)
			_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.PublicAccessDenied || !strings.Contains(e.Message, name) || !strings.Contains(e.Fix, fix) {
				t.Errorf("%s, behind %q: %v, fix %q", name, guards, err, e.Fix)
			}
			pv, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
			if err != nil || !slices.ContainsFunc(pv.Problems, func(e patchbay.Error) bool { return e.Code == patchbay.PublicAccessDenied }) {
				t.Errorf("%s: the preview has %+v, %v", name, pv, err)
			}
			if guards == "" || name == "azureServices" || name == "callerClientIP" {
				continue // refused with guards anyway, or nothing is opened
			}
			// What asked before is rotated all the same.
			w.public(patchbay.PublicEnabled)
			w.want(w.put(spec), patchbay.Done, "")
			w.public(patchbay.PublicDisabled)
			w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
			w.deniedAndReached(w.ofNetwork(true), "still let in")
		}
	}
}

// TestPublicAccessThatIsDeniedMeanwhile, between what was decided and what is done again
// after the server died, is not opened either.
func TestPublicAccessThatIsDeniedMeanwhile(t *testing.T) {
	for call, code := range map[int]patchbay.Code{
		1: "",                          // while it is decided
		2: patchbay.PublicAccessDenied, // before the guard opens
		3: patchbay.PublicAccessDenied, // after it did
	} {
		w := newWorld(t)
		w.walled("wall")
		w.gate.holdAt(call)
		b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
		if err != nil {
			t.Fatal(err)
		}
		<-w.gate.held
		w.public(patchbay.PublicDisabled)
		w.restart()
		if op := w.end(b, nil); code == "" {
			w.want(op, patchbay.Done, "")
		} else {
			w.want(op, patchbay.Undone, code)
		}
		w.opened()
		w.want(w.put(w.spec()), patchbay.Done, "")
		w.opened()
	}
}

// TestAWayThatIsNotThereAndNotOpened: who gets no way is told that nothing was opened, and
// what would help.
func TestAWayThatIsNotThereAndNotOpened(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.public(patchbay.PublicDisabled)
	w.broker.failProbe = driver.DialError(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "db.example:5432")
	op := w.put(w.spec())
	w.want(op, patchbay.Undone, patchbay.PortClosed)
	if !strings.Contains(op.Error.Message, "public access to db is denied, so nothing was opened") || !strings.Contains(op.Error.Fix, "--private-endpoint") {
		t.Errorf("%+v", op.Error)
	}
	w.opened()
}

// TestALocalConnectionToWhatIsDenied is made with the warning; az says callerClientIP of
// each of them.
func TestALocalConnectionToWhatIsDenied(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.public(patchbay.PublicDisabled)
	w.linker = w.group.Location("local").Local("orders")
	spec := w.spec()
	spec.PublicNetwork = &patchbay.PublicNetworkSolution{FirewallRules: &patchbay.FirewallRules{CallerClientIP: "true"}}
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	if !strings.Contains(op.Message, "public access to db is denied") {
		t.Errorf("it says %q", op.Message)
	}
	found := w.ofNetwork(false)
	if len(found) != 2 || found[0].Code != patchbay.PublicAccessDenied || found[0].Result != patchbay.Warning {
		t.Errorf("it finds %+v", found)
	}
	w.public(patchbay.PublicEnabled)
	if found := w.ofNetwork(true); len(found) != 1 || found[0].Result != patchbay.Success {
		t.Errorf("it finds %+v", found)
	}
	w.opened()
}

// TestWhoLeavesTheNetworkAlone is told nothing of public access.
func TestWhoLeavesTheNetworkAlone(t *testing.T) {
	w := newWorld(t)
	w.walled("wall")
	w.public(patchbay.PublicDisabled)
	spec := w.spec()
	spec.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	w.public(patchbay.PublicEnabled)
	if found := w.ofNetwork(true); op.Message != "" || len(found) != 1 || found[0].Result != patchbay.NotChecked {
		t.Errorf("%q, %+v", op.Message, found)
	}
	w.opened()
}

// TestPublicAccessOfARegistration is kept when nothing is said of it, and what it can't be
// is refused.
func TestPublicAccessOfARegistration(t *testing.T) {
	w := newWorld(t)
	id := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	has := func(want patchbay.PublicAccess) {
		t.Helper()
		if r, err := w.Resource(t.Context(), id); err != nil || r.PublicAccess != want {
			t.Errorf("public access is %q, %v, want %q", r.PublicAccess, err, want)
		}
	}
	has("")
	w.public("disabled")
	has(patchbay.PublicDisabled)
	w.public("")
	has(patchbay.PublicDisabled)
	w.public("ENABLED")
	has(patchbay.PublicEnabled)
	for name, r := range map[string]patchbay.Resource{
		"SecuredByPerimeter": {ID: id, PublicAccess: "SecuredByPerimeter"},
		"no target":          {ID: w.app.id, PublicAccess: patchbay.PublicDisabled},
	} {
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: w.caller})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	has(patchbay.PublicEnabled)
}
