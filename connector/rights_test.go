package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// ann asks in the connection's tenant and, with another token, in the target's.
var ann = []patchbay.Subject{
	{ID: "ann", Tenant: "ours", Name: "ann", Groups: []string{"team"}}, {ID: "ann there", Tenant: "theirs", Name: "ann"},
}

// asAnn is ann, who may do everything when she asks.
func asAnn() Caller {
	c := Trusted("ann")
	c.Subjects = ann
	return c
}

// roles are what is asked while an operation runs: from one question on they
// are taken away.
type roles struct {
	mu    sync.Mutex
	asked []string
	taken string // the action that is; "" is none
	from  int    // the question of it, from 1 on, that is the first to be refused
}

func (r *roles) take(action string, from int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.taken, r.from = nil, action, from
}

func (r *roles) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func (r *roles) Still(_ context.Context, who []patchbay.Subject, action string, scope patchbay.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(who) == 1 && who[0].Operator {
		return nil
	}
	if len(who) != 2 || who[0].ID != "ann" || !slices.Equal(who[0].Groups, ann[0].Groups) || who[1].Tenant != "theirs" {
		return patchbay.Errorf(patchbay.Internal, "somebody else is asked about: %+v", who)
	}
	r.asked = append(r.asked, action+" "+string(scope))
	if action == r.taken {
		if r.from--; r.from <= 0 {
			return patchbay.Errorf(patchbay.Forbidden, "ann may not do %s at %s", action, scope)
		}
	}
	return nil
}

// changes are the operations that have an effect, each from where it begins.
func changes(w *world) map[string]func(Caller) (Begun, error) {
	ctx := w.t.Context()
	spec := w.spec()
	spec.Access = patchbay.Reader
	return map[string]func(Caller) (Begun, error){
		"create": func(c Caller) (Begun, error) {
			return w.Put(ctx, PutRequest{ID: w.linker, Spec: w.spec(), Caller: c})
		},
		"update": func(c Caller) (Begun, error) { return w.Put(ctx, PutRequest{ID: w.linker, Spec: spec, Caller: c}) },
		"rotate": func(c Caller) (Begun, error) { return w.Rotate(ctx, RotateRequest{ID: w.linker, Caller: c}) },
		"fix": func(c Caller) (Begun, error) {
			return w.Validate(ctx, ValidateRequest{ID: w.linker, Caller: c, Fix: true})
		},
		"delete": func(c Caller) (Begun, error) { return w.Delete(ctx, w.linker, c, "") },
	}
}

// effects are what is at both ends and on record.
func (w *world) effects() string {
	c, err := w.Get(w.t.Context(), w.linker)
	return fmt.Sprint(w.broker.names(), w.app.read(), c.Login, c.Generation, c.State, patchbay.CodeOf(err))
}

// Whoever an operation acts for may lose the right to it at any moment. Before
// the point of no return nothing comes of it then.
func TestWhoeverLosesTheRightIsStoppedBeforeTheNextEffect(t *testing.T) {
	for _, place := range []string{"linker", "connector"} {
		for kind := range changes(newWorld(t)) {
			for _, end := range []string{"connection", "target"} {
				if kind == "delete" && end == "target" {
					continue // it only takes away what is ours
				}
				t.Run(place+" "+kind+" "+end, func(t *testing.T) {
					stops := 0
					for from := 1; ; from++ {
						w := newWorld(t)
						r := &roles{}
						w.rights = r
						w.restart()
						if place == "connector" {
							w.local("dev")
						}
						if kind != "create" {
							w.want(w.put(w.spec()), patchbay.Done, "")
						}
						before := w.effects()
						action := actionOf(patchbay.OperationKind(kind), w.linker)
						if end == "target" {
							action = ActionConnect
						}
						r.take(action, from)
						op := w.end(changes(w)[kind](asAnn()))
						if op.State == patchbay.Done {
							break
						}
						stops++
						w.want(op, patchbay.Undone, patchbay.Forbidden)
						if now := w.effects(); now != before {
							t.Errorf("stopped by question %d, it left\n%s\nof\n%s", from, now, before)
						}
						for _, part := range []string{"ann", action} {
							if !strings.Contains(op.Error.Message, part) {
								t.Errorf("%q does not say %s", op.Error.Message, part)
							}
						}
						became := "what was changed is put back"
						if from == 1 {
							became = "nothing was changed"
						}
						if !strings.Contains(op.Error.Message, became) {
							t.Errorf("%q, stopped by question %d, does not say that %s", op.Error.Message, from, became)
						}
					}
					want := 5 // plan, login, probe, settings, restart
					switch {
					case kind == "delete":
						want = 1
					case place == "connector":
						want = 3
					}
					if stops != want {
						t.Errorf("it was stopped at %d moments, should be at %d", stops, want)
					}
				})
			}
		}
	}
}

