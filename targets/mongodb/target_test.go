package mongodb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mongodb"
)

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		os.Exit(goProgram())
	}
	os.Exit(m.Run())
}

// register is a model as a target, with more properties.
func register(set *testenv.MongoSet, more map[string]any) driver.Config {
	p := map[string]any{"sslmode": "disable"}
	if set.CA != nil {
		p = map[string]any{"ca": string(set.CA)}
	}
	maps.Copy(p, more)
	properties, err := json.Marshal(p)
	if err != nil {
		panic(err) // the test's own mistake
	}
	var servers []string
	for _, s := range set.Servers {
		servers = append(servers, s.Addr())
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/mongodbServers/docs",
		Endpoint: "mongodb://" + strings.Join(servers, ","), Properties: properties,
		Admin:  driver.Secrets{"username": patchbay.NewSecret(set.Admin), "password": patchbay.NewSecret(set.Password)},
		Dialer: &net.Dialer{},
	}
}

// model has the databases shop, billing and some with hostile names.
func model(t testing.TB, o testenv.MongoOptions) *testenv.MongoSet {
	t.Helper()
	set := testenv.Mongo(t, o)
	for _, db := range append([]string{"shop", "billing"}, hostileNames...) {
		super(t, set, db, bson.D{{Key: "insert", Value: "things"}, {Key: "documents", Value: bson.A{bson.D{{Key: "name", Value: "seed"}}}}})
	}
	return set
}

var hostileNames = []string{"it's", "a;b'--", "x%2Fy", "über@host:1", "a&authSource=admin#x", "line\nend", strings.Repeat("x", 63)}

func super(t testing.TB, set *testenv.MongoSet, db string, command bson.D) bson.D {
	t.Helper()
	reply, err := set.Do(db, command)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return reply
}

// application is MongoDB's own library, signed in with a login.
func application(set *testenv.MongoSet, c driver.Credential) (*mongo.Client, error) {
	o := options.Client().SetHosts([]string{set.Primary().Addr()}).SetDirect(true).SetMaxPoolSize(1).SetRetryReads(false).SetRetryWrites(false).
		SetServerSelectionTimeout(10 * time.Second).
		SetAuth(options.Credential{Username: c.Public["username"], AuthSource: c.Public["authSource"], Password: c.Secret["password"].Reveal(), PasswordSet: true})
	return mongo.Connect(o)
}

