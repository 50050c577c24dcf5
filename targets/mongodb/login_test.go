package mongodb_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mongodb"
)

func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, mongodb.Driver(), c)
}

// request is one with its credential.
func request(t testing.TB, target driver.Administrator, uid string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/it's {$where: 1}"},
		Name: "pb_" + uid + "_g1", Sub: "shop", Auth: patchbay.AuthSecret, Access: access,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

func made(t testing.TB, target driver.Administrator, uid string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, access)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t *testing.T, err error, want patchbay.Code, words ...string) *patchbay.Error {
	t.Helper()
	if patchbay.CodeOf(err) != want {
		t.Fatalf("%v, want %s", err, want)
	}
	e := patchbay.AsError(err)
	for _, word := range words {
		if !strings.Contains(e.Message+" "+e.Fix, word) {
			t.Errorf("%s / %s: nothing of %q", e.Message, e.Fix, word)
		}
	}
	return e
}

func probe(t *testing.T, target drivertest.Opened, c driver.Config, r driver.LoginRequest) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: c.Dialer, Sub: r.Sub, Access: r.Access})
}

// user is one that somebody made by hand.
func user(t testing.TB, set *testenv.MongoSet, sub, name string, data any) {
	t.Helper()
	command := bson.D{{Key: "createUser", Value: name}, {Key: "pwd", Value: "theirs"}, {Key: "roles", Value: bson.A{"read"}}}
	if data != nil {
		command = append(command, bson.E{Key: "customData", Value: data})
	}
	super(t, set, sub, command)
}

func TestNamesAndMarksThatAreOnlyLikeOursAreLeftAlone(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	target := opened(t, register(set, nil))
	r := made(t, target, "like", patchbay.Owner)
	own := bson.D{{Key: "login", Value: r.Name}, {Key: "uid", Value: "like"}, {Key: "generation", Value: int64(1)}, {Key: "connection", Value: string(r.Mark.Connection)}}
	decoys := map[string]any{
		"pb_like_g10": nil, "pb_like_g1x": nil, "xpb_like_g1": nil, "PB_LIKE_G1": nil, "pb_like": bson.D{},
		"a copy":     bson.D{{Key: "patchbay", Value: own}}, // of our mark on another user
		"a text":     bson.D{{Key: "patchbay", Value: "like"}},
		"pb_like_g2": bson.D{{Key: "patchbay", Value: bson.D{{Key: "login", Value: "pb_like_g2"}, {Key: "uid", Value: "like"}, {Key: "generation", Value: "2"}, {Key: "connection", Value: ""}}}},
		"pb_like_g3": bson.D{{Key: "patchbay", Value: bson.D{{Key: "login", Value: "pb_like_g3"}, {Key: "uid", Value: "like"}, {Key: "generation", Value: int64(3)}}}},
		"pb_like_g4": bson.D{{Key: "patchbay", Value: bson.D{{Key: "login", Value: "pb_like_g4"}, {Key: "uid", Value: "like*"}, {Key: "generation", Value: int64(4)}, {Key: "connection", Value: ""}}}},
	}
	before := map[string]string{}
	for name, data := range decoys {
		user(t, set, "shop", name, data)
		before[name] = userOf(t, set, "shop", name)
	}
	// The same name in another database is somebody else's.
	user(t, set, "billing", r.Name, nil)
	elsewhere := userOf(t, set, "billing", r.Name)

	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0] != (driver.Owned{Mark: r.Mark, Name: r.Name, Sub: "shop"}) {
		t.Errorf("%+v, %v", owned, err)
	}
	for i, name := range []string{"pb_like_g2", "pb_like_g3", "pb_like_g4"} {
		other := r
		other.Name, other.Mark.Generation = name, int64(i+2)
		_ = wantCode(t, target.EnsureLogin(t.Context(), other), patchbay.NotOurs, name)
		_ = wantCode(t, target.RemoveLogin(t.Context(), other), patchbay.NotOurs, name)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, was := range before {
		if now := userOf(t, set, "shop", name); now != was {
			t.Errorf("%q was %s, and is %s", name, was, now)
		}
	}
	if now := userOf(t, set, "billing", r.Name); now != elsewhere {
		t.Errorf("the user of another database was %s, and is %s", elsewhere, now)
	}
}

