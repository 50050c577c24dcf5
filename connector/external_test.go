package connector

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const redisKey = "AZURE_REDIS_CONNECTIONSTRING"

// register puts a resource into the inventory, below the world's group.
func (w *world) register(r patchbay.Resource, admin driver.Secrets) patchbay.ID {
	w.t.Helper()
	if _, _, _, err := w.PutResource(w.t.Context(), ResourceRequest{Resource: r, Admin: admin, Caller: w.caller}); err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

func (w *world) redis() patchbay.ID {
	return w.group + "/providers/Microsoft.Cache/redis/cache"
}

// registerRedis registers a Redis that nobody administers, with that password.
func (w *world) registerRedis(password string) {
	admin := driver.Secrets{}
	if password != "" {
		admin["password"] = patchbay.NewSecret(password)
	}
	w.register(patchbay.Resource{ID: w.redis()}, admin)
}

// cache is the spec of a connection to it.
func (w *world) cache(a *patchbay.Auth) patchbay.Spec {
	return patchbay.Spec{
		Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: w.redis() + "/databases/0"}, Auth: a, Client: "python",
	}
}

func registered() *patchbay.Auth { return &patchbay.Auth{Type: patchbay.AuthSecret} }

func givenAuth(name, secret string) *patchbay.Auth {
	a := &patchbay.Auth{Type: patchbay.AuthSecret, Name: name, SecretInfo: &patchbay.SecretInfo{Type: patchbay.RawValue}}
	if secret != "" {
		a.SecretInfo.Value = patchbay.NewSecret(secret)
	}
	return a
}

func systemIdentity() *patchbay.Auth { return &patchbay.Auth{Type: patchbay.AuthSystemIdentity} }

func servicePrincipal(secret string) *patchbay.Auth {
	a := &patchbay.Auth{Type: patchbay.AuthSPSecret, ClientID: "11111111-1111-1111-1111-111111111111", PrincipalID: "33333333-3333-3333-3333-333333333333"}
	if secret != "" {
		a.Secret = patchbay.NewSecret(secret)
	}
	return a
}

// check is the result of a group of the connection's validation.
func (w *world) check(group patchbay.CheckGroup) patchbay.Check {
	w.t.Helper()
	for _, c := range w.validated(false).Checks {
		if c.Group == group {
			return c
		}
	}
	return patchbay.Check{}
}

func all(settings map[string]string) string {
	var text []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if name != "THEIRS" {
			text = append(text, name+"="+settings[name])
		}
	}
	return strings.Join(text, "\n")
}

// Every way to sign in to a target that is not administered, from every other.
func TestExternalLoginsBecomeEachOther(t *testing.T) {
	forms := []struct {
		name   string
		auth   func() *patchbay.Auth
		holds  string // in the settings
		login  loginKind
		result patchbay.CheckResult // of the authentication
	}{
		{"registered", registered, "registered-pass", loginRegistered, patchbay.Success},
		{"given", func() *patchbay.Auth { return givenAuth("", "given-pass") }, "given-pass", loginGiven, patchbay.Success},
		{"named", func() *patchbay.Auth { return givenAuth("dba", "named-pass") }, "named-pass", loginGiven, patchbay.Success},
		{"system identity", systemIdentity, "127.0.0.1", loginIdentity, patchbay.Warning},
		{"service principal", func() *patchbay.Auth { return servicePrincipal("sp s3cret") }, "sp s3cret", loginIdentity, patchbay.Warning},
	}
	for _, from := range forms {
		for _, to := range forms {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				w := newWorld(t)
				w.registerRedis("registered-pass")
				w.away.accept("", "registered-pass", true)
				w.away.accept("", "given-pass", true)
				w.away.accept("dba", "named-pass", true)
				w.want(w.put(w.cache(from.auth())), patchbay.Done, "")
				w.want(w.put(w.cache(to.auth())), patchbay.Done, "")
				c := mustGet(t, w)
				held, err := w.openHolding(c)
				if err != nil || held.whose() != to.login || c.Login != "" || c.Spec.Access != "" {
					t.Errorf("%+v holds the login %q, %v", c, held.whose(), err)
				}
				if got := all(w.app.read()); !strings.Contains(got, to.holds) {
					t.Errorf("the source has %s", got)
				}
				if got := w.check(patchbay.CheckAuthentication); got.Result != to.result {
					t.Errorf("authentication = %+v", got)
				}
				again, settings := mustGet(t, w), w.app.read()
				w.want(w.put(w.cache(to.auth())), patchbay.Done, "")
				if now := mustGet(t, w); now.Generation != again.Generation || !maps.Equal(settings, w.app.read()) {
					t.Errorf("a repeated PUT made generation %d of %d, %v of %v", now.Generation, again.Generation, w.app.read(), settings)
				}
				w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
				if got := w.app.read(); !maps.Equal(got, untouched) {
					t.Errorf("left: %v", got)
				}
			})
		}
	}
}

