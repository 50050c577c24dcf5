package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// lock is what lets the administrator of a keyed target in: a product's word for the
// password that it takes.
type lock struct {
	gate *gate

	mu      sync.Mutex
	opens   string
	made    int
	used    []string
	refused int // sign-ins
	// failing is what RotateAdmin fails with, after its effect if it has one.
	failing error
	effect  bool
	// noReturn says that no password is taken twice.
	noReturn bool
	// after is called right behind the effect, once.
	after func()
}

func (l *lock) turn(password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opens = password
}

func (l *lock) now() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opens
}

func (l *lock) refusals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// keyed is a broker that lets an administrator in by its password.
type keyed struct {
	*broker
	lock     *lock
	password string
}

func (w *world) keyed() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: patchbay.Driver{
			Name: "rekeyed", Types: []string{"Patchbay.Services/keyedServers"},
			Admin: []patchbay.Field{{Name: "username", Type: patchbay.TextField}, {Name: "password", Type: patchbay.TextField, Secret: true}},
			Logins: &patchbay.Logins{
				Auths: []patchbay.AuthType{patchbay.AuthSecret}, Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer}, Sessions: true, RotatesAdmin: true,
			},
		},
		Kind: "postgresql", Children: []string{"databases"},
		Open: func(_ context.Context, c driver.Config) (driver.Target, error) {
			return keyed{w.broker, w.lock, c.Admin["password"].Reveal()}, nil
		},
		Probe: w.broker.probe,
	}
}

func (k keyed) enter() error {
	k.lock.mu.Lock()
	defer k.lock.mu.Unlock()
	if k.password != k.lock.opens {
		k.lock.refused++
		return patchbay.Errorf(patchbay.AdminRefused, "the administrator with %s is refused", k.password)
	}
	return nil
}

func (k keyed) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	info, err := k.broker.Inspect(ctx, sub)
	if err == nil {
		err = k.enter()
	}
	return info, err
}

func (k keyed) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := k.enter(); err != nil {
		return err
	}
	return k.broker.EnsureLogin(ctx, r)
}

func (k keyed) NewAdmin(ctx context.Context) (driver.Secrets, error) {
	if err := k.lock.gate.pass(ctx); err != nil {
		return nil, err
	}
	k.lock.mu.Lock()
	defer k.lock.mu.Unlock()
	k.lock.made++
	return driver.Secrets{"username": patchbay.NewSecret("root"), "password": patchbay.NewSecret(fmt.Sprintf("hidden-%d", k.lock.made))}, nil
}

func (k keyed) RotateAdmin(ctx context.Context, next driver.Secrets) error {
	if err := k.lock.gate.pass(ctx); err != nil {
		return err
	}
	if err := k.enter(); err != nil {
		return err
	}
	if err := k.turn(next["password"].Reveal()); err != nil {
		return err
	}
	return k.lock.gate.pass(ctx)
}

func (k keyed) turn(next string) error {
	l := k.lock
	l.mu.Lock()
	after := l.after
	l.after = nil
	defer func() {
		l.mu.Unlock()
		if after != nil {
			after()
		}
	}()
	if l.noReturn && (next == l.opens || slices.Contains(l.used, next)) {
		return patchbay.Errorf(patchbay.InvalidArgument, "no password is taken twice")
	}
	failing := l.failing
	l.failing = nil
	if failing == nil || l.effect {
		l.used = append(l.used, l.opens)
		l.opens = next
	}
	return failing
}

// keyedTarget registers a target with the credential that it takes.
func (w *world) keyedTarget(name string) patchbay.ID {
	w.t.Helper()
	return w.register(patchbay.Resource{ID: w.group + patchbay.ID("/providers/Patchbay.Services/keyedServers/"+name), Endpoint: "h:1"},
		driver.Secrets{"username": patchbay.NewSecret("root"), "password": patchbay.NewSecret(w.lock.now())})
}

func (w *world) rotateAdmin(id patchbay.ID) patchbay.Operation {
	w.t.Helper()
	op, err := w.RotateAdmin(w.t.Context(), RotateAdminRequest{ID: id, Caller: w.caller})
	return w.end(Begun{Operation: op}, err)
}

