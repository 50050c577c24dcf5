package connector

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const key = "AZURE_POSTGRESQL_CONNECTIONSTRING"

var untouched = map[string]string{"THEIRS": "kept"}

func TestACreateMakesOneLoginAndItsSettings(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	c, err := w.Get(t.Context(), w.linker)
	if err != nil {
		t.Fatal(err)
	}
	if c.State != patchbay.Succeeded || c.Generation != 1 || !slices.Equal(c.Keys, []string{key}) {
		t.Errorf("GET = %+v", c)
	}
	if names := w.broker.names(); !slices.Equal(names, []string{c.Login}) {
		t.Errorf("the target has %v, the record %s", names, c.Login)
	}
	if value := w.app.read()[key]; !strings.Contains(value, "user="+c.Login) {
		t.Errorf("the source has %q", value)
	}
	list, err := w.Configurations(t.Context(), w.linker, w.caller)
	if err != nil || len(list) != 1 || list[0].Value.Reveal() != w.app.read()[key] {
		t.Errorf("listConfigurations = %v, %v", list, err)
	}
}

func TestAFailureAnywhereLeavesEverythingAsItWas(t *testing.T) {
	broken := patchbay.Errorf(patchbay.RestartFailed, "it is broken")
	for _, c := range []struct {
		name  string
		spoil func(w *world)
		code  patchbay.Code
	}{
		{"probe", func(w *world) { w.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much") }, patchbay.RightsExcess},
		{"write", func(w *world) { w.app.failWrite = patchbay.Errorf(patchbay.SettingsUnwritable, "read-only") }, patchbay.SettingsUnwritable},
		{"restart", func(w *world) { w.app.restartErr = broken }, patchbay.RestartFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(w)
			w.want(w.put(w.spec()), patchbay.Undone, c.code)
			if _, err := w.Get(t.Context(), w.linker); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
				t.Errorf("GET = %v", err)
			}
			if got := w.app.read(); !maps.Equal(got, untouched) {
				t.Errorf("the source has %v", got)
			}
			if names := w.broker.names(); len(names) > 0 { // nothing worked with it yet
				t.Errorf("the target still has %v", names)
			}
			w.restartable()
		})
		t.Run(c.name+" of an update", func(t *testing.T) {
			w := newWorld(t)
			w.want(w.put(w.spec()), patchbay.Done, "")
			before, settings, names := mustGet(t, w), w.app.read(), w.broker.names()
			c.spoil(w)
			spec := w.spec()
			spec.Access = patchbay.Reader
			w.want(w.put(spec), patchbay.Undone, c.code)
			after := mustGet(t, w)
			if after.State != patchbay.Succeeded || after.Spec.Access != patchbay.Writer || after.Login != before.Login {
				t.Errorf("GET = %+v", after)
			}
			if got := w.app.read(); !maps.Equal(got, settings) {
				t.Errorf("the source has %v, had %v", got, settings)
			}
			w.restartable()
			if got := w.broker.names(); !slices.Equal(got, names) {
				t.Errorf("the target has %v, had %v", got, names)
			}
		})
	}
}

func mustGet(t *testing.T, w *world) patchbay.Connection {
	t.Helper()
	c, err := w.Get(t.Context(), w.linker)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARepeatedPutMakesNothingTwice(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	first, names, settings := mustGet(t, w), w.broker.names(), w.app.read()
	w.want(w.put(w.spec()), patchbay.Done, "")
	second := mustGet(t, w)
	if first.Login != second.Login || first.Generation != second.Generation {
		t.Errorf("%s g%d became %s g%d", first.Login, first.Generation, second.Login, second.Generation)
	}
	if !slices.Equal(names, w.broker.names()) || !maps.Equal(settings, w.app.read()) {
		t.Errorf("the target has %v, the source %v", w.broker.names(), w.app.read())
	}
}

func TestADifferentPutDuringAnOperationIsRefusedAndTheSameOneIsThatOperation(t *testing.T) {
	w := newWorld(t)
	release := w.broker.lock() // the plan waits in Inspect
	first, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	same, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if err != nil || same.Operation.ID != first.Operation.ID {
		t.Errorf("the same PUT = %v, %v", same.Operation.ID, err)
	}
	other := w.spec()
	other.Client = "python"
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: other, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.OperationInProgress {
		t.Errorf("another PUT = %v", err)
	}
	if _, err := w.Delete(t.Context(), w.linker, w.caller, ""); patchbay.CodeOf(err) != patchbay.OperationInProgress {
		t.Errorf("DELETE = %v", err)
	}
	release()
	w.want(w.end(first, nil), patchbay.Done, "")
	if names := w.broker.names(); len(names) != 1 {
		t.Errorf("the target has %v", names)
	}
}

func TestAGivenLoginIsUsedAndCheckedAndNeverAnswered(t *testing.T) {
	w := newWorld(t)
	w.broker.passwords["dba"] = "given pass"
	spec := w.spec()
	spec.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, Name: "dba", SecretInfo: &patchbay.SecretInfo{Type: patchbay.RawValue, Value: patchbay.NewSecret("wrong one")}}
	op := w.put(spec)
	w.want(op, patchbay.Undone, patchbay.InvalidDbSecret)
	if strings.Contains(op.Error.Error(), "wrong one") {
		t.Errorf("the error holds the secret: %v", op.Error)
	}
	spec.Auth.SecretInfo.Value = patchbay.NewSecret("given pass")
	w.want(w.put(spec), patchbay.Done, "")
	c := mustGet(t, w)
	if c.Login != "" || !c.Spec.Auth.SecretInfo.Value.IsZero() || len(w.broker.names()) > 0 {
		t.Errorf("GET = %+v; the target has %v", c, w.broker.names())
	}
	// A secret left out of an update means keep.
	spec.Auth.SecretInfo.Value = patchbay.Secret{}
	spec.Client = "python"
	w.want(w.put(spec), patchbay.Done, "")
	if value := w.app.read()[key]; !strings.Contains(value, "given pass") {
		t.Errorf("the source has %q", value)
	}
	// A given login is left alone by the delete.
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if got := w.app.read(); !maps.Equal(got, untouched) {
		t.Errorf("the source has %v", got)
	}
}

