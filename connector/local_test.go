package connector

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// local makes the world's connection a local one of that name.
func (w *world) local(name string) patchbay.ID {
	w.linker = w.group.Location("local").Local(name)
	return w.linker
}

func settingNamed(list []patchbay.Setting, name string) string {
	for _, s := range list {
		if s.Name == name {
			return s.Value.Reveal()
		}
	}
	return ""
}

func TestALocalConnectionHasALoginAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.local("dev")
	spec := w.spec()
	spec.PublicNetwork = &patchbay.PublicNetworkSolution{OnChange: "ForcedCleanup", FirewallRules: &patchbay.FirewallRules{CallerClientIP: "true"}}
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	if !op.Source.Equal(id) || slices.Contains(op.Plan, stepSettings) || slices.Contains(op.Plan, stepRestart) {
		t.Errorf("the operation works on %s, with %v", op.Source, op.Plan)
	}
	c := mustGet(t, w)
	if !c.Source.Equal(w.group.Location("local")) || c.Location != "local" || c.Name != "dev" || len(c.Keys) > 0 || c.Generation != 1 {
		t.Errorf("GET = %+v", c)
	}
	if n := c.Spec.PublicNetwork; n == nil || n.OnChange != "ForcedCleanup" || n.FirewallRules.CallerClientIP != "true" {
		t.Errorf("publicNetworkSolution = %+v", n)
	}
	if page, _, err := w.List(t.Context(), w.group.Location("LOCAL"), "", 10); err != nil || len(page) != 1 {
		t.Errorf("the list of the location = %v, %v", page, err)
	}
	for _, answer := range []func() ([]patchbay.Setting, error){
		func() ([]patchbay.Setting, error) { return w.Generate(t.Context(), id, nil, w.caller) },
		func() ([]patchbay.Setting, error) { return w.Configurations(t.Context(), id, w.caller) },
	} {
		list, err := answer()
		if err != nil || !strings.Contains(settingNamed(list, key), "secret of "+c.Login) {
			t.Errorf("its settings = %v, %v", list, err)
		}
	}
	named, err := w.Generate(t.Context(), id, &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{key: "DB"}}, w.caller)
	if err != nil || settingNamed(named, "DB") == "" {
		t.Errorf("with another name = %v, %v", named, err)
	}

	reader := w.spec()
	reader.Access = patchbay.Reader
	w.want(w.put(reader), patchbay.Done, "")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: id, Caller: w.caller})), patchbay.Done, "")
	now := mustGet(t, w)
	if now.Generation != 3 || !slices.Equal(w.broker.names(), []string{now.Login}) {
		t.Errorf("g%d %s; the target has %v", now.Generation, now.Login, w.broker.names())
	}
	if got := w.app.read(); !maps.Equal(got, untouched) || w.app.restarts > 0 {
		t.Errorf("the source of another has %v, and %d restarts", got, w.app.restarts)
	}
	w.want(w.end(w.Delete(t.Context(), id, w.caller, "")), patchbay.Done, "")
	if left, _, _ := w.Leftovers(t.Context(), "", 10); len(left) > 0 || len(w.broker.names()) > 0 {
		t.Errorf("left: %v, %v", left, w.broker.names())
	}
}

func TestALocalConnectionIsValidatedWithoutAConfiguration(t *testing.T) {
	w := newWorld(t)
	w.local("dev")
	w.want(w.put(w.spec()), patchbay.Done, "")
	r := w.validated(false)
	groups := map[patchbay.CheckGroup]patchbay.CheckResult{}
	for _, c := range r.Checks {
		groups[c.Group] = c.Result
	}
	want := map[patchbay.CheckGroup]patchbay.CheckResult{
		patchbay.CheckExistence: patchbay.Success, patchbay.CheckNetwork: patchbay.Success, patchbay.CheckAuthentication: patchbay.Success,
	}
	if !maps.Equal(groups, want) {
		t.Errorf("%+v", r.Checks)
	}
	func() {
		defer w.broker.lock()()
		delete(w.broker.logins, mustGet(t, w).Login)
	}()
	if r := w.validated(false); r.Available() {
		t.Errorf("without its login: %+v", r.Checks)
	}
	if r := w.validated(true); !r.Available() || !slices.Equal(r.Fixed, []string{stepLogin}) {
		t.Errorf("the fix mended %v: %+v", r.Fixed, r.Checks)
	}
}