func TestAnIdentityIsTriedOnTheNetworkOnly(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("")
	w.want(w.put(w.cache(systemIdentity())), patchbay.Done, "")
	if w.away.tried() > 0 {
		t.Error("somebody signed in as the identity")
	}
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Warning || !strings.Contains(c.Message, "granted nothing") || !strings.Contains(c.Message, "cache") {
		t.Errorf("authentication = %+v", c)
	}
	if r := w.validated(true); !r.Available() || len(r.Fixed) > 0 {
		t.Errorf("a fix mended %v: %+v", r.Fixed, r.Checks)
	}
	if _, err := w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("rotate = %v", err)
	}
	before := w.app.read()
	_ = w.away.listener.Close() // nobody listens any more
	w.want(w.put(w.cache(systemIdentity())), patchbay.Undone, patchbay.PortClosed)
	if got := w.app.read(); !maps.Equal(got, before) {
		t.Errorf("the source has %v, had %v", got, before)
	}
	spec := w.cache(systemIdentity())
	spec.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
	w.want(w.put(spec), patchbay.Done, "")
}

func TestAServicePrincipalIsWhatItsCallerSaid(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("")
	noSecret := w.cache(servicePrincipal(""))
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: noSecret, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("without its secret: %v", err)
	}
	noClient := w.cache(&patchbay.Auth{Type: patchbay.AuthUserIdentity})
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: noClient, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("an identity without its clientId: %v", err)
	}
	w.want(w.put(w.cache(servicePrincipal("sp s3cret"))), patchbay.Done, "")
	subs, err := w.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := all(w.app.read())
	for _, part := range []string{"CLIENTID=11111111-1111-1111-1111-111111111111", "CLIENTSECRET=sp s3cret", "TENANTID=" + subs[0].TenantID} {
		if !strings.Contains(got, part) {
			t.Errorf("the source lacks %s:\n%s", part, got)
		}
	}
	// Left out of an update, the secret is kept; of another login it is not.
	w.want(w.put(w.cache(servicePrincipal(""))), patchbay.Done, "")
	if !strings.Contains(all(w.app.read()), "sp s3cret") {
		t.Error("the secret was not kept")
	}
	other := w.cache(servicePrincipal(""))
	other.Auth.ClientID = "44444444-4444-4444-4444-444444444444"
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: other, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("another login with the old one's secret: %v", err)
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Secret: patchbay.NewSecret("sp n3w"), Caller: w.caller})), patchbay.Done, "")
	if got := all(w.app.read()); !strings.Contains(got, "sp n3w") || strings.Contains(got, "sp s3cret") {
		t.Errorf("after the rotation:\n%s", got)
	}
}

