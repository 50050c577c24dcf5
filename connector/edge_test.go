package connector

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
)

// given is the spec of a connection with the caller's own login.
func (w *world) given(name, secret string) patchbay.Spec {
	spec := w.spec()
	spec.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, Name: name, SecretInfo: &patchbay.SecretInfo{Type: patchbay.RawValue, Value: patchbay.NewSecret(secret)}}
	return spec
}

func TestUpdatesReachEveryForm(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to func(w *world) patchbay.Spec
		logins   int // of Patchbay's own, afterwards
		keys     []string
		holds    string // in the first key
	}{
		{"own to given", (*world).spec, func(w *world) patchbay.Spec { return w.given("dba", "given pass") }, 0, []string{key}, "given pass"},
		{"given to own", func(w *world) patchbay.Spec { return w.given("dba", "given pass") }, (*world).spec, 1, []string{key}, "secret of pb_"},
		{"to another database", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Target.ID = s.Target.ID.Parent().Child("databases", "other")
			return s
		}, 1, []string{key}, "dbname=other"},
		{"to opt-out of the settings", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut}
			return s
		}, 1, nil, ""},
		{"back from opt-out", func(w *world) patchbay.Spec {
			s := w.spec()
			s.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut}
			return s
		}, (*world).spec, 1, []string{key}, "secret of pb_"},
		{"to no login at all", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Auth.Mode = patchbay.OptOutAllAuth
			s.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut}
			return s
		}, 0, nil, ""},
		{"to no login, with settings", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Auth, s.Client = nil, "none"
			return s
		}, 0, []string{"AZURE_POSTGRESQL_DATABASE", "AZURE_POSTGRESQL_HOST", "AZURE_POSTGRESQL_PORT", "AZURE_POSTGRESQL_SSL"}, "shop"},
		{"from no login", func(w *world) patchbay.Spec {
			s := w.spec()
			s.Auth = nil
			return s
		}, (*world).spec, 1, []string{key}, "secret of pb_"},
		{"other names", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{key: "DB"}}
			return s
		}, 1, []string{"DB"}, "secret of pb_"},
		{"to binding files", (*world).spec, func(w *world) patchbay.Spec {
			s := w.spec()
			s.Naming = patchbay.NamingServiceBinding
			return s
		}, 1, nil, ""},
		{"from binding files", func(w *world) patchbay.Spec {
			s := w.spec()
			s.Naming = patchbay.NamingServiceBinding
			return s
		}, (*world).spec, 1, []string{key}, "secret of pb_"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.broker.passwords["dba"] = "given pass"
			w.want(w.put(c.from(w)), patchbay.Done, "")
			w.want(w.put(c.to(w)), patchbay.Done, "")
			if names := w.broker.names(); len(names) != c.logins {
				t.Errorf("the target has %v", names)
			}
			got := w.app.read()
			var keys []string
			for name := range got {
				if name != "THEIRS" && !strings.Contains(name, "/") {
					keys = append(keys, name)
				}
			}
			slices.Sort(keys)
			if !slices.Equal(keys, c.keys) || len(keys) > 0 && !strings.Contains(got[keys[0]], c.holds) {
				t.Errorf("the source has %v", got)
			}
			if r := w.validated(false); !r.Available() {
				t.Errorf("%+v", r.Checks)
			}
			if r := w.validated(true); !r.Available() || len(r.Fixed) > 0 {
				t.Errorf("a fix of what is whole mended %v: %+v", r.Fixed, r.Checks)
			}
			again, settings, names := mustGet(t, w), w.app.read(), w.broker.names()
			w.want(w.put(c.to(w)), patchbay.Done, "")
			if now := mustGet(t, w); now.Generation != again.Generation || !maps.Equal(w.app.read(), settings) || !slices.Equal(w.broker.names(), names) {
				t.Errorf("a repeated PUT made generation %d of %d, %v of %v", now.Generation, again.Generation, w.app.read(), settings)
			}
			w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
			if got := w.app.read(); !maps.Equal(got, untouched) || len(w.broker.names()) > 0 {
				t.Errorf("left: %v, %v", got, w.broker.names())
			}
		})
	}
}

func TestAFixOfAGivenLoginMakesNoLogin(t *testing.T) {
	w := newWorld(t)
	w.broker.passwords["dba"] = "given pass"
	w.want(w.put(w.given("dba", "given pass")), patchbay.Done, "")
	w.app.set(key, "spoilt")
	if r := w.validated(true); !r.Available() || !slices.Equal(r.Fixed, []string{stepSettings}) {
		t.Errorf("fixed %v: %+v", r.Fixed, r.Checks)
	}
	if names := w.broker.names(); len(names) > 0 || !strings.Contains(w.app.read()[key], "given pass") {
		t.Errorf("the target has %v, the source %v", names, w.app.read())
	}
}

