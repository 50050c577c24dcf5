package mongodb_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mongodb"
)

func whole(t *testing.T, target driver.Administrator, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Fatalf("%+v, %v", state, err)
	}
}

// names resolves what members call each other.
type names struct {
	mu    sync.Mutex
	to    map[string]string
	asked []string
}

func (n *names) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.asked = append(n.asked, address)
	at, ok := n.to[address]
	n.mu.Unlock()
	if !ok {
		at = address
	}
	return new(net.Dialer).DialContext(ctx, network, at)
}

func TestAReplicaSetIsAdministeredAtItsPrimary(t *testing.T) {
	called := []string{"mongo1.internal:27017", "mongo2.internal:27017", "mongo3.internal:27017"}
	set := model(t, testenv.MongoOptions{Members: 3, Names: called})
	d := &names{to: map[string]string{}}
	for i, name := range called {
		d.to[name] = set.Servers[i].Addr()
	}
	c := register(set, nil)
	c.Dialer = d
	c.Endpoint = called[0] // one of three, which is a secondary soon
	target := opened(t, c)
	r := made(t, target, "set", patchbay.Writer)

	info, err := target.Inspect(t.Context(), "shop")
	if err != nil || info.Values["replicaSet"] != "rs0" || info.Values["servers"] != called[0] || info.Values["directConnection"] != "" || len(info.Warnings) > 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	for next := range 3 {
		set.StepDown(next)
		whole(t, target, r)
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if result, err := probe(t, target, c, r); err != nil || len(result.NotChecked) > 0 {
			t.Fatalf("%+v, %v", result, err)
		}
	}
	// A primary that steps down in the middle.
	for command, call := range map[string]func() error{
		"createUser": func() error { return target.EnsureLogin(t.Context(), request(t, target, "another", patchbay.Reader)) },
		"updateUser": func() error { return target.EnsureLogin(t.Context(), r) },
		"dropUser":   func() error { return target.RemoveLogin(t.Context(), r) },
	} {
		for _, code := range []int32{10107, 189, 11602, 91, 100} {
			set.Fail(command, 1, code, false)
			if err := call(); !patchbay.IsTransient(err) {
				t.Errorf("%s with %d: %v", command, code, err)
			}
		}
		set.FailConcern(command, 64) // it is done, and not by enough members in time
		if err := call(); !patchbay.IsTransient(err) {
			t.Errorf("%s without a majority: %v", command, err)
		}
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	set.StepDown(-1)
	err = target.EnsureLogin(t.Context(), r)
	if e := wantCode(t, err, patchbay.TargetUnreachable, "no primary", "rs.status()"); !e.Transient {
		t.Error("it is not transient")
	}
	set.StepDown(1)
	// A member that is down is no reason to stop, when others answer.
	c.Endpoint = strings.Join(called, ",")
	target = opened(t, c)
	set.Servers[0].Down(true)
	r = made(t, target, "down", patchbay.Reader)
	whole(t, target, r)
	if _, err := probe(t, target, c, r); err != nil {
		t.Error(err)
	}
}

func TestSessionsOnEveryMemberAreCountedAndEnded(t *testing.T) {
	set := model(t, testenv.MongoOptions{Members: 2})
	target := opened(t, register(set, nil))
	r := made(t, target, "members", patchbay.Reader)
	for _, primary := range []int{0, 1} {
		set.StepDown(primary)
		c, err := application(set, r.Credential)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
		if err := c.Database("shop").RunCommand(t.Context(), bson.D{{Key: "find", Value: "things"}}).Err(); err != nil {
			t.Fatal(err)
		}
		if primary == 0 {
			continue
		}
		go func() {
			set.StepDown(0) // it sleeps on a secondary
			_ = c.Database("shop").RunCommand(context.Background(), bson.D{{Key: "find", Value: "things"}, {Key: "filter", Value: bson.D{{Key: "$where", Value: 20_000}}}}).Err()
		}()
	}
	if err := set.Sleeping(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || state.Sessions != 2 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*1e9)
	defer cancel()
	if err := set.Sleeping(ctx, 0); err != nil {
		t.Error(err)
	}
}

func TestMembersWhoseNamesAreNotKnown(t *testing.T) {
	set := model(t, testenv.MongoOptions{Members: 2, Names: []string{"a.invalid:27017", "b.invalid:27017"}})
	c := register(set, nil)
	c.Endpoint = set.Servers[0].Addr()
	info, err := opened(t, c).Inspect(t.Context(), "shop")
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "a.invalid:27017, b.invalid:27017") || !strings.Contains(info.Warnings[0], "directConnection") {
		t.Fatalf("%+v, %v", info, err)
	}
	direct := register(set, map[string]any{"directConnection": true})
	direct.Endpoint = c.Endpoint
	target := opened(t, direct)
	if info, err = target.Inspect(t.Context(), "shop"); err != nil || len(info.Warnings) > 0 || info.Values["directConnection"] != "true" || info.Values["replicaSet"] != "" {
		t.Fatalf("%+v, %v", info, err)
	}
	r := made(t, target, "direct", patchbay.Writer)
	whole(t, target, r)
	if _, err := probe(t, target, direct, r); err != nil {
		t.Error(err)
	}
	set.StepDown(1)
	e := wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.TargetUnreachable, "no primary", "directConnection")
	if !e.Transient {
		t.Error("it is not transient")
	}
}

