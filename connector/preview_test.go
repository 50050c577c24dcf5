package connector

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store/storetest"
)

// A connection that once had to give way keeps the names that it has, in the
// preview as in the update, although the one that it gave way to is gone.
func TestAPreviewKeepsTheNamesThatItsUpdateKeeps(t *testing.T) {
	w := newWorld(t)
	second := w.linker
	source, _, _ := second.ConnectionSource()
	w.linker = source.Linker("first")
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.linker = second
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.want(w.end(w.Delete(t.Context(), source.Linker("first"), w.caller, "")), patchbay.Done, "")

	p, err := w.Preview(t.Context(), PutRequest{ID: second, Spec: w.spec(), Caller: w.caller})
	if err != nil || len(p.Problems) > 0 {
		t.Fatalf("preview = %+v, %v", p, err)
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	if shown, wrote := namesOf(p.Settings), mustGet(t, w).Keys; !slices.Equal(shown, wrote) {
		t.Errorf("the preview shows %v, the update writes %v", shown, wrote)
	}
}

// What a preview shows is what comes of it, whoever else comes, changes and goes on
// the source meanwhile: the kind, the steps, the names, and every value that it
// shows. When it tells of something in the way, that is what the request ends with.
func TestAPreviewIsWhatComesOfIt(t *testing.T) {
	worlds := 12
	if testing.Short() {
		worlds = 4
	}
	for range worlds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w, random := newAppWorld(t, Limits{}, storetest.NewMemory()), rand.New(rand.NewPCG(seed, 0))
			w.registerRedis("registered-pass")
			w.away.accepts[" registered-pass"] = true
			for range 80 {
				if w.foretold(random); t.Failed() {
					return
				}
			}
		})
	}
}

// foretold lets one thing happen, and looks at what its preview says, if it has one.
func (w *world) foretold(random *rand.Rand) {
	w.t.Helper()
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	w.linker = w.app.id.Linker(pick("orders", "Orders", "or.ders", "or-ders", "9"))
	if random.IntN(8) == 0 {
		w.linker = w.group.Location("local").Local("orders")
	}
	switch random.IntN(6) {
	case 0:
		if b, err := w.Delete(w.t.Context(), w.linker, w.caller, ""); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			w.want(w.end(b, err), patchbay.Done, "")
		}
		return
	case 1:
		w.app.set(pick("PGHOST", "AZURE_POSTGRESQL_HOST", "ORDERS_PGHOST", "MINE", "AZURE_REDIS_CONNECTIONSTRING"), "somebody's")
		return
	case 2:
		defer w.app.lock()()
		delete(w.app.settings, pick("PGHOST", "AZURE_POSTGRESQL_HOST", "ORDERS_PGHOST", "MINE", "AZURE_REDIS_CONNECTIONSTRING"))
		return
	}
	r := PutRequest{ID: w.linker, Spec: w.anySpec(random, pick), Caller: w.caller}
	before, logins := w.app.read(), w.broker.names()
	p, err := w.Preview(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	if !maps.Equal(w.app.read(), before) || !slices.Equal(w.broker.names(), logins) {
		w.t.Error("the preview changed something")
	}
	b, err := w.Put(w.t.Context(), r)
	op := b.Operation
	if err == nil {
		op = w.end(b, nil)
		err = errOf(op)
	}
	if len(p.Problems) > 0 || err != nil {
		if len(p.Problems) == 0 || patchbay.CodeOf(err) != p.Problems[0].Code || patchbay.AsError(err).Message != p.Problems[0].Message {
			w.t.Errorf("%s: the preview tells of %v, and it ends with %v", mustJSON(w.t, r.Spec), p.Problems, err)
		}
		return
	}
	var steps []string
	for _, step := range p.Steps {
		steps = append(steps, step.Name)
	}
	if p.Kind != op.Kind || !slices.Equal(steps, op.Plan) {
		w.t.Errorf("%s: the preview is %+v, and what happened %s with %v", mustJSON(w.t, r.Spec), p, op.Kind, op.Plan)
	}
	wrote, err := w.Configurations(w.t.Context(), w.linker, w.caller)
	if err != nil {
		w.t.Fatal(err)
	}
	if shown := namesOf(p.Settings); !slices.Equal(shown, namesOf(wrote)) {
		w.t.Errorf("%s: the preview shows %v, and written is %v", mustJSON(w.t, r.Spec), shown, namesOf(wrote))
		return
	}
	for i, s := range p.Settings {
		value := s.Value.Reveal()
		if strings.Contains(value, "secret of") || strings.Contains(value, "given-pass") || strings.Contains(value, "registered-pass") {
			w.t.Errorf("the preview shows a secret: %s=%s", s.Name, value)
		}
		if !strings.Contains(value, "‹") && s.Value != wrote[i].Value {
			w.t.Errorf("the preview shows %s=%s, and written is %s", s.Name, value, wrote[i].Value.Reveal())
		}
	}
}