func TestAGivenLoginIsRotatedWithItsNewSecretOnly(t *testing.T) {
	w := newWorld(t)
	w.broker.passwords["dba"] = "given pass"
	w.want(w.put(w.given("dba", "given pass")), patchbay.Done, "")
	if _, err := w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("rotate without a secret = %v", err)
	}
	w.broker.passwords["dba"] = "newer pass"
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Secret: patchbay.NewSecret("newer pass"), Caller: w.caller})), patchbay.Done, "")
	if value := w.app.read()[key]; !strings.Contains(value, "newer pass") {
		t.Errorf("the source has %q", value)
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Secret: patchbay.NewSecret("wrong"), Caller: w.caller})), patchbay.Undone, patchbay.InvalidDbSecret)
	if value := w.app.read()[key]; !strings.Contains(value, "newer pass") {
		t.Errorf("after a rotation that failed the source has %q", value)
	}
}

// A login that a failed update could not remove is a leftover; the next update
// must not make its own of the same name, which the sweep would then remove.
func TestALeftoverIsNeverTheLoginInUse(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.failWrite = patchbay.Errorf(patchbay.SettingsUnwritable, "read-only")
	w.broker.failRemove = patchbay.Errorf(patchbay.TargetUnreachable, "nobody there")
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.want(w.put(reader), patchbay.Undone, patchbay.SettingsUnwritable)
	left, _, err := w.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 {
		t.Fatalf("leftovers = %+v, %v", left, err)
	}
	w.app.failWrite, w.broker.failRemove = nil, nil
	w.want(w.put(reader), patchbay.Done, "")
	if now := mustGet(t, w); strings.HasSuffix(left[0].What, now.Login) {
		t.Errorf("the login in use, %s, is also the leftover %q", now.Login, left[0].What)
	}
	if _, err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if now := mustGet(t, w); !slices.Equal(w.broker.names(), []string{now.Login}) {
		t.Errorf("the target has %v, and %s is in use", w.broker.names(), now.Login)
	}
}

func TestSettingsLeftBehindDoNotTakeThoseOfTheConnectionMadeAgain(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.Client = "none" // its host is the same setting with the same value every time
	w.want(w.put(spec), patchbay.Done, "")
	w.app.down = patchbay.Errorf(patchbay.SettingsUnwritable, "no way in")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	func() {
		defer w.app.lock()()
		w.app.down = nil
		w.app.settings = map[string]patchbay.Secret{"THEIRS": patchbay.NewSecret("kept")} // somebody cleared up
		w.app.version++
	}()
	w.want(w.put(spec), patchbay.Done, "")
	want := w.app.read()
	if _, err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if got := w.app.read(); !maps.Equal(got, want) {
		t.Errorf("after the sweep the source has %v, had %v", got, want)
	}
	if left, _, _ := w.Leftovers(t.Context(), "", 10); len(left) > 0 {
		t.Errorf("leftovers: %v", left)
	}
}

func TestTwoConnectionsToOneTargetKeepTheirNames(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	first, second := w.linker, mustGet(t, w).Source.Linker("second")
	begun := make([]Begun, 2)
	for i, id := range []patchbay.ID{second, first} { // they wait for each other
		var err error
		if begun[i], err = w.Put(t.Context(), PutRequest{ID: id, Spec: w.spec(), Caller: w.caller}); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range begun {
		w.want(w.end(b, nil), patchbay.Done, "")
	}
	const inserted = "AZURE_POSTGRESQL_SECOND_CONNECTIONSTRING"
	w.want(w.end(w.Delete(t.Context(), first, w.caller, "")), patchbay.Done, "")
	w.linker = second
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: second, Caller: w.caller})), patchbay.Done, "")
	if c := mustGet(t, w); !slices.Equal(c.Keys, []string{inserted}) || w.app.read()[inserted] == "" || w.app.read()[key] != "" {
		t.Errorf("its settings are %v; the source has %v", c.Keys, w.app.read())
	}
	list, err := w.Generate(t.Context(), second, nil, w.caller)
	if err != nil || len(list) != 1 || list[0].Name != inserted {
		t.Errorf("generateConfigurations = %v, %v", list, err)
	}
}

func TestASettingThatSomebodySetMeanwhileStaysTheirs(t *testing.T) {
	w := newWorld(t)
	w.app.beforeWrite = func() {
		w.app.settings[key] = patchbay.NewSecret("theirs too")
		w.app.version++
	}
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.Conflict)
	if got := w.app.read(); got[key] != "theirs too" || w.app.restarts > 0 {
		t.Errorf("the source has %v; restarts: %d", got, w.app.restarts)
	}
}

