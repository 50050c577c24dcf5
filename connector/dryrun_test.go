package connector

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func (w *world) dryrun(id patchbay.ID, spec patchbay.Spec, c Caller) patchbay.Dryrun {
	w.t.Helper()
	d, _, err := w.PutDryrun(w.t.Context(), DryrunRequest{ID: id, Spec: spec, Caller: c})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func stepsOf(d patchbay.Dryrun) (names []string) {
	for _, s := range d.Steps {
		names = append(names, s.Name)
	}
	return names
}

func TestADryrunIsThePlanAndChangesNothing(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	for _, c := range []struct {
		of   patchbay.ID
		made patchbay.ID
		want []string
	}{
		{site, site.Linker("orders"), []string{stepLogin, stepSettings, stepRestart}},
		{w.group.Location("local"), w.group.Location("local").Local("orders"), []string{stepLogin}},
	} {
		id := c.of.Child("providers/Microsoft.ServiceLinker/dryruns", "orders")
		if isLocation(c.of) {
			id = c.of.Child("dryruns", "orders")
		}
		d, created, err := w.PutDryrun(t.Context(), DryrunRequest{ID: id, Spec: w.spec(), Caller: w.caller})
		if err != nil || !created || len(d.Missing)+len(d.Problems) > 0 || d.State != patchbay.Succeeded || !slices.Equal(stepsOf(d), c.want) {
			t.Fatalf("dryrun = %+v, %v, %v", d, created, err)
		}
		if got := w.app.read(); !maps.Equal(got, untouched) || w.broker.ensured > 0 {
			t.Fatalf("the source has %v; %d logins were made", got, w.broker.ensured)
		}
		stored, err := w.Dryrun(t.Context(), patchbay.ID(strings.ToUpper(string(id))))
		if err != nil || stored.ETag != d.ETag || !slices.Equal(stepsOf(stored), c.want) {
			t.Errorf("GET = %+v, %v", stored, err)
		}
		if page, _, err := w.Dryruns(t.Context(), c.of, "", 10); err != nil || len(page) != 1 {
			t.Errorf("list = %v, %v", page, err)
		}
		// What it foretells is what happens.
		w.linker = c.made
		op := w.put(w.spec())
		w.want(op, patchbay.Done, "")
		for _, name := range c.want {
			if !slices.Contains(op.Plan, name) {
				t.Errorf("the plan %v lacks %s", op.Plan, name)
			}
		}
		// And of the one that is there now it foretells an update.
		again, created, err := w.PutDryrun(t.Context(), DryrunRequest{ID: id, Spec: w.spec(), Caller: w.caller, IfMatch: d.ETag})
		if err != nil || created || !again.Created.Equal(d.Created) || again.ETag == d.ETag || !slices.Contains(stepsOf(again), stepRevoke) {
			t.Errorf("again = %+v, %v, %v", again, created, err)
		}
		w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
		w.broker.ensured = 0
		if err := w.DeleteDryrun(t.Context(), id); err != nil {
			t.Error(err)
		}
		if _, err := w.Dryrun(t.Context(), id); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			t.Errorf("GET after the delete = %v", err)
		}
	}
}

