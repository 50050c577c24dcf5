package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// refusing is a caller who is answered with err wherever action is asked.
func refusing(action string, err error) Caller {
	c := Trusted("tester")
	c.Allow = func(_ context.Context, a string, _ patchbay.ID) error {
		if a == action {
			return err
		}
		return nil
	}
	return c
}

// everyRequest are the use cases that hand out a login of the target.
func everyRequest(w *world) map[string]func(c Caller) error {
	put := func(c Caller) PutRequest { return PutRequest{ID: w.linker, Spec: w.spec(), Caller: c} }
	return map[string]func(c Caller) error{
		"put": func(c Caller) error { _, err := w.Put(w.t.Context(), put(c)); return err },
		"patch": func(c Caller) error {
			_, err := w.Patch(w.t.Context(), put(c), func(s *patchbay.Spec) error { s.Client = "python"; return nil })
			return err
		},
		"rotate": func(c Caller) error {
			_, err := w.Rotate(w.t.Context(), RotateRequest{ID: w.linker, Caller: c})
			return err
		},
	}
}

func TestATargetThatMayNotBeConnectedIsRefused(t *testing.T) {
	for _, made := range []bool{false, true} {
		w := newWorld(t)
		if made {
			w.want(w.put(w.spec()), patchbay.Done, "")
		}
		forbidden := patchbay.Errorf(patchbay.Forbidden, "ann may not do that")
		for name, request := range everyRequest(w) {
			if !made && name != "put" {
				continue
			}
			if err := request(refusing(ActionConnect, forbidden)); !errors.Is(err, forbidden) {
				t.Errorf("%s = %v", name, err)
			}
			if err := request(Caller{Name: "nobody"}); patchbay.CodeOf(err) != patchbay.Forbidden {
				t.Errorf("%s without rights = %v", name, err)
			}
		}
		if _, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: refusing(ActionConnect, forbidden)}); !errors.Is(err, forbidden) {
			t.Errorf("preview = %v", err)
		}
	}
}

// A target that the caller may not read is answered as if nobody had
// registered it: not by a word differently.
func TestATargetThatMayNotBeReadIsNotThere(t *testing.T) {
	w := newWorld(t)
	hidden := refusing(ActionConnect, patchbay.Errorf(patchbay.ResourceNotFound, "there is no resource db"))
	answer := func(id patchbay.ID, c Caller) string {
		spec := w.spec()
		spec.Target.ID = id
		_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: c})
		p, previewErr := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: c})
		if previewErr != nil {
			t.Fatal(previewErr)
		}
		values := map[string]string{}
		for _, s := range p.Settings {
			values[s.Name] = s.Value.Reveal()
		}
		text, _ := json.Marshal([]any{patchbay.AsError(err), p, values})
		return string(text)
	}
	servers := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers"
	for _, tail := range []patchbay.ID{"/databases/shop", "", "/databases/missing", "/tables/x"} {
		is, isNot := servers+"/db"+tail, servers+"/absentserver"+tail
		there, absent := answer(is, hidden), answer(isNot, w.caller)
		if got, want := there, strings.ReplaceAll(absent, "absentserver", "db"); got != want {
			t.Errorf("a hidden target %s is answered\n%s\nand one that is not there\n%s", tail, got, want)
		}
	}
}

func TestTheTargetOfAConnectionIsAskedForByItsRegisteredID(t *testing.T) {
	w := newWorld(t)
	var asked []string
	c := w.caller
	c.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
		asked = append(asked, action+" "+scope.String())
		return nil
	}
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: c})), patchbay.Done, "")
	want := ActionConnect + " " + w.spec().Target.ID.Parent().String()
	if !slices.Equal(asked, []string{want}) {
		t.Errorf("asked %q, should have asked %q", asked, want)
	}
}

// heard is an engine that notes what is submitted.
type heard struct {
	Engine
	last saga.Submission
}

func (h *heard) Submit(ctx context.Context, s saga.Submission) (patchbay.Operation, error) {
	h.last = s
	return h.Engine.Submit(ctx, s)
}