func TestARaceForTheNameIsLost(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	target := opened(t, register(set, nil))
	r := request(t, target, "race", patchbay.Writer)
	set.Before("createUser", func() error { user(t, set, "shop", r.Name, nil); return nil })
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.NotOurs, "nothing of it was touched")
	if now := userOf(t, set, "shop", r.Name); !strings.Contains(now, `"role":"read"`) || strings.Contains(now, "readWrite") {
		t.Errorf("somebody else's user is %s", now)
	}
	super(t, set, "shop", bson.D{{Key: "dropUser", Value: r.Name}})
	// One of ours that goes in the moment of its repair is made anew.
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	set.Before("updateUser", func() error { super(t, set, "shop", bson.D{{Key: "dropUser", Value: r.Name}}); return nil })
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestRequestsThatCanNotBeMetAreRefusedAtOnce(t *testing.T) {
	target := opened(t, register(model(t, testenv.MongoOptions{}), nil))
	good := request(t, target, "strict", patchbay.Writer)
	for name, change := range map[string]func(*driver.LoginRequest){
		"no database":                func(r *driver.LoginRequest) { r.Sub = "" },
		"the server's own":           func(r *driver.LoginRequest) { r.Sub = "admin" },
		"another of the server's":    func(r *driver.LoginRequest) { r.Sub = "Config" },
		"external":                   func(r *driver.LoginRequest) { r.Sub = "$external" },
		"a dot":                      func(r *driver.LoginRequest) { r.Sub = "shop.things" },
		"a space":                    func(r *driver.LoginRequest) { r.Sub = "my shop" },
		"a zero byte":                func(r *driver.LoginRequest) { r.Sub = "shop\x00" },
		"too long a database":        func(r *driver.LoginRequest) { r.Sub = strings.Repeat("ü", 32) },
		"no mark":                    func(r *driver.LoginRequest) { r.Mark = driver.Mark{} },
		"a name of nobody's":         func(r *driver.LoginRequest) { r.Name = "pb_*" },
		"an option":                  func(r *driver.LoginRequest) { r.Options = map[string]string{"collections": "x"} },
		"an access that there isn't": func(r *driver.LoginRequest) { r.Access = "root" },
		"a role with a zero byte":    func(r *driver.LoginRequest) { r.Roles = []string{"a\x00"} },
		"a source that is none":      func(r *driver.LoginRequest) { r.Sources = []netip.Prefix{{}} },
		"no password":                func(r *driver.LoginRequest) { r.Credential.Secret = nil },
	} {
		r := good
		change(&r)
		if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := good
	r.Auth = patchbay.AuthUserIdentity
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.NotSupported)
}