func TestAFixTakesTheRightsOfAnUpdate(t *testing.T) {
	forbidden := patchbay.Errorf(patchbay.Forbidden, "ann may not do that")
	hidden := patchbay.Errorf(patchbay.ResourceNotFound, "there is no such thing")
	for _, c := range []struct {
		name, action string
		err          error
		local, dials bool
		code         patchbay.Code
	}{
		{name: "write", action: "Microsoft.ServiceLinker/linkers/write", err: forbidden, code: patchbay.Forbidden},
		{name: "connect", action: ActionConnect, err: forbidden, code: patchbay.Forbidden},
		{name: "a target that may not be known of", action: ActionConnect, err: hidden, code: patchbay.TargetNotFound},
		{name: "write a connector", action: "Microsoft.ServiceLinker/locations/connectors/write", err: forbidden, local: true, code: patchbay.Forbidden},
		{name: "connect a connector", action: ActionConnect, err: forbidden, local: true, code: patchbay.Forbidden},
		{name: "dial", action: ActionDial, err: forbidden, dials: true, code: patchbay.Forbidden},
		{name: "another right", action: "Microsoft.ServiceLinker/linkers/delete", err: forbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.local {
				w.local("dev")
			}
			spec := w.spec()
			if c.dials {
				endpoint := "redis://" + w.away.listener.Addr().String()
				w.away.accept("", "given-pass", true)
				spec = selfHosted(endpoint, givenAuth("", "given-pass"))
			}
			w.want(w.put(spec), patchbay.Done, "")
			who := refusing(c.action, c.err)
			b, err := w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: who, Fix: true})
			if patchbay.CodeOf(err) != c.code {
				t.Errorf("fix = %v", err)
			}
			if err == nil {
				w.want(w.end(b, nil), patchbay.Done, "")
			}
			if b, err := w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: who}); err != nil {
				t.Errorf("a look = %v", err)
			} else {
				w.want(w.end(b, nil), patchbay.Done, "")
			}
		})
	}
}

// The attack that was found: the target's tenant has taken the role away and
// dropped the login, and a fix made it again.
func TestAFixMakesNoLoginWhereTheRoleWasTakenAway(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	for _, name := range w.broker.names() {
		delete(w.broker.logins, name)
	}
	ensured := w.broker.ensured
	who := refusing(ActionConnect, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
	if _, err := w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: who, Fix: true}); patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("fix = %v", err)
	}
	// Nor does a delete need the role: it takes away what is ours.
	w.want(w.end(w.Delete(t.Context(), w.linker, who, "")), patchbay.Done, "")
	if w.broker.ensured != ensured || len(w.broker.names()) > 0 {
		t.Errorf("the target has %v", w.broker.names())
	}
}