// anySpec is one of those that somebody may ask for.
func (w *world) anySpec(random *rand.Rand, pick func(...string) string) patchbay.Spec {
	spec := w.spec()
	spec.Client = patchbay.ClientType(pick("go", "none", "python", "django", "cobol"))
	spec.Naming = patchbay.Naming(pick("", "azure", "native", "native"))
	spec.Access = patchbay.Access(pick("", "writer", "reader"))
	spec.Target.ID = spec.Target.ID.Parent().Child("databases", pick("shop", "shop", "stock", "missing"))
	switch random.IntN(5) {
	case 0:
		spec.Auth.Name, spec.Auth.SecretInfo = pick("dba", "app"), &patchbay.SecretInfo{Type: patchbay.RawValue, Value: patchbay.NewSecret(pick("", "given-pass"))}
		if name := spec.Auth.Name; !spec.Auth.SecretInfo.Value.IsZero() {
			func() {
				defer w.broker.lock()()
				w.broker.passwords[name] = "given-pass"
				w.broker.logins[name] = driver.LoginRequest{Name: name, Mark: driver.Mark{UID: "theirs"}}
			}()
		}
	case 1:
		spec.Target.ID = w.group + "/providers/Microsoft.Cache/redis/cache/databases/0"
		spec.Access = ""
	case 2:
		if random.IntN(2) == 0 {
			spec.Auth = nil
		} else {
			spec.Auth.Mode = patchbay.OptOutAllAuth
		}
	}
	c := &patchbay.ConfigurationInfo{}
	switch random.IntN(4) {
	case 0:
		c.CustomizedKeys = map[string]string{pick("PGHOST", "AZURE_POSTGRESQL_HOST", "AZURE_POSTGRESQL_CONNECTIONSTRING", "AZURE_REDIS_CONNECTIONSTRING"): pick("MINE", "PGPORT", "THEIRS", "AZURE_POSTGRESQL_HOST")}
	case 1:
		c.Additional = map[string]string{pick("MINE", "EXTRA"): "1"}
	case 2:
		c.Action = pick("", patchbay.OptOut)
	}
	spec.Configuration = c
	return spec
}

func namesOf(set []patchbay.Setting) (names []string) {
	for _, s := range set {
		names = append(names, s.Name)
	}
	return names
}

// What a product can't keep a login from is said before it is made and when it
// is: by a preview, a create, and an update that gives it other rights. Nobody
// decides anything when it is rotated, or stays as it is.
func TestWhatALoginCanDoBesidesItsAccessIsSaid(t *testing.T) {
	w := newWorld(t)
	const beyond = "this login can do more"
	w.broker.beyond = []string{beyond}
	said := func(what string, text string, want bool) {
		t.Helper()
		if strings.Contains(text, beyond) != want {
			t.Errorf("%s says %q", what, text)
		}
	}
	spec := w.spec()
	p, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
	if err != nil || len(p.Problems) > 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	said("the preview", fmt.Sprint(p.Steps), true)
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	said("the create", op.Message, true)
	op = w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}))
	w.want(op, patchbay.Done, "")
	said("the rotation", op.Message, false)
	spec.Client = "python"
	op = w.put(spec)
	w.want(op, patchbay.Done, "")
	said("an update of something else", op.Message, false)
	spec.Access = patchbay.Reader
	op = w.put(spec)
	w.want(op, patchbay.Done, "")
	said("an update of the access", op.Message, true)
}