func TestAStrayInUseOfALiveConnectionStays(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	c := mustGet(t, w)
	newer := driver.Mark{UID: c.UID, Generation: 7, Connection: c.ID}
	name := loginName(newer)
	w.broker.logins[name] = driver.LoginRequest{Mark: newer, Name: name}
	w.broker.sessions[name] = 1
	result, err := w.sweep()
	if err != nil || len(result.Removed) > 0 || len(result.Left) != 1 || !strings.Contains(result.Left[0].Why, "1 open session") {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
	w.broker.sessions[name] = 0
	// A product that does not say who is signed in may have it in use.
	counts := w.catalog.Targets["memory"]
	silent, logins := counts, *counts.Logins
	logins.Sessions = false
	silent.Logins = &logins
	w.catalog.Targets["memory"] = silent
	if result, err := w.sweep(); err != nil || len(result.Removed) > 0 || len(result.Left) != 1 || !strings.Contains(result.Left[0].Why, "may be in use") {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
	w.catalog.Targets["memory"] = counts
	if result, err := w.sweep(); err != nil || len(result.Removed) != 1 {
		t.Fatalf("sweep = %+v, %v", result, err)
	}
}

func TestAPreviewTellsAGivenLoginFromOneOfItsOwn(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		spec     patchbay.Spec
		says     string
		problems int
	}{
		{w.spec(), "make a login", 0},
		{w.given("dba", "given pass"), "take the login", 0},
		{w.given("dba", ""), "", 1},
		{w.given("", "token"), "take the login", 0},
	} {
		p, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: c.spec, Caller: w.caller})
		if err != nil || len(p.Problems) != c.problems {
			t.Fatalf("preview = %+v, %v", p, err)
		}
		if !slices.ContainsFunc(p.Steps, func(s PreviewStep) bool { return strings.HasPrefix(s.Text, c.says) }) {
			t.Errorf("none of %v begins with %q", p.Steps, c.says)
		}
	}
}

func TestTwoCreatesOfOneNameAreOneConnection(t *testing.T) {
	w := newWorld(t)
	begun := make(chan Begun, 8)
	for range cap(begun) {
		go func() {
			b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
			if err != nil {
				t.Error(err)
			}
			begun <- b
		}()
	}
	for range cap(begun) {
		if b := <-begun; b.Operation.ID != "" {
			w.want(w.end(b, nil), patchbay.Done, "")
		}
	}
	if c := mustGet(t, w); !slices.Equal(w.broker.names(), []string{c.Login}) {
		t.Errorf("the target has %v, the record %s", w.broker.names(), c.Login)
	}
}

// late is an engine to which another request comes first, once, and has ended when
// this one is told that it is busy, or is admitted.
type late struct {
	Engine
	first  func()
	admits bool
}

func (l *late) Submit(ctx context.Context, sub saga.Submission) (patchbay.Operation, error) {
	if first := l.first; first != nil {
		l.first = nil
		first()
		if !l.admits {
			return patchbay.Operation{}, patchbay.Errorf(patchbay.OperationInProgress, "it is busy")
		}
	}
	return l.Engine.Submit(ctx, sub)
}

func TestARequestThatAnotherWasFasterThanIsNotRefusedForOneThatHasEnded(t *testing.T) {
	w := newWorld(t)
	engine := &late{Engine: w.engine}
	w.Bind(engine)
	for range 2 {
		engine.first = func() { w.want(w.put(w.spec()), patchbay.Done, "") }
		w.want(w.put(w.spec()), patchbay.Done, "")
	}
	// What is not changed meanwhile is still busy.
	engine.first = func() {}
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.OperationInProgress {
		t.Errorf("%v", err)
	}
}

func TestAnEtagThatIsNotTheRecordsChangesNothing(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller, IfMatch: "*"}); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
		t.Errorf("PUT of what must be there = %v", err)
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	if _, err := w.Delete(t.Context(), w.linker, w.caller, `"another"`); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
		t.Errorf("DELETE = %v", err)
	}
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller, IfMatch: mustGet(t, w).ETag})), patchbay.Done, "")
}

func TestATargetThatMovedIsFoundAndFollowed(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := mustGet(t, w)
	moved, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = moved.Close() })
	func() {
		defer w.broker.lock()()
		w.broker.listener = moved
	}()
	r := w.validated(false)
	if r.Available() || !slices.ContainsFunc(r.Checks, func(c patchbay.Check) bool {
		return strings.Contains(c.Message, "moved") && strings.HasPrefix(c.Fix, "patchbay connection update postgres web/orders --client-type go")
	}) {
		t.Errorf("%+v", r.Checks)
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	if now := mustGet(t, w); now.Login != before.Login || !w.validated(false).Available() {
		t.Errorf("%s became %s", before.Login, now.Login)
	}
}