// refusal marks what the server itself said no to.
func refusal(err error) error {
	var said mongo.CommandError
	var wrote mongo.WriteException
	if errors.As(err, &said) && (said.Code == 13 || said.Code == 18) || errors.As(err, &wrote) && wrote.HasErrorCode(13) ||
		err != nil && strings.Contains(err.Error(), "Authentication failed") {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

// as does something as a login, with a connection of its own.
func as(set *testenv.MongoSet, do func(ctx context.Context, c *mongo.Client, sub string) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, sub string, login driver.Credential) error {
		c, err := application(set, login)
		if err != nil {
			return err
		}
		defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
		return refusal(do(ctx, c, sub))
	}
}

// session asks until it is refused.
type session struct {
	client *mongo.Client
	sub    string
}

func (s *session) Wait(ctx context.Context) error {
	for {
		err := refusal(s.client.Database(s.sub).RunCommand(ctx, bson.D{{Key: "find", Value: "things"}}).Err())
		switch {
		case errors.Is(err, drivertest.ErrRefused):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *session) Close() { _ = s.client.Disconnect(context.Background()) }

var (
	all     = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers = []patchbay.Access{patchbay.Writer, patchbay.Owner}
	owners  = []patchbay.Access{patchbay.Owner}
)

func actions(set *testenv.MongoSet) []drivertest.Action {
	in := func(db string, command bson.D) func(context.Context, *mongo.Client, string) error {
		return func(ctx context.Context, c *mongo.Client, sub string) error {
			name := db
			if name == "" {
				name = sub
			}
			err := c.Database(name).RunCommand(ctx, command).Err()
			if said := (mongo.CommandError{}); errors.As(err, &said) && said.Code == 26 { // it was allowed
				return nil
			}
			return err
		}
	}
	action := func(name string, allowed []patchbay.Access, db string, command bson.D) drivertest.Action {
		return drivertest.Action{Name: name, Allowed: allowed, Do: as(set, in(db, command))}
	}
	one := bson.A{bson.D{{Key: "name", Value: "x"}}}
	put := bson.D{{Key: "insert", Value: "things"}, {Key: "documents", Value: one}}
	find := bson.D{{Key: "find", Value: "things"}}
	roles := bson.A{bson.D{{Key: "role", Value: "root"}, {Key: "db", Value: "admin"}}}
	return []drivertest.Action{
		{Name: "read with the library", Allowed: all, Do: as(set, func(ctx context.Context, c *mongo.Client, sub string) error {
			return c.Database(sub).Collection("things").FindOne(ctx, bson.D{{Key: "name", Value: "seed"}}).Err()
		})},
		{Name: "list collections", Allowed: all, Do: as(set, func(ctx context.Context, c *mongo.Client, sub string) error {
			names, err := c.Database(sub).ListCollectionNames(ctx, bson.D{})
			if err == nil && !slices.Contains(names, "things") {
				err = fmt.Errorf("it lists %q", names)
			}
			return err
		})},
		{Name: "write with the library", Allowed: writers, Do: as(set, func(ctx context.Context, c *mongo.Client, sub string) error {
			things := c.Database(sub).Collection("mine")
			if _, err := things.InsertOne(ctx, bson.D{{Key: "name", Value: "mine"}}); err != nil {
				return err
			}
			if _, err := things.UpdateOne(ctx, bson.D{{Key: "name", Value: "mine"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 1}}}}); err != nil {
				return err
			}
			_, err := things.DeleteOne(ctx, bson.D{{Key: "name", Value: "mine"}})
			return err
		})},
		action("insert", writers, "", put),
		action("update", writers, "", bson.D{{Key: "update", Value: "things"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "y", Value: 1}}}}}}}}}),
		action("delete", writers, "", bson.D{{Key: "delete", Value: "things"}, {Key: "deletes", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "name", Value: "x"}}}, {Key: "limit", Value: 1}}}}}),
		action("make an index", writers, "", bson.D{{Key: "createIndexes", Value: "things"}, {Key: "indexes", Value: bson.A{}}}),
		action("drop a collection", writers, "", bson.D{{Key: "drop", Value: "mine"}}),
		action("change a collection", owners, "", bson.D{{Key: "collMod", Value: "things"}}),
		action("read another database", nil, "payroll", find),
		action("write another database", nil, "payroll", put),
		action("drop another database", nil, "payroll", bson.D{{Key: "dropDatabase", Value: 1}}),
		action("read users", nil, "admin", bson.D{{Key: "find", Value: "system.users"}}),
		action("list users", nil, "", bson.D{{Key: "usersInfo", Value: 1}}),
		action("make a user", nil, "", bson.D{{Key: "createUser", Value: "mine"}, {Key: "pwd", Value: "x"}, {Key: "roles", Value: bson.A{}}}),
		action("make a user elsewhere", nil, "admin", bson.D{{Key: "createUser", Value: "mine"}, {Key: "pwd", Value: "x"}, {Key: "roles", Value: bson.A{}}}),
		action("give somebody a role", nil, "", bson.D{{Key: "grantRolesToUser", Value: "nobody"}, {Key: "roles", Value: roles}}),
		action("make a role", nil, "", bson.D{{Key: "createRole", Value: "mine"}, {Key: "privileges", Value: bson.A{}}, {Key: "roles", Value: roles}}),
		action("see who is connected", nil, "admin", bson.D{{Key: "aggregate", Value: 1}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}}}}}}, {Key: "cursor", Value: bson.D{}}}),
		action("end others' sessions", nil, "admin", bson.D{{Key: "killAllSessions", Value: bson.A{}}}),
		action("read parameters", nil, "admin", bson.D{{Key: "getParameter", Value: 1}, {Key: "logLevel", Value: 1}}),
	}
}

func drifts(set *testenv.MongoSet) []drivertest.Drift {
	roles := func(r driver.LoginRequest, all ...string) bson.A {
		out := bson.A{}
		for _, name := range all {
			name, db, elsewhere := strings.Cut(name, "@")
			if !elsewhere {
				db = r.Sub
			}
			out = append(out, bson.D{{Key: "role", Value: name}, {Key: "db", Value: db}})
		}
		return out
	}
	update := func(name string, access patchbay.Access, what string, fields func(r driver.LoginRequest) bson.D) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: strings.Contains(what, "missing"), Excess: strings.Contains(what, "excess"), Make: func(_ context.Context, r driver.LoginRequest) error {
			_, err := set.Do(r.Sub, append(bson.D{{Key: "updateUser", Value: r.Name}}, fields(r)...))
			return err
		}}
	}
	withRoles := func(name string, access patchbay.Access, what string, all ...string) drivertest.Drift {
		return update(name, access, what, func(r driver.LoginRequest) bson.D { return bson.D{{Key: "roles", Value: roles(r, all...)}} })
	}
	field := func(name, what, key string, value any) drivertest.Drift {
		return update(name, patchbay.Writer, what, func(driver.LoginRequest) bson.D { return bson.D{{Key: key, Value: value}} })
	}
	from := func(sources ...string) bson.A { return bson.A{bson.D{{Key: "clientSource", Value: sources}}} }
	return []drivertest.Drift{
		withRoles("no roles", patchbay.Writer, "missing"),
		withRoles("less", patchbay.Owner, "missing", "readWrite"),
		withRoles("another", patchbay.Writer, "missing excess", "read"),
		withRoles("more", patchbay.Reader, "excess", "read", "readWrite"),
		withRoles("administers users", patchbay.Writer, "excess", "readWrite", "userAdmin"),
		withRoles("owns the database", patchbay.Owner, "excess", "readWrite", "dbAdmin", "dbOwner"),
		withRoles("reads another database", patchbay.Reader, "excess", "read", "read@billing"),
		withRoles("reads every database", patchbay.Reader, "excess", "read", "readAnyDatabase@admin"),
		withRoles("root", patchbay.Reader, "missing excess", "root@admin"),
		field("another password", "", "pwd", "another-0123456789"),
		field("a weaker mechanism too", "excess", "mechanisms", bson.A{"SCRAM-SHA-1", "SCRAM-SHA-256"}),
		field("a weaker mechanism alone", "missing excess", "mechanisms", bson.A{"SCRAM-SHA-1"}),
		field("bound to addresses", "missing", "authenticationRestrictions", from("192.0.2.0/24")),
		field("bound to this address", "missing", "authenticationRestrictions", from("127.0.0.1")),
	}
}