// stored is the password on record.
func (w *world) stored(id patchbay.ID) string {
	w.t.Helper()
	r, err := w.Resource(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	admin, err := w.openAdmin(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return admin["password"].Reveal()
}

// onRecord fails unless the record has what the product takes, and nothing is left over.
func (w *world) onRecord(id patchbay.ID) {
	w.t.Helper()
	if stored, opens := w.stored(id), w.lock.now(); stored != opens {
		w.t.Errorf("on record is %q, and %q signs in", stored, opens)
	}
	if left, _, err := w.Leftovers(w.t.Context(), "", 10); err != nil || len(left) > 0 {
		w.t.Errorf("left over: %+v, %v", left, err)
	}
}

func TestAnAdministratorsCredentialIsReplaced(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	before, err := w.Resource(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	op := w.rotateAdmin(id)
	w.want(op, patchbay.Done, "")
	w.onRecord(id)
	if w.lock.now() != "hidden-1" {
		t.Errorf("it takes %q", w.lock.now())
	}
	after, err := w.Resource(t.Context(), id)
	if err != nil || after.ETag == before.ETag || after.Endpoint != before.Endpoint || after.Created != before.Created {
		t.Errorf("the record is %+v, was %+v, %v", after, before, err)
	}
	shown, err := json.Marshal(op)
	if err != nil || strings.Contains(string(shown), "hidden") || strings.Contains(string(shown), "first") {
		t.Errorf("the operation shows it: %s, %v", shown, err)
	}
	spec := w.spec()
	spec.Target.ID = id.Child("databases", "shop")
	w.want(w.put(spec), patchbay.Done, "")
	w.want(w.rotateAdmin(id), patchbay.Done, "")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	w.onRecord(id)
}

// The server dies at each call of the product, forward and back: in the end the record
// has the credential that signs in.
func TestADeathWhileAnAdministratorsCredentialIsReplaced(t *testing.T) {
	lost := patchbay.Errorf(patchbay.Timeout, "no answer in time").AsTransient()
	broken := patchbay.Errorf(patchbay.Internal, "something else")
	for name, c := range map[string]struct {
		set  func(*lock)
		want []patchbay.OperationState
	}{
		"that works":                     {func(*lock) {}, []patchbay.OperationState{patchbay.Done}},
		"whose answer is lost":           {func(l *lock) { l.failing, l.effect = lost, true }, []patchbay.OperationState{patchbay.Done}},
		"that fails after its effect":    {func(l *lock) { l.failing, l.effect = broken, true }, []patchbay.OperationState{patchbay.Undone, patchbay.Done}},
		"that fails before its effect":   {func(l *lock) { l.failing = broken }, []patchbay.OperationState{patchbay.Undone, patchbay.Done}},
		"that fails and can't go back":   {func(l *lock) { l.failing, l.effect, l.noReturn = broken, true, true }, []patchbay.OperationState{patchbay.Undone, patchbay.Done}},
		"that is refused, and no return": {func(l *lock) { l.failing, l.noReturn = broken, true }, []patchbay.OperationState{patchbay.Undone, patchbay.Done}},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				w := newWorld(t)
				id := w.keyedTarget("locked")
				c.set(w.lock)
				w.gate.holdAt(n)
				op, err := w.RotateAdmin(t.Context(), RotateAdminRequest{ID: id, Caller: w.caller})
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan patchbay.Operation, 1)
				go func(s *Service, op patchbay.Operation) {
					for err := error(nil); err == nil && !op.State.Ended(); {
						op, err = s.Wait(t.Context(), op.ID, op.Version)
					}
					if op.State.Ended() {
						ended <- op
					}
				}(w.Service, op)
				died := false
				select {
				case <-w.gate.held:
					died = true
					w.restart()
				case op = <-ended:
				}
				w.gate.holdAt(0)
				op = w.end(Begun{Operation: op}, nil)
				if !slices.Contains(c.want, op.State) {
					t.Errorf("after a death at call %d it is %s: %v", n, op.State, op.Error)
				}
				w.onRecord(id)
				if !died {
					t.Logf("it was ended at %d calls", n-1)
					return
				}
			}
		})
	}
}