func TestARegisteredLoginIsTakenAnewByARotation(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("first-pass")
	w.away.accept("", "first-pass", true)
	w.want(w.put(w.cache(registered())), patchbay.Done, "")
	if _, err := w.Rotate(t.Context(), RotateRequest{ID: w.linker, Secret: patchbay.NewSecret("x"), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("rotate with a secret = %v", err)
	}
	w.away.accept("", "first-pass", false)
	w.away.accept("", "second-pass", true)
	w.registerRedis("second-pass")
	c := w.check(patchbay.CheckAuthentication)
	if c.Result != patchbay.Failure || c.Code != patchbay.InvalidDbSecret || !strings.Contains(c.Fix, "patchbay connection rotate web/orders") {
		t.Errorf("authentication = %+v", c)
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	if got := all(w.app.read()); !strings.Contains(got, "second-pass") || mustGet(t, w).Generation != 2 {
		t.Errorf("generation %d:\n%s", mustGet(t, w).Generation, got)
	}
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Success {
		t.Errorf("authentication = %+v", c)
	}
	// A new one that does not sign in changes nothing.
	w.registerRedis("wrong-pass")
	op := w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}))
	w.want(op, patchbay.Undone, patchbay.InvalidDbSecret)
	if strings.Contains(op.Error.Error(), "wrong-pass") || !strings.Contains(op.Error.Fix, "registration") {
		t.Errorf("%v; fix: %s", op.Error, op.Error.Fix)
	}
	if got := all(w.app.read()); !strings.Contains(got, "second-pass") {
		t.Errorf("the source has %s", got)
	}
}

func TestNoRegisteredLoginIsAnErrorThatSaysSo(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("")
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.cache(registered()), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("it is said at once: %v", err)
	}
}

func TestAKindWithoutASignInIsNotCheckedAndNotSuccess(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("")
	w.away.dumb = true
	w.want(w.put(w.cache(givenAuth("", "given-pass"))), patchbay.Done, "")
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.NotChecked || c.Message == "" {
		t.Errorf("authentication = %+v", c)
	}
}

func TestAnIDThatNoKindHasNamesItsChildren(t *testing.T) {
	w := newWorld(t)
	account := w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.Storage/storageAccounts/files"}, driver.Secrets{"password": patchbay.NewSecret("a2V5")})
	w.away.accept("", "a2V5", true)
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: account}, Auth: registered(), Client: "none"}
	_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.TargetTypeNotSupported || !strings.Contains(e.Fix, "files/blobServices/NAME") || !strings.Contains(e.Message, "MICROSOFT.STORAGE/STORAGEACCOUNTS") {
		t.Errorf("PUT = %v", err)
	}
	spec.Target.ID += "/blobServices/default"
	w.want(w.put(spec), patchbay.Done, "")
	if got := all(w.app.read()); !strings.Contains(got, "AccountName=files") || !strings.Contains(got, "a2V5") {
		t.Errorf("the source has %s", got)
	}
}

func TestAccessCanNotBeAskedOfWhatIsNotAdministered(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("pass")
	spec := w.cache(registered())
	spec.Access = patchbay.Reader
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("PUT = %v", err)
	}
}

func TestADriverThatAdministersIsTakenFirst(t *testing.T) {
	w := newWorld(t)
	for id, want := range map[patchbay.ID]string{
		w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/other": "memory",
		w.group + "/providers/Microsoft.DBforPostgreSQL/servers/old":           "away",
	} {
		w.register(patchbay.Resource{ID: id}, nil)
		if r, err := w.Resource(t.Context(), id); err != nil || r.Driver != want {
			t.Errorf("%s has driver %s, %v", id.Name(), r.Driver, err)
		}
	}
}