func TestRotateReplacesTheLogin(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	old := mustGet(t, w)
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	now := mustGet(t, w)
	if now.Generation != 2 || now.Login == old.Login || !slices.Equal(w.broker.names(), []string{now.Login}) {
		t.Errorf("g%d %s; the target has %v", now.Generation, now.Login, w.broker.names())
	}
}

func TestAnOldLoginInUseIsNotRevokedUnderItsSessions(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	old := mustGet(t, w).Login
	w.broker.sessions[old] = 2
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	if !slices.Contains(w.broker.names(), old) {
		t.Fatal("the old login was removed under its sessions")
	}
	left, _, err := w.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 || !strings.Contains(left[0].Why, "2 open sessions") {
		t.Fatalf("leftovers = %+v, %v", left, err)
	}
	if result, err := w.sweep(); err != nil || len(result.Removed) != 0 {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
	w.broker.sessions[old] = 0
	if result, err := w.sweep(); err != nil || len(result.Removed) != 1 {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
	if slices.Contains(w.broker.names(), old) {
		t.Error("the old login is still there")
	}
}

func TestADeadTargetDoesNotBlockADelete(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.fail(patchbay.Errorf(patchbay.TargetUnreachable, "nobody there").AsTransient())
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if _, err := w.Get(t.Context(), w.linker); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("GET = %v", err)
	}
	if got := w.app.read(); !maps.Equal(got, untouched) {
		t.Errorf("the source has %v", got)
	}
	left, _, err := w.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 {
		t.Fatalf("leftovers = %+v, %v", left, err)
	}
	w.broker.fail(nil)
	if _, err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if left, _, _ := w.Leftovers(t.Context(), "", 10); len(left) > 0 || len(w.broker.names()) > 0 {
		t.Errorf("left: %v, %v", left, w.broker.names())
	}
}

func TestADeadSourceDoesNotBlockADelete(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.down = patchbay.Errorf(patchbay.SettingsUnwritable, "no way in")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if names := w.broker.names(); len(names) > 0 {
		t.Errorf("the target has %v", names)
	}
	left, _, err := w.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 || left[0].What != "settings" {
		t.Fatalf("leftovers = %+v, %v", left, err)
	}
}

func TestALeftoverOfWhatIsGoneForGoodCanBeForgotten(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.fail(patchbay.Errorf(patchbay.TargetUnreachable, "nobody there").AsTransient())
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	left, _, err := w.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 {
		t.Fatalf("leftovers = %+v, %v", left, err)
	}
	if err := w.Forget(t.Context(), left[0].ID, w.caller); err != nil {
		t.Fatal(err)
	}
	if err := w.Forget(t.Context(), left[0].ID, w.caller); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("forgetting it again = %v", err)
	}
	if left, _, err := w.Leftovers(t.Context(), "", 10); err != nil || len(left) != 0 {
		t.Errorf("leftovers = %+v, %v", left, err)
	}
}

func TestASweepRemovesStraysAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	mine := mustGet(t, w)
	stray := driver.Mark{UID: "gone", Generation: 1, Connection: mine.Source.Linker("gone")}
	theirs := driver.Mark{UID: "theirs", Generation: 1, Connection: "/subscriptions/another/resourceGroups/x/providers/A/b/c/providers/Microsoft.ServiceLinker/linkers/d"}
	for _, m := range []driver.Mark{stray, theirs} {
		w.broker.logins[loginName(m)] = driver.LoginRequest{Mark: m, Name: loginName(m)}
	}
	result, err := w.sweep()
	if err != nil || len(result.Removed) != 1 {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
	want := []string{mine.Login, loginName(theirs)}
	slices.Sort(want)
	if got := w.broker.names(); !slices.Equal(got, want) {
		t.Errorf("the target has %v, should have %v", got, want)
	}
}