func TestAFailedReplacementLeavesTheOldOne(t *testing.T) {
	for what, effect := range map[string]bool{"before its effect": false, "after its effect": true} {
		w := newWorld(t)
		id := w.keyedTarget("locked")
		w.lock.failing, w.lock.effect = patchbay.Errorf(patchbay.AdminRights, "it may not"), effect
		w.want(w.rotateAdmin(id), patchbay.Undone, patchbay.AdminRights)
		if w.lock.now() != "first" {
			t.Errorf("%s: it takes %q", what, w.lock.now())
		}
		w.onRecord(id)
	}
}

func TestAReplacementThatCantBeTakenBackSaysSo(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	w.lock.failing, w.lock.effect, w.lock.noReturn = patchbay.Errorf(patchbay.Internal, "something"), true, true
	op := w.rotateAdmin(id)
	w.want(op, patchbay.Undone, patchbay.Internal)
	if w.lock.now() != "hidden-1" || !strings.Contains(op.Message, "in place all the same") {
		t.Errorf("it takes %q, and the message is %q", w.lock.now(), op.Message)
	}
	w.onRecord(id)
}

// When neither signs in both are kept, until one does or somebody registers another.
func TestWhenNeitherCredentialSignsIn(t *testing.T) {
	for _, mended := range []string{"the old one", "the new one", "another", "forgotten"} {
		t.Run(mended, func(t *testing.T) {
			w := newWorld(t)
			id := w.keyedTarget("locked")
			w.lock.after = func() { w.lock.turn("by hand") }
			op := w.rotateAdmin(id)
			w.want(op, patchbay.Undone, patchbay.AdminRefused)
			left, _, err := w.Leftovers(t.Context(), "", 10)
			if err != nil || len(left) != 1 || left[0].What != whatAdmin || !left[0].Resource.Equal(id) || strings.Contains(fmt.Sprintf("%+v", left[0]), "hidden") {
				t.Fatalf("left over: %+v, %v", left, err)
			}
			w.restart()
			if swept, err := w.sweepLeftovers(t.Context(), true); err != nil || len(swept.Left) != 1 {
				t.Fatalf("swept %+v, %v", swept, err)
			}
			switch mended {
			case "the old one":
				w.lock.turn("first")
			case "the new one":
				w.lock.turn("hidden-1")
			case "another":
				w.keyedTarget("locked")
			case "forgotten":
				if err := w.DeleteResource(t.Context(), id, ""); err != nil {
					t.Fatal(err)
				}
			}
			if swept, err := w.sweepLeftovers(t.Context(), true); err != nil || len(swept.Left) > 0 {
				t.Fatalf("swept %+v, %v", swept, err)
			}
			if mended != "forgotten" {
				w.onRecord(id)
			}
		})
	}
}

// What somebody registers meanwhile is theirs; what would take the stored credential
// elsewhere waits.
func TestARegistrationWhileTheCredentialIsReplaced(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	var kept, gone error
	w.lock.after = func() {
		r, err := w.Resource(t.Context(), id)
		if err != nil {
			t.Error(err)
		}
		_, _, _, kept = w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: w.caller, NoCheck: true})
		gone = w.DeleteResource(t.Context(), id, "")
		w.lock.turn("by hand")
		w.keyedTarget("locked")
	}
	w.want(w.rotateAdmin(id), patchbay.Undone, patchbay.AdminRefused)
	if patchbay.CodeOf(kept) != patchbay.OperationInProgress || patchbay.CodeOf(gone) != patchbay.OperationInProgress {
		t.Errorf("what keeps the credential: %v; what forgets it: %v", kept, gone)
	}
	if w.stored(id) != "by hand" {
		t.Errorf("on record is %q", w.stored(id))
	}
	w.onRecord(id)
}