func TestBothTenantsSeeWhatIsBetweenThem(t *testing.T) {
	w := newWorld(t)
	subs, err := w.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := subs[0].TenantID, uuid.NewString()
	other := patchbay.Subscription{ID: uuid.NewString(), TenantID: theirs, DisplayName: "other"}
	if err := w.records.PutSubscription(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	group := patchbay.ID("/subscriptions/" + other.ID + "/resourceGroups/rg")
	if err := w.PutResourceGroup(t.Context(), patchbay.ResourceGroup{ID: group}); err != nil {
		t.Fatal(err)
	}
	far := w.register(patchbay.Resource{ID: group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/far"}, nil)
	engine := &heard{Engine: w.engine}
	w.Bind(engine)
	act := patchbay.Act{Caller: "ann", Action: "Microsoft.ServiceLinker/linkers/write", Tenants: []string{ours}}
	ctx := patchbay.WithAct(t.Context(), act)
	spec := w.spec()
	for _, c := range []struct {
		name   string
		begin  func() (Begun, error)
		target patchbay.ID
		tenant []string
	}{
		{"create within one", func() (Begun, error) {
			return w.Put(ctx, PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		}, spec.Target.ID.Parent(), []string{ours}},
		{"update across", func() (Begun, error) {
			spec.Target.ID = far.Child("databases", "shop")
			return w.Put(ctx, PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		}, far, []string{ours, theirs}},
		{"rotate", func() (Begun, error) { return w.Rotate(ctx, RotateRequest{ID: w.linker, Caller: w.caller}) }, far, []string{ours, theirs}},
		{"validate", func() (Begun, error) { return w.Validate(ctx, ValidateRequest{ID: w.linker, Caller: w.caller}) }, far, []string{ours, theirs}},
		{"delete", func() (Begun, error) { return w.Delete(ctx, w.linker, w.caller, "") }, far, []string{ours, theirs}},
	} {
		w.want(w.end(c.begin()), patchbay.Done, "")
		if s := engine.last; s.Target != c.target || s.Act.Caller != "ann" || !slices.Equal(s.Act.Tenants, c.tenant) {
			t.Errorf("%s: target %s, act %+v", c.name, s.Target, s.Act)
		}
	}
	if !slices.Equal(act.Tenants, []string{ours}) {
		t.Errorf("the caller's act became %v", act.Tenants)
	}
}

func TestPatchChangesWhatItNames(t *testing.T) {
	w := newWorld(t)
	w.broker.passwords["dba"] = "given-pass"
	none := func(*patchbay.Spec) error { return nil }
	patch := func(r PutRequest, merge func(*patchbay.Spec) error) (Begun, error) {
		r.ID, r.Caller = w.linker, w.caller
		return w.Patch(t.Context(), r, merge)
	}
	if _, err := patch(PutRequest{}, none); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("PATCH of what is not there = %v", err)
	}
	w.want(w.put(w.given("dba", "given-pass")), patchbay.Done, "")
	before, settings := mustGet(t, w), w.app.read()
	for _, c := range []struct {
		name  string
		merge func(*patchbay.Spec) error
		check func(now patchbay.Connection) bool
	}{
		{"nothing", none, func(now patchbay.Connection) bool {
			return now.Generation == before.Generation && maps.Equal(settings, w.app.read())
		}},
		{"the client type, and the secret stays", func(s *patchbay.Spec) error { s.Client = "none"; return nil }, func(now patchbay.Connection) bool {
			return now.Spec.Client == "none" && now.Spec.Auth.Name == "dba" && w.app.read()["AZURE_POSTGRESQL_PASSWORD"] == "given-pass"
		}},
		{"the login, to one of its own", func(s *patchbay.Spec) error { s.Auth = registered(); return nil }, func(now patchbay.Connection) bool {
			return now.Login != "" && slices.Equal(w.broker.names(), []string{now.Login})
		}},
		{"the access", func(s *patchbay.Spec) error { s.Access = patchbay.Reader; return nil }, func(now patchbay.Connection) bool {
			return now.Spec.Access == patchbay.Reader && slices.Equal(w.broker.names(), []string{now.Login})
		}},
		{"the settings away", func(s *patchbay.Spec) error {
			s.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut}
			return nil
		}, func(now patchbay.Connection) bool { return len(now.Keys) == 0 && maps.Equal(w.app.read(), untouched) }},
	} {
		w.want(w.end(patch(PutRequest{}, c.merge)), patchbay.Done, "")
		if now := mustGet(t, w); !c.check(now) {
			t.Errorf("%s: %+v; the source has %v, the target %v", c.name, now, w.app.read(), w.broker.names())
		}
	}
	refused := patchbay.Errorf(patchbay.InvalidRequestContent, "that is no patch")
	if _, err := patch(PutRequest{}, func(*patchbay.Spec) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("a patch that fails = %v", err)
	}
	if _, err := patch(PutRequest{IfMatch: `"another"`}, none); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
		t.Errorf("with another ETag = %v", err)
	}
	w.want(w.end(patch(PutRequest{IfMatch: mustGet(t, w).ETag}, none)), patchbay.Done, "")
	w.app.failWrite = patchbay.Errorf(patchbay.SettingsUnwritable, "read-only")
	old := mustGet(t, w)
	w.want(w.end(patch(PutRequest{}, func(s *patchbay.Spec) error { s.Configuration = nil; return nil })), patchbay.Undone, patchbay.SettingsUnwritable)
	if now := mustGet(t, w); now.Spec.Configuration == nil || now.Login != old.Login || now.State != patchbay.Succeeded {
		t.Errorf("after a patch that was undone: %+v", now)
	}
}

func TestQuotasHold(t *testing.T) {
	w := newLimitedWorld(t, Limits{ConnectionsPerSource: 2, ConnectionsPerSubscription: 3, ResourcesPerSubscription: 3})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	place := w.group.Location("local")
	for i, id := range []patchbay.ID{site.Linker("a"), site.Linker("b"), place.Local("c")} {
		w.linker = id
		w.want(w.put(w.spec()), patchbay.Done, "")
		if i == 1 {
			if _, err := w.Put(t.Context(), PutRequest{ID: site.Linker("c"), Spec: w.spec(), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.QuotaExceeded {
				t.Errorf("a third of the source = %v", err)
			}
		}
	}
	if _, err := w.Put(t.Context(), PutRequest{ID: place.Local("d"), Spec: w.spec(), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.QuotaExceeded {
		t.Errorf("a fourth of the subscription = %v", err)
	}
	p, err := w.Preview(t.Context(), PutRequest{ID: place.Local("d"), Spec: w.spec(), Caller: w.caller})
	if err != nil || len(p.Problems) != 1 || p.Problems[0].Code != patchbay.QuotaExceeded {
		t.Errorf("preview = %+v, %v", p, err)
	}
	w.want(w.put(w.spec()), patchbay.Done, "") // what is there may be updated
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	w.linker = place.Local("d")
	w.want(w.put(w.spec()), patchbay.Done, "")

	w.registerRedis("")
	_, _, _, err = w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: w.group + "/providers/Microsoft.Cache/redis/another"}, Caller: w.caller})
	if patchbay.CodeOf(err) != patchbay.QuotaExceeded {
		t.Errorf("a fourth resource = %v", err)
	}
	w.registerRedis("changed")
}

// Requests that arrive together pass no limit, and none is left without an end.
func TestNobodyPassesALimitByBeingMany(t *testing.T) {
	w := newLimitedWorld(t, Limits{ConnectionsPerSource: 3})
	site := w.group.Child("providers/Microsoft.Web/sites", "web")
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			b, err := w.Put(t.Context(), PutRequest{ID: site.Linker(fmt.Sprint("c", i)), Spec: w.spec(), Caller: w.caller})
			switch patchbay.CodeOf(err) {
			case "":
				w.want(w.end(b, nil), patchbay.Done, "")
			case patchbay.QuotaExceeded:
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if page, _, err := w.List(t.Context(), site, "", 100); err != nil || len(page) != 3 {
		t.Errorf("%d connections, %v", len(page), err)
	}
}

// A source and a target are removed while they are being connected: either the
// connection is refused, as one to something that is not there, or they stay.
func TestAConnectionHasBothItsEnds(t *testing.T) {
	w := newWorld(t)
	site, db := w.group.Child("providers/Microsoft.Web/sites", "web"), w.spec().Target.ID.Parent()
	for try := range 12 {
		end := []patchbay.ID{site, db}[try%2]
		var all sync.WaitGroup
		all.Go(func() {
			b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
			switch patchbay.CodeOf(err) {
			case "":
				w.want(w.end(b, nil), patchbay.Done, "")
			case patchbay.SourceNotFound, patchbay.TargetNotFound:
			default:
				t.Error(err)
			}
		})
		all.Go(func() {
			switch err := w.DeleteResource(t.Context(), end, ""); patchbay.CodeOf(err) {
			case "", patchbay.Conflict:
			default:
				t.Error(err)
			}
		})
		all.Wait()
		_, made := w.Get(t.Context(), w.linker)
		_, there := w.Resource(t.Context(), end)
		if made == nil && there != nil {
			t.Fatalf("try %d: the connection is there, and %s is not", try, end.Name())
		}
		if made == nil {
			w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
		}
		if there != nil {
			w.register(patchbay.Resource{ID: end}, nil)
		}
	}
}

// While a connection is moved from one target to another, its login is at the
// first, and it goes back there when that fails.
func TestATargetThatAConnectionIsLeavingStays(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("registered-pass")
	w.away.accept("", "registered-pass", true)
	w.want(w.put(w.spec()), patchbay.Done, "")
	db := w.spec().Target.ID.Parent()
	w.gate.holdAt(1)
	b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.cache(registered()), Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	if err := w.DeleteResource(t.Context(), db, ""); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("delete = %v", err)
	}
	w.restart()
	w.want(w.end(b, nil), patchbay.Done, "")
	if names := w.broker.names(); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
	if err := w.DeleteResource(t.Context(), db, ""); err != nil {
		t.Error(err)
	}
}