// An operation waits behind another; meanwhile the role is taken away and the
// server is started anew.
func TestWhatWaitedAndWasResumedActsForNobodyWhoLostTheRight(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		w := newWorld(t)
		r := &roles{}
		w.rights = r
		w.restart()
		w.gate.holdAt(1)
		first, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
		if err != nil {
			t.Fatal(err)
		}
		<-w.gate.held
		source, _, _ := w.linker.LinkerSource()
		second, err := w.Put(t.Context(), PutRequest{ID: source.Linker("second"), Spec: w.spec(), Caller: asAnn()})
		if err != nil || second.Operation.State != patchbay.Queued {
			t.Fatalf("%+v, %v", second.Operation, err)
		}
		r.take(ActionConnect, 1)
		if resumed {
			w.restart() // the first one, which the operator asked for, goes on
			w.want(w.end(first, nil), patchbay.Done, "")
		} else {
			if _, err := w.Cancel(t.Context(), first.Operation.ID, w.caller); err != nil {
				t.Fatal(err)
			}
			w.want(w.end(first, nil), patchbay.Undone, patchbay.Canceled)
		}
		names := w.broker.names()
		op := w.end(second, nil)
		w.want(op, patchbay.Undone, patchbay.Forbidden)
		if now := w.broker.names(); !slices.Equal(now, names) {
			t.Errorf("the target has %v, had %v", now, names)
		}
		if _, err := w.Get(t.Context(), source.Linker("second")); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			t.Errorf("the connection: %v", err)
		}
	}
}

// Behind the point of no return there is only forward: what is left to do takes
// away what is ours.
func TestBehindThePointOfNoReturnNobodyIsAsked(t *testing.T) {
	w := newWorld(t)
	r := &roles{}
	w.rights = r
	w.restart()
	w.want(w.put(w.spec()), patchbay.Done, "")
	r.take("", 0)
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: asAnn()})), patchbay.Done, "")
	if heard := r.heard(); len(heard) != 10 {
		t.Errorf("a rotation asked %q", heard)
	}
	if now := mustGet(t, w); !slices.Equal(w.broker.names(), []string{now.Login}) {
		t.Errorf("the target has %v", w.broker.names())
	}
}

// nobodys is the engine of a release before, which kept nobody.
type nobodys struct{ Engine }

func (f nobodys) Submit(ctx context.Context, s saga.Submission) (patchbay.Operation, error) {
	var in map[string]any
	if err := json.Unmarshal(s.Input, &in); err != nil {
		return patchbay.Operation{}, err
	}
	delete(in, "for")
	s.Input, _ = json.Marshal(in)
	return f.Engine.Submit(ctx, s)
}

func TestAnOperationOfAReleaseBeforeGoesOn(t *testing.T) {
	w := newWorld(t)
	r := &roles{}
	w.rights = r
	w.restart()
	w.Bind(nobodys{w.engine})
	r.take(ActionConnect, 1)
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: asAnn()})), patchbay.Done, "")
	if heard := r.heard(); len(heard) > 0 {
		t.Errorf("asked %q", heard)
	}
}

// Who says not who it is acts for nobody.
func TestACallerInNoTenantHasNoEffect(t *testing.T) {
	w := newWorld(t)
	w.rights = &roles{}
	w.restart()
	nobody := Trusted("nobody")
	nobody.Subjects = nil
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: nobody})), patchbay.Undone, patchbay.Internal)
	if got := w.app.read(); !maps.Equal(got, untouched) || len(w.broker.names()) > 0 {
		t.Errorf("the source has %v, the target %v", got, w.broker.names())
	}
}

// Whether somebody may is not known while the records can't be read: that is
// tried again, and is no refusal.
func TestWhatCanNotBeAskedIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.rights = unsure{&roles{}, new(sync.Once)}
	w.restart()
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: asAnn()})), patchbay.Done, "")
	if got := w.app.read(); maps.Equal(got, untouched) {
		t.Error("nothing was written")
	}
}

type unsure struct {
	*roles
	once *sync.Once
}

func (u unsure) Still(ctx context.Context, who []patchbay.Subject, action string, scope patchbay.ID) error {
	var err error
	u.once.Do(func() { err = patchbay.Errorf(patchbay.Internal, "the records can't be read") })
	if err != nil {
		return err
	}
	return u.roles.Still(ctx, who, action, scope)
}