func harness(set *testenv.MongoSet) drivertest.TargetHarness {
	return drivertest.TargetHarness{
		Driver:  mongodb.Driver(),
		Product: "MongoDB", Release: 1, Model: testenv.MongoModel,
		Config:      register(set, nil),
		Subs:        []string{"shop", "billing"},
		HostileSubs: hostileNames,
		SignIn: as(set, func(ctx context.Context, c *mongo.Client, _ string) error {
			return c.Database("admin").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
		}),
		OpenSession: func(ctx context.Context, sub string, login driver.Credential) (drivertest.Session, error) {
			c, err := application(set, login)
			if err != nil {
				return nil, err
			}
			return &session{c, sub}, c.Database(sub).RunCommand(ctx, bson.D{{Key: "find", Value: "things"}}).Err()
		},
		Actions: actions(set),
		Drifts:  drifts(set),
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			with := func(username, source, password string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": username, "authSource": source}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
			}
			name, source, password := c.Public["username"], c.Public["authSource"], c.Secret["password"].Reveal()
			return map[string]driver.Credential{
				"password":         with(name, source, "wrong-password-0123456789"),
				"no password":      with(name, source, ""),
				"user":             with("pb_nobody_g1", source, password),
				"database":         with(name, "billing", password),
				"signs in a name":  with(name+",r=x", source, password),
				"zero byte":        with(name, source, password+"\x00"),
				"a longer one":     with(name, source, password+"x"),
				"somebody's admin": with(name, "admin", password),
			}
		},
		Foreign: func(t testing.TB, sub, name string) func() error {
			theirs := bson.D{{Key: "patchbay", Value: bson.D{{Key: "login", Value: name}, {Key: "uid", Value: "somebodyelse"}, {Key: "generation", Value: int64(1)}, {Key: "connection", Value: "/x"}}}}
			super(t, set, sub, bson.D{{Key: "createUser", Value: name}, {Key: "pwd", Value: "theirs"}, {Key: "roles", Value: bson.A{"read"}}, {Key: "customData", Value: theirs}})
			t.Cleanup(func() { super(t, set, sub, bson.D{{Key: "dropUser", Value: name}}) })
			before := userOf(t, set, sub, name)
			return func() error {
				if after := userOf(t, set, sub, name); after != before {
					return fmt.Errorf("it was %s, and is %s", before, after)
				}
				return nil
			}
		},
	}
}

// userOf is what the model says of a user, "" when there is none.
func userOf(t testing.TB, set *testenv.MongoSet, sub, name string) string {
	t.Helper()
	reply := super(t, set, sub, bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: sub}}}, {Key: "showAuthenticationRestrictions", Value: true}})
	users, _ := reply[0].Value.(bson.A)
	if len(users) == 0 {
		return ""
	}
	return fmt.Sprint(users[0])
}

// nothingLeft fails when users other than the first are there.
func nothingLeft(t *testing.T, set *testenv.MongoSet) {
	t.Helper()
	users, _ := super(t, set, "admin", bson.D{{Key: "usersInfo", Value: bson.D{{Key: "forAllDBs", Value: true}}}})[0].Value.(bson.A)
	if len(users) != 2 {
		t.Errorf("left behind: %v", users)
	}
}

func TestTarget(t *testing.T) {
	set := model(t, testenv.MongoOptions{})
	drivertest.Target(t, harness(set))
	nothingLeft(t, set)
}