func TestWhoeverAsksTwiceHasOneReplacement(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	w.gate.holdAt(1)
	one, err := w.RotateAdmin(t.Context(), RotateAdminRequest{ID: id, Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	two, err := w.RotateAdmin(t.Context(), RotateAdminRequest{ID: id, Caller: w.caller})
	if err != nil || two.ID != one.ID {
		t.Errorf("another: %s, %v", two.ID, err)
	}
	w.restart()
	w.want(w.end(Begun{Operation: one}, nil), patchbay.Done, "")
	w.onRecord(id)
}

// A connection's operation that meets the old credential in between goes on with the new.
func TestAnOperationMeetsTheReplacement(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	spec := w.spec()
	spec.Target.ID = id.Child("databases", "shop")
	var begun Begun
	var err error
	w.lock.after = func() {
		begun, err = w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		for err == nil && w.lock.refusals() == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
	}
	w.want(w.rotateAdmin(id), patchbay.Done, "")
	w.want(w.end(begun, err), patchbay.Done, "")
	w.onRecord(id)
}

func TestWhoHasTheSameAdministratorIsNamed(t *testing.T) {
	w := newWorld(t)
	id := w.keyedTarget("locked")
	w.keyedTarget("twin")
	if op := w.rotateAdmin(id); !strings.Contains(op.Message, "registered for twin") {
		t.Errorf("the message is %q", op.Message)
	}
	w.keyedTarget("twin")
	w.caller = refusing(actionReadResource, patchbay.Errorf(patchbay.ResourceNotFound, "there is no such resource"))
	if op := w.rotateAdmin(id); strings.Contains(op.Message, "twin") {
		t.Errorf("who may not know of it reads %q", op.Message)
	}
}

func TestWhereNoAdministratorsCredentialIsReplaced(t *testing.T) {
	w := newWorld(t)
	locked := w.keyedTarget("locked")
	w.lock.turn("") // it lets everybody in
	unset := w.register(patchbay.Resource{ID: w.group + "/providers/Patchbay.Services/keyedServers/unset"}, nil)
	w.lock.turn("first")
	w.registerRedis("secret")
	for what, c := range map[string]struct {
		id   patchbay.ID
		tag  string
		code patchbay.Code
	}{
		"a driver that can't":       {w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", "", patchbay.NotSupported},
		"a source":                  {w.app.id, "", patchbay.NotSupported},
		"one that nobody registers": {w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/none", "", patchbay.ResourceNotFound},
		"one of nobody's":           {w.redis(), "", patchbay.NotSupported},
		"no credential":             {unset, "", patchbay.InvalidArgument},
		"one that has changed":      {locked, `"other"`, patchbay.PreconditionFailed},
	} {
		if _, err := w.RotateAdmin(t.Context(), RotateAdminRequest{ID: c.id, Caller: w.caller, IfMatch: c.tag}); patchbay.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
	}
	spec := w.spec()
	spec.Target.ID = locked.Child("databases", "shop")
	spec.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, Name: "root", SecretInfo: &patchbay.SecretInfo{Value: patchbay.NewSecret("first")}}
	w.broker.passwords["root"] = "first"
	w.want(w.put(spec), patchbay.Done, "")
	_, err := w.RotateAdmin(t.Context(), RotateAdminRequest{ID: locked, Caller: w.caller})
	if patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "orders") {
		t.Errorf("an application signs in as the administrator: %v", err)
	}
}

func TestWhoLostItsRightReplacesNothing(t *testing.T) {
	for question := 1; question <= 2; question++ { // the plan's, and the effect's
		w := newWorld(t)
		id := w.keyedTarget("locked")
		r := &roles{}
		w.rights = r
		w.restart()
		r.take(actionResource, question)
		w.caller = asAnn()
		w.want(w.rotateAdmin(id), patchbay.Undone, patchbay.Forbidden)
		if w.lock.now() != "first" || w.lock.made != question-1 {
			t.Errorf("it takes %q, %d were made", w.lock.now(), w.lock.made)
		}
		w.onRecord(id)
	}
}