// A driver that administers takes the place of one that does not, under the
// connections that are there.
func TestADriverTakesOverWhatWasExternal(t *testing.T) {
	for _, c := range []struct {
		name string
		auth func() *patchbay.Auth
		okay bool // the authentication holds with the new driver
	}{
		{"registered", registered, true},
		{"given", func() *patchbay.Auth { return givenAuth("dba", "named-pass") }, true},
		{"identity", systemIdentity, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			id := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/legacy"
			w.register(patchbay.Resource{ID: id, Driver: "away"}, driver.Secrets{"username": patchbay.NewSecret("app"), "password": patchbay.NewSecret("registered-pass")})
			w.away.accept("app", "registered-pass", true)
			w.away.accept("dba", "named-pass", true)
			w.broker.passwords["dba"], w.broker.passwords["app"] = "named-pass", "registered-pass"
			spec := w.spec()
			spec.Target.ID, spec.Auth, spec.Client = id.Child("databases", "shop"), c.auth(), "none"
			w.want(w.put(spec), patchbay.Done, "")
			settings := w.app.read()

			w.register(patchbay.Resource{ID: id}, nil) // without a word about the driver nothing changes
			if r, _ := w.Resource(t.Context(), id); r.Driver != "away" {
				t.Fatalf("the driver became %s", r.Driver)
			}
			w.register(patchbay.Resource{ID: id, Driver: "memory"}, nil)
			if r := w.validated(false); !r.Available() {
				t.Errorf("with the other driver: %+v", r.Checks)
			}
			if r := w.validated(true); !r.Available() || len(r.Fixed) > 0 {
				t.Errorf("a fix mended %v: %+v", r.Fixed, r.Checks)
			}
			if got := w.app.read(); !maps.Equal(got, settings) {
				t.Errorf("the source has %v, had %v", got, settings)
			}
			if _, err := w.Generate(t.Context(), w.linker, nil, w.caller); err != nil {
				t.Errorf("generateConfigurations = %v", err)
			}
			// Once it is updated, it may have a login of its own.
			spec.Auth = registered()
			w.want(w.put(spec), patchbay.Done, "")
			if now := mustGet(t, w); !slices.Equal(w.broker.names(), []string{now.Login}) || now.Spec.Access != patchbay.Writer {
				t.Errorf("%+v; the target has %v", now, w.broker.names())
			}
			// And back it can't go while that login is there.
			_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: id, Driver: "away"}, Caller: w.caller})
			if patchbay.CodeOf(err) != patchbay.Conflict {
				t.Errorf("back to the driver that administers nothing: %v", err)
			}
			w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
			w.register(patchbay.Resource{ID: id, Driver: "away"}, nil)
			if got := w.app.read(); !maps.Equal(got, untouched) || len(w.broker.names()) > 0 {
				t.Errorf("left: %v, %v", got, w.broker.names())
			}
		})
	}
}

func TestADriverDoesNotChangeUnderItsLeftovers(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.failRemove = patchbay.Errorf(patchbay.AdminRights, "may not")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	id := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: id, Driver: "away"}, Caller: w.caller})
	if patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "leftover") {
		t.Errorf("PUT = %v", err)
	}
}

// A connection that was deleted after the driver changed, without an update in
// between.
func TestAConnectionOfTheOldDriverIsDeletedUnderTheNewOne(t *testing.T) {
	w := newWorld(t)
	id := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/legacy"
	w.register(patchbay.Resource{ID: id, Driver: "away"}, nil)
	w.away.accept("dba", "named-pass", true)
	spec := w.spec()
	spec.Target.ID, spec.Auth = id.Child("databases", "shop"), givenAuth("dba", "named-pass")
	w.want(w.put(spec), patchbay.Done, "")
	w.register(patchbay.Resource{ID: id, Driver: "memory"}, nil)
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if got := w.app.read(); !maps.Equal(got, untouched) {
		t.Errorf("left: %v", got)
	}
}

func TestATargetThatOnlyTheSourceReachesIsConnected(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("registered-pass")
	w.away.accept("", "registered-pass", true)
	w.away.unseen = patchbay.Errorf(patchbay.TargetUnreachable, "no way from here")
	w.want(w.put(w.cache(registered())), patchbay.Done, "")
	for group, want := range map[patchbay.CheckGroup]patchbay.CheckResult{
		patchbay.CheckExistence: patchbay.NotChecked, patchbay.CheckNetwork: patchbay.Success, patchbay.CheckAuthentication: patchbay.Success,
	} {
		if c := w.check(group); c.Result != want {
			t.Errorf("%s = %+v", group, c)
		}
	}
	if list, err := w.Generate(t.Context(), w.linker, nil, w.caller); err != nil || len(list) != 1 {
		t.Errorf("generateConfigurations = %v, %v", list, err)
	}
}