func TestRolesThatAreAskedFor(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	c := register(set, nil)
	target := opened(t, c)
	privilege := func(db, collection string, actions ...string) bson.D {
		return bson.D{{Key: "resource", Value: bson.D{{Key: "db", Value: db}, {Key: "collection", Value: collection}}}, {Key: "actions", Value: actions}}
	}
	role := func(name string, roles bson.A, privileges ...bson.D) {
		super(t, set, "shop", bson.D{{Key: "createRole", Value: name}, {Key: "privileges", Value: privileges}, {Key: "roles", Value: roles}})
	}
	role("orders", bson.A{}, privilege("shop", "things", "find", "insert"))
	role("users", bson.A{}, privilege("shop", "", "find", "grantRole"))
	role("elsewhere", bson.A{}, privilege("billing", "", "find"))
	role("anywhere", bson.A{}, privilege("", "", "find"))
	role("inherits", bson.A{bson.D{{Key: "role", Value: "userAdmin"}, {Key: "db", Value: "shop"}}})
	role("cluster", bson.A{}, bson.D{{Key: "resource", Value: bson.D{{Key: "cluster", Value: true}}}, {Key: "actions", Value: bson.A{"serverStatus"}}})

	r := request(t, target, "roles", patchbay.Reader)
	r.Roles = []string{"orders", "orders"}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Fatalf("%+v, %v", state, err)
	}
	for name, want := range map[string]error{"things": nil, "others": drivertest.ErrRefused} {
		err := as(set, func(ctx context.Context, c *mongo.Client, sub string) error {
			return c.Database(sub).RunCommand(ctx, bson.D{{Key: "find", Value: name}}).Err()
		})(t.Context(), "shop", r.Credential)
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("read %s: %v", name, err)
		}
	}
	signsIn := driver.ProbeRequest{Credential: r.Credential, Dialer: c.Dialer, Sub: r.Sub} // of roles nobody knows what they allow
	if _, err := target.Probe(t.Context(), signsIn); err != nil {
		t.Error(err)
	}
	for name, words := range map[string]string{
		"users": "administration of users: grantRole", "elsewhere": "the database billing", "anywhere": "every database", "cluster": "the cluster",
		"inherits": "administration of users", "dbOwner": "administration of users", "userAdmin": "administration of users", "nobody's": "has no role",
	} {
		bad := request(t, target, "bad", patchbay.Reader)
		bad.Roles = []string{"read", name}
		_ = wantCode(t, target.EnsureLogin(t.Context(), bad), patchbay.InvalidArgument, words)
		if userOf(t, set, "shop", bad.Name) != "" {
			t.Errorf("%s: it was made", name)
		}
	}
	// A role that comes to reach further is found.
	super(t, set, "shop", bson.D{{Key: "revokeRolesFromUser", Value: r.Name}, {Key: "roles", Value: bson.A{"orders"}}})
	super(t, set, "shop", bson.D{{Key: "grantRolesToUser", Value: r.Name}, {Key: "roles", Value: bson.A{"elsewhere"}}})
	r.Roles = []string{"elsewhere"}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Excess) != 1 || !strings.Contains(state.Excess[0], "billing") {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestSourcesAreReadBackAsTheServerTellsThem(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	target := opened(t, register(set, nil))
	r := request(t, target, "from", patchbay.Reader)
	for _, text := range []string{"192.0.2.7/24", "::ffff:198.51.100.1/128", "2001:db8::5/64", "203.0.113.9/32", "192.0.2.0/24"} {
		r.Sources = append(r.Sources, netip.MustParsePrefix(text))
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if now := userOf(t, set, "shop", r.Name); !strings.Contains(now, `["192.0.2.0/24","198.51.100.1/32","2001:db8::/64","203.0.113.9/32"]`) {
		t.Errorf("%s", now)
	}
	restrict := func(restrictions ...bson.D) {
		super(t, set, "shop", bson.D{{Key: "updateUser", Value: r.Name}, {Key: "authenticationRestrictions", Value: restrictions}})
	}
	from := func(sources ...string) bson.D { return bson.D{{Key: "clientSource", Value: sources}} }
	all := []string{"192.0.2.0/24", "198.51.100.1", "2001:db8::/64", "203.0.113.9"}
	for name, c := range map[string]struct {
		have            []bson.D
		missing, excess int
	}{
		"whole":                 {[]bson.D{from(all...)}, 0, 0},
		"one less":              {[]bson.D{from(all[1:]...)}, 1, 0},
		"one more":              {[]bson.D{from(append(slices.Clone(all), "10.0.0.0/8")...)}, 0, 1},
		"a wider one":           {[]bson.D{from("192.0.0.0/16", all[1], all[2], all[3])}, 1, 1},
		"none":                  {nil, 0, 1},
		"two":                   {[]bson.D{from(all...), from("0.0.0.0/0")}, 0, 1},
		"to an address as well": {[]bson.D{append(from(all...), bson.E{Key: "serverAddress", Value: bson.A{"127.0.0.1"}})}, 1, 0},
		"to an address alone":   {[]bson.D{{{Key: "serverAddress", Value: bson.A{"127.0.0.1"}}}}, 5, 1},
	} {
		restrict(c.have...)
		state, err := target.InspectLogin(t.Context(), r)
		if err != nil || len(state.Missing) != c.missing || len(state.Excess) != c.excess {
			t.Errorf("%s: %+v, %v", name, state, err)
		}
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestARemovalEndsWhatIsUnderWay(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	target := opened(t, register(set, nil))
	r, other := made(t, target, "busy", patchbay.Reader), made(t, target, "busyx", patchbay.Reader)
	sleep := func(r driver.LoginRequest) chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- as(set, func(ctx context.Context, c *mongo.Client, sub string) error {
				return c.Database(sub).RunCommand(ctx, bson.D{{Key: "find", Value: "things"}, {Key: "filter", Value: bson.D{{Key: "$where", Value: 20_000}}}}).Err()
			})(context.Background(), "shop", r.Credential)
		}()
		return ended
	}
	ours, theirs := sleep(r), sleep(other)
	if err := set.Sleeping(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ours:
		if said := (mongo.CommandError{}); !errors.As(err, &said) || said.Code != 11601 {
			t.Errorf("the operation of the removed login ends with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the operation of the removed login goes on")
	}
	select {
	case err := <-theirs:
		t.Errorf("somebody else's operation was ended: %v", err)
	default:
	}
	// A removal that came no further than the drop ends it the next time.
	set.Before("killAllSessions", func() error { return errors.New("the line is cut") })
	if err := target.RemoveLogin(t.Context(), other); !patchbay.IsTransient(err) {
		t.Fatalf("%v", err)
	}
	if err := target.RemoveLogin(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-theirs:
		if err == nil {
			t.Error("the operation of the removed login ends as if it were not")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the operation of the removed login goes on")
	}
}

func TestGivenLoginsSayWhoseUserTheyAre(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	c := register(set, nil)
	target := opened(t, c)
	super(t, set, "admin", bson.D{{Key: "createUser", Value: "app, =x"}, {Key: "pwd", Value: "pässword/@:"}, {Key: "roles", Value: bson.A{"read"}}})
	user(t, set, "shop", "local", nil)
	for name, password := range map[string]string{"admin/app, =x": "pässword/@:", "local": "theirs", "shop/local": "theirs"} {
		credential, err := target.Administrator.(driver.GivenLogins).Given("shop", name, patchbay.NewSecret(password))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: credential, Dialer: c.Dialer, Sub: "shop"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		credential.Secret = driver.Secrets{"password": patchbay.NewSecret("wrong")}
		_, err = target.Probe(t.Context(), driver.ProbeRequest{Credential: credential, Dialer: c.Dialer, Sub: "shop"})
		_ = wantCode(t, err, patchbay.LoginRefused)
	}
	if _, err := target.Administrator.(driver.GivenLogins).Given("shop", "", patchbay.NewSecret("x")); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Error(err)
	}
}

// A thousand logins of others cost a call nothing, and the list is one request.
func BenchmarkALoginAmongAThousand(b *testing.B) {
	set := model(b, testenv.MongoOptions{})
	target := opened(b, register(set, nil))
	for i := range 1000 {
		user(b, set, "shop", fmt.Sprintf("other%d", i), nil)
	}
	r := made(b, target, "among", patchbay.Writer)
	for b.Loop() {
		if err := target.EnsureLogin(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
