package connector

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// selfHosted is the spec of a connection to an endpoint that nobody registered.
func selfHosted(endpoint string, a *patchbay.Auth) patchbay.Spec {
	return patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: endpoint}, Auth: a, Client: "python"}
}

func TestAnEndpointIsConnectedFromItsFirstDayToItsLast(t *testing.T) {
	for _, kind := range []string{"linker", "connector"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			if kind == "connector" {
				w.local("dev")
			}
			endpoint := "redis://" + w.away.listener.Addr().String()
			w.away.accept("", "given-pass", true)
			w.want(w.put(selfHosted(endpoint, givenAuth("", "wrong-pass"))), patchbay.Undone, patchbay.InvalidDbSecret)
			w.want(w.put(selfHosted(endpoint, givenAuth("", "given-pass"))), patchbay.Done, "")
			if !w.away.wasOpened(endpoint) {
				t.Error("another endpoint was opened")
			}
			held := func() string {
				list, err := w.Configurations(t.Context(), w.linker, w.caller)
				if err != nil {
					t.Fatal(err)
				}
				return settingNamed(list, redisKey)
			}
			if got := held(); !strings.Contains(got, "given-pass") {
				t.Errorf("the settings hold %q", got)
			}
			r := w.validated(false)
			if !r.Available() || r.Target != endpoint {
				t.Errorf("%+v", r)
			}
			if r := w.validated(true); !r.Available() || len(r.Fixed) > 0 {
				t.Errorf("a fix mended %v: %+v", r.Fixed, r.Checks)
			}
			if list, err := w.Generate(t.Context(), w.linker, nil, w.caller); err != nil || len(list) != 1 {
				t.Errorf("generateConfigurations = %v, %v", list, err)
			}
			// A secret left out means keep; to another endpoint it is never sent.
			w.want(w.put(selfHosted(endpoint, givenAuth("", ""))), patchbay.Done, "")
			if got := held(); !strings.Contains(got, "given-pass") {
				t.Errorf("the settings hold %q", got)
			}
			if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: selfHosted(endpoint+"0", givenAuth("", "")), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
				t.Errorf("another endpoint with the old secret: %v", err)
			}
			w.away.accept("", "newer-pass", true)
			w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Secret: patchbay.NewSecret("newer-pass"), Caller: w.caller})), patchbay.Done, "")
			if got := held(); !strings.Contains(got, "newer-pass") {
				t.Errorf("the settings hold %q", got)
			}
			if page, _, err := w.Resources(t.Context(), "", "", 10); err != nil || len(page) != 2 {
				t.Errorf("the inventory has %d resources, %v", len(page), err)
			}
			w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
			if got := all(w.app.read()); got != "" {
				t.Errorf("left: %s", got)
			}
		})
	}
}

func TestConfluentIsTwoConnections(t *testing.T) {
	w := newWorld(t)
	w.away.dumb = true
	source := w.group.Child("providers/Microsoft.Web/sites", "web")
	address := w.away.listener.Addr().String()
	spec := func(typ patchbay.TargetType, endpoint string, a *patchbay.Auth) patchbay.Spec {
		return patchbay.Spec{Target: patchbay.TargetService{Type: typ, Endpoint: endpoint}, Auth: a, Client: "python"}
	}
	w.linker = source.Linker("kafka")
	w.want(w.put(spec(patchbay.ConfluentBootstrapServer, address, givenAuth("KEY", "kafka-secret"))), patchbay.Done, "")
	w.linker = source.Linker("kafka_schema")
	w.want(w.put(spec(patchbay.ConfluentSchemaRegistry, "http://"+address, givenAuth("REGKEY", "registry-secret"))), patchbay.Done, "")
	got := all(w.app.read())
	for _, part := range []string{"kafka-secret", "registry-secret", "KEY", "REGKEY"} {
		if !strings.Contains(got, part) {
			t.Errorf("the source lacks %s:\n%s", part, got)
		}
	}
	// az drops the secret of an update, and keeps its name.
	w.linker = source.Linker("kafka")
	update := spec(patchbay.ConfluentBootstrapServer, address, &patchbay.Auth{Type: patchbay.AuthSecret, Name: "KEY"})
	update.Client = "nodejs"
	w.want(w.put(update), patchbay.Done, "")
	if got := all(w.app.read()); !strings.Contains(got, "kafka-secret") {
		t.Errorf("the secret was not kept:\n%s", got)
	}
}

func TestFabricIsSignedInToAsAnIdentity(t *testing.T) {
	w := newWorld(t)
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.FabricPlatform, Endpoint: "x6eps4xr.database.fabric.microsoft.com:1433/shop"}, Auth: systemIdentity(), Client: "python"}
	w.want(w.put(spec), patchbay.Done, "")
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Warning {
		t.Errorf("authentication = %+v", c)
	}
	api := spec
	api.Target.Endpoint = "https://api.fabric.microsoft.com/v1/workspaces/w/SqlDatabases/d"
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: api, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("a page of Fabric's API: %v", err)
	}
	spec.Auth = givenAuth("a", "b")
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("with a secret: %v", err)
	}
}