// Who moves a target is not who gave the connection's login: it is sent where it
// was given for, and nowhere else until it is given again.
func TestAGivenLoginIsNotSentWhereItsTargetIsMoved(t *testing.T) {
	for _, place := range []string{"linker", "connector"} {
		t.Run(place, func(t *testing.T) {
			w := newWorld(t)
			w.register(patchbay.Resource{ID: w.redis(), Endpoint: "redis://" + w.away.listener.Addr().String()}, nil)
			if place == "connector" {
				w.local("dev")
			}
			w.away.accept("dba", "given-pass", true)
			w.want(w.put(w.cache(givenAuth("dba", "given-pass"))), patchbay.Done, "")
			w.want(w.put(w.cache(givenAuth("dba", ""))), patchbay.Done, "") // kept
			evil, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = evil.Close() })
			w.away.listener = evil
			w.register(patchbay.Resource{ID: w.redis(), Endpoint: "redis://" + evil.Addr().String()}, nil)
			tried, before := w.away.tried(), w.app.read()
			w.want(w.put(w.cache(givenAuth("dba", ""))), patchbay.Undone, patchbay.Conflict)
			w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true})), patchbay.Undone, patchbay.Conflict)
			if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Failure || c.Fix == "" {
				t.Errorf("authentication = %+v", c)
			}
			if n := w.away.tried() - tried; n > 0 || !maps.Equal(w.app.read(), before) {
				t.Errorf("it was sent %d times; the source has %v", n, w.app.read())
			}
			w.want(w.put(w.cache(givenAuth("dba", "given-pass"))), patchbay.Done, "")
			w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true})), patchbay.Done, "")
		})
	}
}

// Where a login goes is more than the first server's address.
func TestAGivenLoginStaysWithTheWholeOfWhereItsTargetWas(t *testing.T) {
	for what, c := range map[string]struct {
		was, is map[string]string
		code    patchbay.Code
	}{
		"one of several servers": {map[string]string{"servers": "a:9092,b:9092"}, map[string]string{"servers": "a:9092,evil:9092"}, patchbay.Conflict},
		"one of several URLs":    {map[string]string{"endpoints": "https://a:2379,https://b:2379"}, map[string]string{"endpoints": "https://a:2379,https://evil:2379"}, patchbay.Conflict},
		"a host without a port":  {map[string]string{"host": "a", "database": "x"}, map[string]string{"host": "evil", "database": "x"}, patchbay.Conflict},
		"without TLS":            {map[string]string{"host": "a", "ssl": "true"}, map[string]string{"host": "a", "ssl": "false"}, patchbay.Conflict},
		"a second endpoint":      {map[string]string{"endpoint": "a", "openaiEndpoint": "b"}, map[string]string{"endpoint": "a", "openaiEndpoint": "evil"}, patchbay.Conflict},
		"another cloud":          {map[string]string{"account": "a", "suffix": "b"}, map[string]string{"account": "a", "suffix": "evil"}, patchbay.Conflict},
		"another kind of place":  {map[string]string{"host": "a"}, map[string]string{"url": "evil"}, patchbay.Conflict},
		"nowhere":                {map[string]string{"host": "a"}, nil, patchbay.Conflict},
		"another database":       {map[string]string{"host": "a", "database": "x"}, map[string]string{"host": "a", "database": "y"}, ""},
		"another vhost":          {map[string]string{"host": "a", "vhost": "x"}, map[string]string{"host": "a", "vhost": "y"}, ""},
		"another driver":         {map[string]string{"host": "a", "port": "1", "ssl": "false"}, map[string]string{"host": "a", "port": "1", "sslmode": "disable"}, ""},
	} {
		h := holding{LoginKind: loginGiven, Where: whereIs(c.was)}
		if err := h.stays(patchbay.Connection{}, c.was); err != nil {
			t.Errorf("%s, not moved: %v", what, err)
		}
		if err := h.stays(patchbay.Connection{}, c.is); patchbay.CodeOf(err) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Every value that says where some kind is counts, but for which part of it.
	parts := []string{"database", "keyspace", "graph", "bucket", "vhost"}
	for _, name := range whereabouts {
		if !slices.Contains(sentTo, name) && !slices.Contains(parts, name) {
			t.Errorf("%s says where a target is, and counts for nothing", name)
		}
	}
}