func TestADryrunNamesWhatItsCallerLacks(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	id := site.Child("providers/Microsoft.ServiceLinker/dryruns", "orders")
	nobody := Trusted("nobody")
	nobody.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
		return patchbay.Errorf(patchbay.Forbidden, "%s at %s", action, scope)
	}
	before := w.broker.inspected
	d := w.dryrun(id, w.spec(), nobody)
	want := []patchbay.MissingRights{
		{Scope: site.Linker("orders"), Actions: []string{"Microsoft.ServiceLinker/linkers/write"}, Role: contributor},
		{Scope: w.spec().Target.ID.Parent(), Actions: []string{ActionConnect}, Role: contributor},
	}
	if got, _ := json.Marshal(d.Missing); string(got) != mustJSON(t, want) || len(d.Problems) > 0 || len(d.Steps) == 0 {
		t.Errorf("dryrun = %+v", d)
	}
	if w.broker.inspected != before {
		t.Error("the target was asked for one who may not connect it")
	}
	d = w.dryrun(id, selfHosted("redis://"+w.away.listener.Addr().String(), givenAuth("", "given-pass")), nobody)
	if len(d.Missing) != 2 || d.Missing[1].Actions[0] != ActionDial || !d.Missing[1].Scope.Equal(site) || len(w.away.opened) > 0 {
		t.Errorf("dryrun = %+v; opened %v", d, w.away.opened)
	}
	local := w.group.Location("local")
	d = w.dryrun(local.Child("dryruns", "dev"), w.spec(), nobody)
	if len(d.Missing) != 2 || d.Missing[0].Actions[0] != "Microsoft.ServiceLinker/locations/connectors/write" || !d.Missing[0].Scope.Equal(local.Local("dev")) {
		t.Errorf("dryrun = %+v", d)
	}
	// A target that one may not even read is not there.
	d = w.dryrun(id, w.spec(), refusing(ActionConnect, patchbay.Errorf(patchbay.ResourceNotFound, "nothing")))
	if len(d.Missing) > 0 || len(d.Problems) != 1 || d.Problems[0].Code != patchbay.TargetNotFound {
		t.Errorf("dryrun = %+v", d)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestADryrunTellsWhatIsInTheWay(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	id := site.Child("providers/Microsoft.ServiceLinker/dryruns", "orders")
	for name, c := range map[string]struct {
		edit func(*patchbay.Spec)
		code patchbay.Code
	}{
		"no database":  {func(s *patchbay.Spec) { s.Target.ID = s.Target.ID.Parent().Child("databases", "missing") }, patchbay.ChildMissing},
		"no target":    {func(s *patchbay.Spec) { s.Target.ID = s.Target.ID.Parent() + "x/databases/shop" }, patchbay.TargetNotFound},
		"half a login": {func(s *patchbay.Spec) { s.Auth.Name = "dba" }, patchbay.InvalidArgument},
		"client type":  {func(s *patchbay.Spec) { s.Client = "cobol" }, patchbay.InvalidArgument},
	} {
		spec := w.spec()
		c.edit(&spec)
		d := w.dryrun(id, spec, w.caller)
		if !slices.ContainsFunc(d.Problems, func(p patchbay.Error) bool { return p.Code == c.code }) {
			t.Errorf("%s: %+v", name, d.Problems)
		}
	}
	for _, bad := range []struct {
		id   patchbay.ID
		spec patchbay.Spec
		code patchbay.Code
	}{
		{site.Linker("orders"), w.spec(), patchbay.InvalidResourceID},
		{(site + "x").Child("providers/Microsoft.ServiceLinker/dryruns", "orders"), w.spec(), patchbay.SourceNotFound},
		{(w.group + "x").Location("local").Child("dryruns", "orders"), w.spec(), patchbay.ResourceNotFound},
		{site.Child("providers/Microsoft.ServiceLinker/dryruns", "a b"), w.spec(), patchbay.InvalidArgument},
		{id, selfHosted("redis://:hunter2secret@host", givenAuth("", "x")), patchbay.InvalidArgument},
	} {
		if _, _, err := w.PutDryrun(t.Context(), DryrunRequest{ID: bad.id, Spec: bad.spec, Caller: w.caller}); patchbay.CodeOf(err) != bad.code {
			t.Errorf("%s = %v", bad.id, err)
		}
	}
}

func TestADryrunKeepsNoSecret(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	id := w.group.Child("providers/Microsoft.Web/sites", "web").Child("providers/Microsoft.ServiceLinker/dryruns", "orders")
	spec := w.given("dba", "hunter2secret")
	d := w.dryrun(id, spec, w.caller)
	stored, err := w.Dryrun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []patchbay.Dryrun{d, stored} {
		if !d.Spec.Auth.SecretInfo.Value.IsZero() || strings.Contains(mustJSON(t, d), "hunter2secret") {
			t.Errorf("%+v", d)
		}
	}
	if spec.Auth.SecretInfo.Value.Reveal() != "hunter2secret" {
		t.Error("the caller's own spec was changed")
	}
}

func TestDryrunsHaveAQuota(t *testing.T) {
	w := newLimitedWorld(t, Limits{DryrunsPerSource: 2})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	put := func(name string) error {
		_, _, err := w.PutDryrun(t.Context(), DryrunRequest{ID: site.Child("providers/Microsoft.ServiceLinker/dryruns", name), Spec: w.spec(), Caller: w.caller})
		return err
	}
	for name, code := range map[string]patchbay.Code{"a": "", "b": "", "a again": ""} {
		name, _, _ = strings.Cut(name, " ")
		if err := put(name); patchbay.CodeOf(err) != code {
			t.Errorf("%s = %v", name, err)
		}
	}
	if err := put("c"); patchbay.CodeOf(err) != patchbay.QuotaExceeded {
		t.Errorf("a third = %v", err)
	}
}