// teller is asked to append lines to the audit log.
type teller struct {
	Records
	tell func(patchbay.AuditEntry) error
}

func (t teller) AppendAudit(_ context.Context, e patchbay.AuditEntry) error { return t.tell(e) }

// A mark is the target's word: it names nothing of others', and takes no place in
// somebody's terminal. Whose the target is, is told before anything goes.
func TestASweepBelievesATargetWhatIsItsOwn(t *testing.T) {
	w := newWorld(t)
	const other, tenant = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
	for _, err := range []error{
		w.PutTenant(t.Context(), patchbay.Tenant{ID: tenant}),
		w.PutSubscription(t.Context(), patchbay.Subscription{ID: other, TenantID: tenant}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.registerRedis("registered-pass")
	w.away.accept("", "registered-pass", true)
	w.want(w.put(w.cache(registered())), patchbay.Done, "")
	forged := map[string]patchbay.ID{
		"pb_gone":              w.linker.Parent().Linker("gone"),
		"pb_of_another":        mustGet(t, w).ID, // it has the cache
		"pb_elsewhere":         "/subscriptions/" + other + "/resourceGroups/x/providers/A/b/c/providers/Microsoft.ServiceLinker/linkers/d",
		"pb_\x1b[2J\u202e":     w.linker.Parent().Linker("gone"),
		"pb_with_escape_of_id": w.linker.Parent().Linker("a\x1b[2J"),
	}
	for name, id := range forged {
		w.broker.logins[name] = driver.LoginRequest{Name: name, Mark: driver.Mark{UID: "forged", Connection: id}}
	}
	told := 0
	kept := w.records
	w.records = teller{kept, func(e patchbay.AuditEntry) error {
		if len(w.broker.names()) != len(forged)-told || !strings.HasSuffix(string(e.Resource), "/db") || e.Tenant == "" ||
			e.Caller != w.caller.Name || e.Result != patchbay.AuditSucceeded {
			t.Errorf("told %+v, with %v", e, w.broker.names())
		}
		told++
		return nil
	}}
	result, err := w.sweep()
	if err != nil || len(result.Removed) != len(forged) || told != len(forged) {
		t.Fatalf("sweep = %+v, %v; told %d", result, err, told)
	}
	for _, l := range result.Removed {
		if gone := l.What == "principal pb_gone" || strings.Contains(l.What, "2J"); gone != (l.Connection == forged["pb_gone"]) || strings.ContainsAny(l.What+l.ID+string(l.Connection), "\x1b\u202e") {
			t.Errorf("%+v", l)
		}
	}
	w.records = teller{kept, func(patchbay.AuditEntry) error { return patchbay.Errorf(patchbay.Internal, "no log") }}
	w.broker.logins["pb_gone"] = driver.LoginRequest{Name: "pb_gone", Mark: driver.Mark{UID: "forged", Connection: forged["pb_gone"]}}
	if result, err := w.sweep(); err != nil || len(result.Removed) > 0 || len(w.broker.names()) != 1 {
		t.Errorf("without a log: %+v, %v", result, err)
	}
}

func TestValidateSaysWhatIsWrongAndFixMendsIt(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	login := mustGet(t, w).Login
	for _, c := range []struct {
		name  string
		spoil func()
		group patchbay.CheckGroup
		code  patchbay.Code
	}{
		{"a changed setting", func() { w.app.set(key, "host=elsewhere") }, patchbay.CheckConfiguration, patchbay.SettingChanged},
		{"a missing setting", func() { w.app.lock()(); delete(w.app.settings, key) }, patchbay.CheckConfiguration, patchbay.SettingMissing},
		{"a missing login", func() { delete(w.broker.logins, login) }, patchbay.CheckAuthentication, patchbay.LoginMissing},
		{"too many rights", func() {
			r := w.broker.logins[login]
			r.Access = "superuser"
			w.broker.logins[login] = r
		}, patchbay.CheckAuthentication, patchbay.RightsExcess},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := w.validated(false); !r.Available() || len(r.Checks) != 4 {
				t.Fatalf("before: %+v", r)
			}
			c.spoil()
			r := w.validated(false)
			if !slices.ContainsFunc(r.Checks, func(k patchbay.Check) bool {
				return k.Group == c.group && k.Result == patchbay.Failure && k.Code == c.code && k.Fix != ""
			}) {
				t.Errorf("%+v", r.Checks)
			}
			mended := []string{stepSettings}
			if c.group == patchbay.CheckAuthentication {
				mended = []string{stepLogin}
			}
			if r := w.validated(true); !r.Available() || !slices.Equal(r.Fixed, mended) {
				t.Errorf("after the fix of %v: %+v", r.Fixed, r.Checks)
			}
		})
	}
}

