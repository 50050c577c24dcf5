package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A preview or dryrun that opens connections is in the audit log before it does;
// without the line none is opened.
func TestWhatOpensConnectionsWithoutAnOperationIsToldBefore(t *testing.T) {
	w := newWorld(t)
	w.away.accept("", "given-pass", true)
	endpoint := selfHosted("redis://"+w.away.listener.Addr().String(), givenAuth("", "given-pass"))
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	dryrun := site.Child("providers/Microsoft.ServiceLinker/dryruns", "orders")
	requests := map[string]func(patchbay.Spec, Caller) error{
		"preview": func(spec patchbay.Spec, c Caller) error {
			_, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: c})
			return err
		},
		"dryrun": func(spec patchbay.Spec, c Caller) error {
			_, _, err := w.PutDryrun(t.Context(), DryrunRequest{ID: dryrun, Spec: spec, Caller: c})
			return err
		},
	}
	asked := func() string {
		defer w.broker.lock()()
		return fmt.Sprint(w.broker.inspected, len(w.away.opened))
	}
	full := patchbay.Errorf(patchbay.Internal, "the disk is full")
	for name, request := range requests {
		for _, tt := range []struct {
			spec           patchbay.Spec
			action, detail string
		}{
			{w.spec(), ActionConnect, "a preview asks " + w.spec().Target.ID.String()},
			{endpoint, ActionDial, "a preview asks " + endpoint.Target.Endpoint},
		} {
			var lines []patchbay.AuditEntry
			before, told := asked(), error(nil)
			c := Trusted("ann")
			c.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
				if asked() != before {
					t.Errorf("%s: the target is asked before it is told", name)
				}
				lines = append(lines, e)
				return told
			}
			if err := request(tt.spec, c); err != nil {
				t.Fatal(err)
			}
			want := []patchbay.AuditEntry{{Action: tt.action, Resource: w.linker, Detail: tt.detail}}
			if !slices.Equal(lines, want) || asked() == before {
				t.Errorf("%s: told %+v, want %+v", name, lines, want)
			}
			before, told = asked(), full
			if err := request(tt.spec, c); patchbay.CodeOf(err) != patchbay.Internal || asked() != before {
				t.Errorf("%s that can't be told = %v", name, err)
			}
		}
		// What asks nobody leaves no line.
		c := Trusted("ann")
		c.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
			t.Errorf("%s: told %+v", name, e)
			return nil
		}
		gone := w.spec()
		gone.Target.ID = w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "gone").Child("databases", "shop")
		_ = request(gone, c)
		if name == "dryrun" {
			c.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
				return patchbay.Errorf(patchbay.Forbidden, "%s at %s", action, scope)
			}
			_ = request(w.spec(), c)
		}
	}
}

func TestARegistrationWhoseCheckFailsIsToldToo(t *testing.T) {
	w := newWorld(t)
	var lines []patchbay.AuditEntry
	c := Trusted("ann")
	c.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
		lines = append(lines, e)
		return nil
	}
	r := ResourceRequest{Resource: patchbay.Resource{ID: w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "db2")}, Caller: c}
	w.broker.fail(patchbay.Errorf(patchbay.PortClosed, "nothing listens there"))
	if _, _, _, err := w.PutResource(t.Context(), r); patchbay.CodeOf(err) != patchbay.PortClosed {
		t.Fatal(err)
	}
	if want := []patchbay.AuditEntry{{Resource: r.Resource.ID, Result: patchbay.AuditFailed, Code: patchbay.PortClosed}}; !slices.Equal(lines, want) {
		t.Errorf("told %+v, want %+v", lines, want)
	}
	w.broker.fail(nil)
	if _, _, _, err := w.PutResource(t.Context(), r); err != nil || len(lines) != 1 { // the write has its own
		t.Errorf("%v; told %+v", err, lines)
	}
}

// What a target says of its administrator's work is for who registers it: who
// may only connect sees the code and our words, in whatever is answered.
func TestWhatATargetSaidIsForWhoRegistersIt(t *testing.T) {
	const canary = "CANARYinTheMine"
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.fail(patchbay.Errorf(patchbay.AdminRights, "it may not").WithSaid(canary + "\n"))
	silent := func(what string, v any, err error) {
		t.Helper()
		text, jsonErr := json.Marshal(v)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		if shown := fmt.Sprintf("%s %v", text, err); strings.Contains(shown, canary) || !strings.Contains(shown, "it may not") {
			t.Errorf("%s: %s", what, shown)
		}
	}
	changed := w.spec()
	changed.Access = patchbay.Reader
	silent("update", w.put(changed), nil)
	op := w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller}))
	silent("validate", op, nil)
	pv, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	silent("preview", pv, err)
	_, err = w.Generate(t.Context(), w.linker, nil, w.caller)
	silent("generate", nil, err)
	silent("delete", w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Errorf(patchbay.Internal, "it may not"))
	left, _, err := w.Leftovers(t.Context(), "", 10)
	silent("leftovers", left, err)

	_, _, _, err = w.PutResource(t.Context(), ResourceRequest{
		Resource: patchbay.Resource{ID: w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "db")}, Caller: w.caller,
		Admin: driver.Secrets{"password": patchbay.NewSecret("another")},
	})
	if e := patchbay.AsError(err); e == nil || e.Message != `it may not; it says: `+canary+`\n` {
		t.Errorf("who registers it hears %v", err)
	}
}