// Whatever is written in place of an endpoint, no error and no record shows a
// login that was in it.
func TestHostileEndpointsAreRefusedWithoutAnEcho(t *testing.T) {
	w := newWorld(t)
	const login = "hunter2secret"
	for _, endpoint := range []string{
		"", "redis://", "redis:///0", "redis://:6379", "nothing", "gopher://host:70", "://x", "REDIS", "/etc/passwd", "file:///etc/passwd",
		"redis://user:" + login + "@host:6379", "redis://:" + login + "@host", "redis://" + login + "@host", "user:" + login + "@host",
		"redis://user%3A" + login + "%40host", "redis://host?password=" + login, "redis://host/0?a=b&Access_Token=" + login,
		"postgres://host;Password=" + login, "postgres://host/db;user id=x;pwd=" + login, "postgres://host/db;User%20Id=" + login, "redis://host/0;AccountKey=" + login,
		"redis://host/0?shared-access-key=" + login, "redis://host/0?sig=" + login, "redis://host/0?pass%77ord=" + login, "postgres://host?sslmode=require&sslkey=" + login,
		"redis://host\n" + login, "redis://host " + login, "redis://host\\" + login, "redis://host\x00" + login, "redis://höst/" + login,
		"redis://host#" + login, "redis://" + strings.Repeat("a", 2000) + login,
	} {
		for _, typ := range []patchbay.TargetType{patchbay.SelfHostedServer, "Invented"} {
			spec := selfHosted(endpoint, givenAuth("", "given-pass"))
			spec.Target.Type = typ
			_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
			e := patchbay.AsError(err)
			if e == nil || e.Code != patchbay.InvalidArgument && e.Code != patchbay.TargetTypeNotSupported {
				t.Errorf("%.60q = %v", endpoint, err)
				continue
			}
			shown, _ := json.Marshal(e)
			p, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
			if err != nil {
				t.Errorf("the preview of %.60q = %v", endpoint, err)
			}
			for _, s := range p.Settings { // their values are not marshalled
				shown = append(shown, s.Value.Reveal()...)
			}
			preview, _ := json.Marshal(p)
			if text := string(shown) + string(preview); strings.Contains(text, login) {
				t.Errorf("%.60q is echoed: %s", endpoint, text)
			}
		}
	}
	if w.away.tried() > 0 || len(w.away.opened) > 0 {
		t.Errorf("%v was opened", w.away.opened)
	}
	_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: selfHosted("gopher://host:70", givenAuth("", "x")), Caller: w.caller})
	if err == nil || !strings.Contains(err.Error(), "postgres, redis") {
		t.Errorf("the schemes are not listed: %v", err)
	}
}

func TestAnEndpointNeedsALoginThatIsGiven(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		auth *patchbay.Auth
		code patchbay.Code
	}{
		"none of it":          {registered(), patchbay.InvalidArgument},
		"a name":              {givenAuth("dba", ""), patchbay.InvalidArgument},
		"an identity":         {systemIdentity(), patchbay.NotSupported},
		"a service principal": {servicePrincipal("sp-secret"), patchbay.NotSupported},
	} {
		spec := selfHosted("redis://"+w.away.listener.Addr().String(), c.auth)
		if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEndpointIsAskedForAtTheSource(t *testing.T) {
	w := newWorld(t)
	for _, id := range []patchbay.ID{w.linker, w.group.Location("local").Local("dev")} {
		of, _, _ := id.ConnectionSource()
		var asked []string
		caller := w.caller
		caller.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
			asked = append(asked, action+" at "+scope.Key())
			return patchbay.Errorf(patchbay.Forbidden, "not you")
		}
		spec := selfHosted("redis://"+w.away.listener.Addr().String(), givenAuth("", "given-pass"))
		if _, err := w.Put(t.Context(), PutRequest{ID: id, Spec: spec, Caller: caller}); patchbay.CodeOf(err) != patchbay.Forbidden {
			t.Errorf("PUT = %v", err)
		}
		if len(asked) != 1 || asked[0] != ActionDial+" at "+of.Key() {
			t.Errorf("asked %v", asked)
		}
	}
}

func TestATargetHasOneName(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.Target.Endpoint = "redis://:hunter2secret@host"
	w.want(w.put(spec), patchbay.Done, "")
	if c := mustGet(t, w); c.Spec.Target.Endpoint != "" {
		t.Errorf("GET = %+v", c.Spec.Target)
	}
	id := w.group.Child("providers/Microsoft.Web/sites", "web").Child("providers/Microsoft.ServiceLinker/dryruns", "d")
	if d := w.dryrun(id, spec, w.caller); d.Spec.Target.Endpoint != "" {
		t.Errorf("dryrun = %+v", d.Spec.Target)
	}
}