func TestAMongosIsAskedAsItIs(t *testing.T) {
	set := model(t, testenv.MongoOptions{Router: true})
	target := opened(t, register(set, nil))
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil || info.Values["replicaSet"] != "" || !slices.ContainsFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "userCacheInvalidationIntervalSecs") }) {
		t.Fatalf("%+v, %v", info, err)
	}
	whole(t, target, made(t, target, "router", patchbay.Owner))
}

func TestWithTLS(t *testing.T) {
	set := model(t, testenv.MongoOptions{TLS: true})
	_, port, err := net.SplitHostPort(set.Addr())
	if err != nil {
		t.Fatal(err)
	}
	good := register(set, nil)
	target := opened(t, good)
	r := made(t, target, "secured", patchbay.Writer)
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil || !strings.HasPrefix(info.TLS, "TLS 1.") || info.Values["ca"] != string(set.CA) || info.Values["sslmode"] != "verify-full" {
		t.Fatalf("%+v, %v", info, err)
	}
	if result, err := probe(t, target, good, r); err != nil || result.TLS == "" {
		t.Fatalf("%+v, %v", result, err)
	}
	other, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	d := &names{to: map[string]string{"mongo.internal:" + port: set.Addr()}}
	for name, c := range map[string]struct {
		more     map[string]any
		endpoint string
		code     patchbay.Code
		words    string
	}{
		"no authority":      {map[string]any{"ca": ""}, "", patchbay.CertificateInvalid, "the property ca"},
		"another authority": {map[string]any{"ca": string(other.PEM())}, "", patchbay.CertificateInvalid, "the property ca"},
		"another name":      {nil, "mongo.internal:" + port, patchbay.CertificateInvalid, "for another name"},
		"in the clear":      {map[string]any{"ca": "", "sslmode": "disable"}, "", patchbay.TargetUnreachable, "without sslmode disable"},
		"for whom it may":   {map[string]any{"sslmode": "verify-ca"}, "mongo.internal:" + port, "ok", ""},
		"of whomever":       {map[string]any{"ca": string(other.PEM()), "sslmode": "verify-ca"}, "", patchbay.CertificateInvalid, "the property ca"},
		"unchecked":         {map[string]any{"ca": "", "sslmode": "require"}, "mongo.internal:" + port, "", ""},
	} {
		registration := register(set, c.more)
		registration.Dialer = d
		if c.endpoint != "" {
			registration.Endpoint = c.endpoint
		}
		info, err := opened(t, registration).Inspect(t.Context(), "shop")
		if c.code == "ok" {
			if err != nil || len(info.Warnings) > 0 {
				t.Errorf("%s: %+v, %v", name, info, err)
			}
		} else if c.code != "" {
			_ = wantCode(t, err, c.code, c.words)
		} else if err != nil || info.Values["sslmode"] != "require" || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "not checked who answers") {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	plain := model(t, testenv.MongoOptions{})
	c := register(plain, map[string]any{"sslmode": "verify-full"})
	_, err = opened(t, c).Inspect(t.Context(), "shop")
	_ = wantCode(t, err, patchbay.CodeOf(err), "sslmode disable")
}

func TestClientCertificates(t *testing.T) {
	set := model(t, testenv.MongoOptions{TLS: true, ClientCerts: true})
	_, err := opened(t, register(set, nil)).Inspect(t.Context(), "shop")
	_ = wantCode(t, err, patchbay.CertificateInvalid, "wants a certificate of its clients", "allowConnectionsWithoutCertificates")

	set = model(t, testenv.MongoOptions{TLS: true})
	cert, key, err := set.Certificate("patchbay")
	if err != nil {
		t.Fatal(err)
	}
	c := register(set, nil)
	c.Admin = driver.Secrets{"clientCert": patchbay.NewSecret(string(cert)), "clientKey": patchbay.NewSecret(string(key))}
	target := opened(t, c)
	r := made(t, target, "x509", patchbay.Owner)
	whole(t, target, r)
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	super(t, set, "$external", bson.D{{Key: "dropUser", Value: "CN=patchbay"}})
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.AdminRefused, "the administrator's certificate")
	// With a password too, that is what signs in.
	c.Admin["username"], c.Admin["password"] = patchbay.NewSecret(set.Admin), patchbay.NewSecret(set.Password)
	whole(t, opened(t, c), made(t, opened(t, c), "both", patchbay.Reader))
	for name, change := range map[string]func(*driver.Config){
		"in the clear":        func(c *driver.Config) { c.Properties = []byte(`{"sslmode":"disable"}`); delete(c.Admin, "password") },
		"no key":              func(c *driver.Config) { c.Admin = driver.Secrets{"clientCert": patchbay.NewSecret(string(cert))} },
		"a key of nobody's":   func(c *driver.Config) { c.Admin["clientKey"] = patchbay.NewSecret("x") },
		"a name, no password": func(c *driver.Config) { delete(c.Admin, "password") },
	} {
		bad := c
		bad.Admin = driver.Secrets{"clientCert": patchbay.NewSecret(string(cert)), "clientKey": patchbay.NewSecret(string(key)), "username": patchbay.NewSecret("x"), "password": patchbay.NewSecret("y")}
		change(&bad)
		if _, err := mongodb.Driver().Open(t.Context(), bad); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRegistrationsThatCanNotBe(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	for endpoint, words := range map[string]string{
		"mongodb+srv://cluster.example":        "a name server",
		"mongodb://app:pw@db.example":          "login",
		"mongodb://db.example/shop":            "behind host and port",
		"mongodb://db.example/?replicaSet=rs0": "parameters",
		"redis://db.example":                   "scheme",
		"":                                     "empty",
		"mongodb://db.example:0":               "port",
	} {
		c := register(set, nil)
		c.Endpoint = endpoint
		_, err := mongodb.Driver().Open(t.Context(), c)
		_ = wantCode(t, err, patchbay.InvalidArgument, words)
	}
	for _, more := range []map[string]any{
		{"sslmode": "prefer"}, {"sslmode": "require", "ca": string(set.CA) + "x"}, {"sslmode": "disable", "ca": "x"}, {"sslmode": "", "ca": "x"}, {"directConnection": "yes"},
	} {
		if _, err := mongodb.Driver().Open(t.Context(), register(set, more)); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%v: %v", more, err)
		}
	}
	two := register(set, map[string]any{"directConnection": true})
	two.Endpoint = "a,b"
	_, err := mongodb.Driver().Open(t.Context(), two)
	_ = wantCode(t, err, patchbay.InvalidArgument, "one server")
	v6 := register(set, nil)
	v6.Endpoint, v6.Dialer = "[2001:db8::1],mongodb://[2001:db8::2]:27018,a", &names{to: map[string]string{"[2001:db8::1]:27017": set.Addr()}}
	info, err := opened(t, v6).Inspect(t.Context(), "shop")
	if err != nil || info.Values["servers"] != "[2001:db8::1]:27017,[2001:db8::2]:27018,a:27017" {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestServersThatAreNoTarget(t *testing.T) {
	set := model(t, testenv.MongoOptions{NoAuth: true})
	_, err := opened(t, register(set, nil)).Inspect(t.Context(), "shop")
	_ = wantCode(t, err, patchbay.NotSupported, "access control is not enabled", "security.authorization")
}

func TestAnAdministratorThatMayLess(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	role := func(name, db string) bson.D { return bson.D{{Key: "role", Value: name}, {Key: "db", Value: db}} }
	admin := func(name string, roles ...bson.D) driver.Config {
		super(t, set, "admin", bson.D{{Key: "createUser", Value: name}, {Key: "pwd", Value: "0123456789abcdef"}, {Key: "roles", Value: roles}})
		c := register(set, nil)
		c.Admin = driver.Secrets{"username": patchbay.NewSecret(name), "password": patchbay.NewSecret("0123456789abcdef")}
		return c
	}
	// One database's, which is all that it needs.
	c := admin("of shop", role("userAdmin", "shop"))
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "inprog, killAnySession, killop") {
		t.Fatalf("%+v, %v", info, err)
	}
	_, err = target.Inspect(t.Context(), "billing")
	_ = wantCode(t, err, patchbay.AdminRights, "createUser", `{role: "userAdmin", db: "billing"}`)
	r := made(t, target, "less", patchbay.Writer)
	whole(t, target, r)
	super(t, set, "shop", bson.D{{Key: "updateUser", Value: r.Name}, {Key: "roles", Value: bson.A{"read", "dbOwner"}}})
	if err := target.EnsureLogin(t.Context(), r); err != nil { // without the right to revoke everywhere
		t.Fatal(err)
	}
	whole(t, target, r)
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Sub != "shop" {
		t.Errorf("%+v, %v", owned, err)
	}
	elsewhere := r
	elsewhere.Sub = "billing"
	e := wantCode(t, target.EnsureLogin(t.Context(), elsewhere), patchbay.AdminRights, "userAdmin")
	if e.Said == "" {
		t.Error("nothing of what the server said")
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// Its rights are taken away between two calls.
	r = made(t, target, "taken", patchbay.Writer)
	super(t, set, "admin", bson.D{{Key: "revokeRolesFromUser", Value: "of shop"}, {Key: "roles", Value: bson.A{role("userAdmin", "shop")}}})
	for name, call := range map[string]func() error{
		"EnsureLogin":  func() error { return target.EnsureLogin(t.Context(), r) },
		"InspectLogin": func() error { _, err := target.InspectLogin(t.Context(), r); return err },
		"RemoveLogin":  func() error { return target.RemoveLogin(t.Context(), r) },
	} {
		if err := call(); patchbay.CodeOf(err) != patchbay.AdminRights || patchbay.IsTransient(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) > 0 {
		t.Errorf("%+v, %v", owned, err)
	}
	// It may look everywhere, but not list all at once.
	everywhere := opened(t, admin("everywhere", role("userAdminAnyDatabase", "admin")))
	if owned, err := everywhere.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Name != r.Name {
		t.Errorf("%+v, %v", owned, err)
	}
	if err := everywhere.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// It is gone, or has another password.
	super(t, set, "admin", bson.D{{Key: "updateUser", Value: "of shop"}, {Key: "pwd", Value: "another-0123456789"}})
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.AdminRefused, "refuses", "authentication restrictions")
	super(t, set, "admin", bson.D{{Key: "dropUser", Value: "of shop"}})
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.AdminRefused)
	c.Admin["database"] = patchbay.NewSecret("shop")
	_ = wantCode(t, opened(t, c).EnsureLogin(t.Context(), r), patchbay.AdminRefused, `of the database "shop"`)
}

func TestWhatAServerRefusesIsSaidForWhatItIs(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	target := opened(t, register(set, nil))
	for _, c := range []struct {
		command   string
		code      int32
		want      patchbay.Code
		transient bool
		words     string
	}{
		{"createUser", 8000, patchbay.NotSupported, false, "external"},
		{"createUser", 59, patchbay.NotSupported, false, "external"},
		{"createUser", 238, patchbay.NotSupported, false, "external"},
		{"createUser", 40415, patchbay.NotSupported, false, "external"},
		{"createUser", 31, patchbay.NotSupported, false, "readWrite on shop"},
		{"createUser", 13, patchbay.AdminRights, false, "userAdmin"},
		{"createUser", 50, patchbay.TargetUnreachable, true, "error 50"},
		{"createUser", 4242, patchbay.TargetUnreachable, true, "error 4242"},
		{"usersInfo", 10107, patchbay.TargetUnreachable, true, "not the primary"},
		{"saslStart", 18, patchbay.AdminRefused, false, "refuses"},
		{"saslStart", 91, patchbay.TargetUnreachable, true, "error 91"},
		{"saslContinue", 18, patchbay.AdminRefused, false, "refuses"},
		{"hello", 59, patchbay.NotSupported, false, "older than MongoDB"},
		{"hello", 91, patchbay.TargetUnreachable, true, "error 91"},
	} {
		set.Fail(c.command, 1, c.code, false)
		r := request(t, target, "refused", patchbay.Writer)
		e := wantCode(t, target.EnsureLogin(t.Context(), r), c.want, c.words)
		if e.Transient != c.transient || strings.Contains(fmt.Sprintf("%v %+v %s", e, e, e.Fix), "as the test wishes") {
			t.Errorf("%s with %d: %+v", c.command, c.code, e)
		}
	}
	// What was done, and answered with an error, is found to be done.
	r := request(t, target, "done", patchbay.Writer)
	set.Fail("createUser", 1, 11602, true)
	if err := target.EnsureLogin(t.Context(), r); !patchbay.IsTransient(err) {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	whole(t, target, r)
	set.Fail("dropUser", 1, 11602, true)
	if err := target.RemoveLogin(t.Context(), r); !patchbay.IsTransient(err) {
		t.Fatal(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestADatabaseThatIsNotThereYet(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	c := register(set, nil)
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "new")
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "no database new yet") || info.Values["database"] != "new" {
		t.Fatalf("%+v, %v", info, err)
	}
	r := request(t, target, "new", patchbay.Owner)
	r.Sub = "new"
	r.Credential, err = target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := probe(t, target, c, r); err != nil {
		t.Error(err)
	}
	if names := super(t, set, "admin", bson.D{{Key: "listDatabases", Value: 1}}); strings.Contains(fmt.Sprint(names), "new") {
		t.Error("the probe made the database")
	}
}