func TestALocalConnectionThatFailsLeavesNothing(t *testing.T) {
	w := newWorld(t)
	w.local("dev")
	w.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much")
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.RightsExcess)
	if _, err := w.Get(t.Context(), w.linker); patchbay.CodeOf(err) != patchbay.ResourceNotFound || len(w.broker.names()) > 0 {
		t.Errorf("GET = %v; the target has %v", err, w.broker.names())
	}
	w.broker.failProbe = nil
	spec := w.spec()
	spec.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{key: "a=b"}}
	op := w.put(spec)
	if op.State != patchbay.Undone || len(w.broker.names()) > 0 {
		t.Errorf("settings that nobody could have were accepted: %+v; the target has %v", op, w.broker.names())
	}
}

func TestTwoDevelopersDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	release := w.broker.lock() // both plans wait in Inspect
	var begun []Begun
	for _, name := range []string{"ann", "bob"} {
		b, err := w.Put(t.Context(), PutRequest{ID: w.local(name), Spec: w.spec(), Caller: w.caller})
		if err != nil || b.Operation.State == patchbay.Queued {
			release()
			t.Fatalf("%s's = %+v, %v", name, b.Operation, err)
		}
		begun = append(begun, b)
	}
	release()
	for _, b := range begun {
		w.want(w.end(b, nil), patchbay.Done, "")
	}
}

func TestWhatALocalConnectionCanNotBeIsRefused(t *testing.T) {
	w := newWorld(t)
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	for _, c := range []struct {
		name string
		id   patchbay.ID
		edit func(*patchbay.Spec)
		code patchbay.Code
	}{
		{"no such group", (w.group + "x").Location("local").Local("dev"), nil, patchbay.ResourceNotFound},
		{"a location of a source", site.Location("local").Local("dev"), nil, patchbay.InvalidResourceID},
		{"a strange location", w.group.Location("a b").Local("dev"), nil, patchbay.InvalidResourceID},
		{"a strange name", w.group.Location("local").Local("a b"), nil, patchbay.InvalidArgument},
		{"a user account", w.local("dev"), func(s *patchbay.Spec) { s.Auth = &patchbay.Auth{Type: patchbay.AuthUserAccount} }, patchbay.NotSupported},
		{"no target", w.local("dev"), func(s *patchbay.Spec) { s.Target.ID += "x/y/z" }, patchbay.TargetTypeNotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := w.spec()
			if c.edit != nil {
				c.edit(&spec)
			}
			if _, err := w.Put(t.Context(), PutRequest{ID: c.id, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != c.code {
				t.Errorf("PUT = %v", err)
			}
		})
	}
}

func TestAGroupWithLocalConnectionsStays(t *testing.T) {
	w := newWorld(t)
	group := patchbay.ResourceGroup{ID: patchbay.ID(strings.TrimSuffix(w.group.String(), "default") + "devs")}
	if err := w.PutResourceGroup(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	w.linker = group.ID.Location("local").Local("dev")
	w.want(w.put(w.spec()), patchbay.Done, "")
	if err := w.DeleteResourceGroup(t.Context(), group.ID); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("the group went with a connection in it: %v", err)
	}
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if err := w.DeleteResourceGroup(t.Context(), group.ID); err != nil {
		t.Error(err)
	}
}

func TestALostAnswerMakesNoSecondLogin(t *testing.T) {
	w := newWorld(t)
	w.local("dev")
	w.broker.loseAnswer = true
	w.want(w.put(w.spec()), patchbay.Done, "")
	if c := mustGet(t, w); !slices.Equal(w.broker.names(), []string{c.Login}) || w.broker.ensured != 2 {
		t.Errorf("%d logins were made; the target has %v, the record %s", w.broker.ensured, w.broker.names(), c.Login)
	}
}

// What az offers a developer is more than the settings table has rows for.
func TestAUserAccountReadsWhatAnIdentityDoes(t *testing.T) {
	w := newWorld(t)
	w.local("dev")
	w.registerRedis("")
	spec := w.cache(&patchbay.Auth{Type: patchbay.AuthUserAccount, PrincipalID: "33333333-3333-3333-3333-333333333333"})
	w.want(w.put(spec), patchbay.Done, "")
	list, err := w.Generate(t.Context(), w.linker, nil, w.caller)
	if err != nil || settingNamed(list, "AZURE_REDIS_HOST") == "" {
		t.Errorf("its settings = %v, %v", list, err)
	}
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Warning || !strings.Contains(c.Message, "user account") {
		t.Errorf("authentication = %+v", c)
	}
	if _, err := w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("rotate = %v", err)
	}
	spec.Auth = systemIdentity()
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("a local connection as an identity = %v", err)
	}
}