func (w *world) validated(fix bool) patchbay.Report {
	w.t.Helper()
	op := w.end(w.Validate(w.t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: fix}))
	if op.State != patchbay.Done || op.Result == nil {
		w.t.Fatalf("validate: %+v", op)
	}
	return *op.Result
}

func TestADeadTargetIsAFindingAndNothingIsSuccessWithoutALook(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.fail(patchbay.Errorf(patchbay.TargetUnreachable, "nobody there"))
	r := w.validated(false)
	if r.Available() {
		t.Error("the connection counts as available")
	}
	for _, c := range r.Checks {
		if c.Group == patchbay.CheckAuthentication && c.Result != patchbay.NotChecked {
			t.Errorf("authentication = %+v", c)
		}
	}
}

func TestAPreviewChangesNothing(t *testing.T) {
	w := newWorld(t)
	p, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if err != nil || len(p.Problems) > 0 || len(p.Settings) != 1 || len(p.Steps) != 6 {
		t.Fatalf("preview = %+v, %v", p, err)
	}
	if got := w.app.read(); !maps.Equal(got, untouched) || w.broker.ensured > 0 {
		t.Errorf("the source has %v; %d logins were made", got, w.broker.ensured)
	}
	// A kind without a driver, which nobody registered.
	spec := w.spec()
	spec.Target.ID = w.group + "/providers/Microsoft.Cache/redis/cache/databases/0"
	p, err = w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
	if err != nil || len(p.Settings) != 1 || len(p.Problems) != 1 || p.Problems[0].Code != patchbay.TargetNotFound {
		t.Fatalf("preview = %+v, %v", p, err)
	}
}

func TestBadRequestsAreRefusedBeforeAnythingHappens(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		edit func(id *patchbay.ID, s *patchbay.Spec)
		code patchbay.Code
		says string
	}{
		{"name", func(id *patchbay.ID, _ *patchbay.Spec) {
			*id = w.group.Child("providers/Microsoft.Web/sites", "web").Linker("a b")
		}, patchbay.InvalidArgument, "letters"},
		{"long name", func(id *patchbay.ID, _ *patchbay.Spec) {
			*id = w.group.Child("providers/Microsoft.Web/sites", "web").Linker(strings.Repeat("x", 300))
		}, patchbay.InvalidArgument, "1 to 60"},
		{"no source", func(id *patchbay.ID, _ *patchbay.Spec) {
			*id = w.group.Child("providers/Microsoft.Web/sites", "nobody").Linker("a")
		}, patchbay.SourceNotFound, "inventory"},
		{"no target", func(_ *patchbay.ID, s *patchbay.Spec) {
			s.Target.ID = w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/no/databases/x"
		}, patchbay.TargetNotFound, "inventory"},
		{"no database", func(_ *patchbay.ID, s *patchbay.Spec) { s.Target.ID = s.Target.ID.Parent() }, patchbay.TargetTypeNotSupported, "MICROSOFT.DBFORPOSTGRESQL/FLEXIBLESERVERS"},
		{"client type", func(_ *patchbay.ID, s *patchbay.Spec) { s.Client = "cobol" }, patchbay.InvalidArgument, "django"},
		{"access", func(_ *patchbay.ID, s *patchbay.Spec) { s.Access = "god" }, patchbay.InvalidArgument, "reader, writer"},
		{"option", func(_ *patchbay.ID, s *patchbay.Spec) { s.Options = map[string]string{"x": "y"} }, patchbay.InvalidArgument, "no option"},
		{"naming", func(_ *patchbay.ID, s *patchbay.Spec) { s.Naming = "mine" }, patchbay.InvalidArgument, "native"},
		{"auth type", func(_ *patchbay.ID, s *patchbay.Spec) { s.Auth.Type = patchbay.AuthSystemIdentity }, patchbay.NotSupported, "secret"},
		{"a name without its secret", func(_ *patchbay.ID, s *patchbay.Spec) { s.Auth.Name = "dba" }, patchbay.InvalidArgument, "secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, spec := w.linker, w.spec()
			c.edit(&id, &spec)
			_, err := w.Put(t.Context(), PutRequest{ID: id, Spec: spec, Caller: w.caller})
			if patchbay.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("PUT = %v", err)
			}
		})
	}
	if got := w.app.read(); !maps.Equal(got, untouched) || w.broker.ensured > 0 {
		t.Errorf("the source has %v; %d logins were made", got, w.broker.ensured)
	}
}
