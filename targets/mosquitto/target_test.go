package mosquitto_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mosquitto"
)

// register is the configuration of s as a target, with more properties.
func register(s *testenv.MosquittoServer, more map[string]any) driver.Config {
	scheme, secure := "mqtt", map[string]any{"mode": "disable"}
	if s.CA != nil {
		scheme, secure = "mqtts", map[string]any{"ca": string(s.CA)}
	}
	p := map[string]any{"tls": secure}
	for name, value := range more {
		p[name] = value
	}
	properties, err := json.Marshal(p)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/mqttServers/broker",
		Endpoint: scheme + "://" + s.Addr(), Properties: properties,
		Admin: driver.Secrets{"username": patchbay.NewSecret(s.Admin), "password": patchbay.NewSecret(s.Password)},
	}
}

// scope is what the suite's logins may use.
var scope = map[string]any{"topics": []string{"orders/+", "invoices/#", "$SYS/broker/uptime"}}

var options = map[string]string{"topics": "orders/+,invoices/#", "subscribe": "$SYS/broker/uptime", "shares": "workers"}

// signIn connects as an application does, with what its settings hold.
func signIn(ctx context.Context, s *testenv.MosquittoServer, c driver.Credential) (*testenv.MosquittoClient, error) {
	client, ack, err := s.Connect(ctx, c.Public["username"], c.Secret["password"].Reveal(), "", false)
	if err != nil && ack != nil && ack.ReasonCode == packets.ConnackNotAuthorized {
		err = fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return client, err
}

type session struct{ *testenv.MosquittoClient }

func (s session) Close() { s.Bye() }

func (s session) Wait(ctx context.Context) error {
	select {
	case <-s.Closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// as makes an action of something to do in a session.
func as(s *testenv.MosquittoServer, do func(context.Context, *testenv.MosquittoClient) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, c driver.Credential) error {
		client, err := signIn(ctx, s, c)
		if err != nil {
			return err
		}
		defer client.Bye()
		return do(ctx, client)
	}
}

func denied(reason byte, err error) error {
	if err != nil && reason == 0x87 {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

func subscribe(filter string) func(context.Context, *testenv.MosquittoClient) error {
	return func(ctx context.Context, c *testenv.MosquittoClient) error {
		ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		var reason byte
		if ack != nil {
			reason = ack.Reasons[0]
		}
		return denied(reason, err)
	}
}

func publish(topic string, retain bool) func(context.Context, *testenv.MosquittoClient) error {
	return func(ctx context.Context, c *testenv.MosquittoClient) error {
		// With nothing in it, a retained message takes back the one before.
		ack, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Retain: retain})
		var reason byte
		if ack != nil {
			reason = ack.ReasonCode
		}
		return denied(reason, err)
	}
}

// receives is a message that comes to a subscription: somebody else publishes it.
func receives(s *testenv.MosquittoServer, filter, topic string) func(context.Context, *testenv.MosquittoClient) error {
	return func(ctx context.Context, c *testenv.MosquittoClient) error {
		if err := subscribe(filter)(ctx, c); err != nil {
			return err
		}
		other, err := publisher(ctx, s)
		if err != nil {
			return err
		}
		defer other.Bye()
		if err := publish(topic, false)(ctx, other); err != nil {
			return err
		}
		select {
		case <-c.Received:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// publisher is somebody else, who may publish and subscribe to everything.
func publisher(ctx context.Context, s *testenv.MosquittoServer) (*testenv.MosquittoClient, error) {
	const name = "everybody"
	acls := []map[string]any{}
	for _, kind := range []string{"publishClientSend", "publishClientReceive", "subscribePattern"} {
		acls = append(acls, map[string]any{"acltype": kind, "topic": "#", "allow": true})
	}
	// They may be there already.
	_, err := s.Control(ctx, map[string]any{"command": "createRole", "rolename": name, "acls": acls},
		map[string]any{"command": "createClient", "username": name, "password": name, "roles": []map[string]any{{"rolename": name}}})
	if err != nil {
		return nil, err
	}
	c, _, err := s.Connect(ctx, name, name, "", false)
	return c, err
}

func actions(s *testenv.MosquittoServer) []drivertest.Action {
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer}
	writers := all[1:]
	var result []drivertest.Action
	for _, a := range []struct {
		name    string
		allowed []patchbay.Access
		do      func(context.Context, *testenv.MosquittoClient) error
	}{
		{"subscribe to a topic of the scope", all, subscribe("orders/new")},
		{"subscribe to a filter of the scope", all, subscribe("orders/+")},
		{"subscribe below a filter of the scope", all, subscribe("invoices/2026/#")},
		{"receive what is published there", all, receives(s, "orders/+", "orders/new")},
		{"join a shared subscription of the scope", all, receives(s, "$share/workers/invoices/#", "invoices/1")},
		{"join another shared subscription", nil, subscribe("$share/others/invoices/#")},
		{"share a topic beyond the scope", nil, subscribe("$share/workers/payroll/#")},
		{"subscribe to more than the scope", nil, subscribe("orders/#")},
		{"subscribe to everything", nil, subscribe("#")},
		{"subscribe to everything of two levels", nil, subscribe("+/+")},
		{"subscribe to another's topic", nil, subscribe("payroll/new")},
		{"subscribe to the broker's own topic of the scope", all, subscribe("$SYS/broker/uptime")},
		{"subscribe to other of the broker's own", nil, subscribe("$SYS/broker/clients/total")},
		{"subscribe to all of the broker's own", nil, subscribe("$SYS/#")},
		{"hear the administrator's answers", nil, subscribe("$CONTROL/dynamic-security/v1/response")},
		{"publish to a topic of the scope", writers, publish("orders/new", false)},
		{"publish deep below a filter", writers, publish("invoices/2026/11/30", false)},
		{"retain a message in the scope", writers, publish("orders/kept", true)},
		{"publish below a topic of the scope", nil, publish("orders/new/eu", false)},
		{"publish to another's topic", nil, publish("payroll/new", false)},
		{"publish to the broker's own topic", nil, publish("$SYS/broker/uptime", false)},
		{"order the plugin about", nil, publish("$CONTROL/dynamic-security/v1", false)},
		{"publish to a topic with a dollar sign", nil, publish("$other/new", false)},
	} {
		result = append(result, drivertest.Action{Name: a.name, Allowed: a.allowed, Do: as(s, a.do)})
	}
	return result
}

func wrong(c driver.Credential) map[string]driver.Credential {
	with := func(username, password string) driver.Credential {
		return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
	}
	name, password := c.Public["username"], c.Secret["password"].Reveal()
	return map[string]driver.Credential{
		"an altered password": with(name, "-"+password[1:]),
		"a longer password":   with(name, password+"x"),
		"no password":         with(name, ""),
		"another's name":      with("admin", password),
		"no name":             with("", password),
	}
}

func drifts(s *testenv.MosquittoServer) []drivertest.Drift {
	var list []drivertest.Drift
	add := func(name string, access patchbay.Access, missing, excess bool, commands func(name string) []map[string]any) {
		list = append(list, drivertest.Drift{Name: name, Access: access, Missing: missing, Excess: excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return s.MustControl(ctx, commands(r.Name)...)
		}})
	}
	acl := func(command, kind, topic string, more ...any) func(string) []map[string]any {
		return func(name string) []map[string]any {
			c := map[string]any{"command": command, "rolename": name, "acltype": kind, "topic": topic}
			for i := 0; i+1 < len(more); i += 2 {
				c[more[i].(string)] = more[i+1]
			}
			return []map[string]any{c}
		}
	}
	one := func(command string, more ...any) func(string) []map[string]any {
		return func(name string) []map[string]any {
			c := map[string]any{"command": command, "username": name}
			for i := 0; i+1 < len(more); i += 2 {
				c[more[i].(string)] = more[i+1]
			}
			return []map[string]any{c}
		}
	}
	add("may publish less", patchbay.Writer, true, false, acl("removeRoleACL", "publishClientSend", "orders/+"))
	add("may publish more", patchbay.Writer, false, true, acl("addRoleACL", "publishClientSend", "payroll/#", "allow", true, "priority", 50))
	add("may receive more", patchbay.Reader, false, true, acl("addRoleACL", "publishClientReceive", "payroll/#", "allow", true, "priority", 50))
	add("may subscribe to one more", patchbay.Reader, false, true, acl("addRoleACL", "subscribeLiteral", "payroll/new", "allow", true))
	add("is denied a topic", patchbay.Writer, true, false, acl("addRoleACL", "publishClientSend", "orders/new", "allow", false, "priority", 50))
	add("is no more denied what is not given", patchbay.Writer, false, true, acl("removeRoleACL", "publishClientReceive", "#"))
	add("may not unsubscribe", patchbay.Reader, true, false, acl("removeRoleACL", "unsubscribePattern", "orders/+"))
	add("has another role too", patchbay.Writer, false, true, func(name string) []map[string]any {
		return []map[string]any{{"command": "addClientRole", "username": name, "rolename": "admin", "priority": 5}}
	})
	add("has lost its role", patchbay.Writer, true, false, func(name string) []map[string]any {
		return []map[string]any{{"command": "removeClientRole", "username": name, "rolename": name}}
	})
	add("is in a group", patchbay.Writer, false, true, func(name string) []map[string]any {
		return []map[string]any{{"command": "addGroupClient", "username": name, "groupname": "crew"}}
	})
	add("is disabled", patchbay.Writer, true, false, one("disableClient"))
	add("is bound to a client id", patchbay.Writer, true, false, one("setClientId", "clientid", "somebody's"))
	add("has another password", patchbay.Writer, false, false, one("setClientPassword", "password", "somebody's"))
	add("has another title", patchbay.Writer, false, false, one("modifyClient", "textname", "somebody's"))
	return list
}

// foreign makes a client, and a role, of that name.
func foreign(s *testenv.MosquittoServer) func(testing.TB, string, string) func() error {
	return func(t testing.TB, _, name string) func() error {
		t.Helper()
		look := func(ctx context.Context) ([]map[string]any, error) {
			answers, err := s.Control(ctx, map[string]any{"command": "getClient", "username": name}, map[string]any{"command": "getRole", "rolename": name})
			for _, a := range answers {
				delete(a, "correlationData")
			}
			return answers, err
		}
		err := s.MustControl(t.Context(),
			map[string]any{"command": "createRole", "rolename": name, "textdescription": "the accountants'",
				"acls": []map[string]any{{"acltype": "publishClientSend", "topic": "payroll/#", "allow": true}}},
			map[string]any{"command": "createClient", "username": name, "password": "theirs", "textdescription": "patchbay accountants"},
			map[string]any{"command": "addClientRole", "username": name, "rolename": name})
		if err != nil {
			t.Fatal(err)
		}
		before, err := look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			err := s.MustControl(context.Background(), map[string]any{"command": "deleteClient", "username": name}, map[string]any{"command": "deleteRole", "rolename": name})
			if err != nil {
				t.Error(err)
			}
		})
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			after, err := look(ctx)
			if err == nil && !reflect.DeepEqual(before, after) {
				err = fmt.Errorf("it is %v", after)
			}
			if err != nil {
				return err
			}
			c, _, err := s.Connect(ctx, name, "theirs", "", false)
			if err == nil {
				c.Bye()
			}
			return err
		}
	}
}

func TestTheDriverPassesTheSuite(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	if err := s.MustControl(t.Context(), map[string]any{"command": "createGroup", "groupname": "crew"}); err != nil {
		t.Fatal(err)
	}
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  mosquitto.Driver(),
		Product: "Mosquitto", Release: 2,
		Config: register(s, scope),
		Subs:   []string{""},
		// There are no subs; the names of logins that come with them are tried.
		HostileSubs: []string{""},
		Options:     options,
		SignIn: func(ctx context.Context, _ string, c driver.Credential) error {
			client, err := signIn(ctx, s, c)
			if err == nil {
				client.Bye()
			}
			return err
		},
		OpenSession: func(ctx context.Context, _ string, c driver.Credential) (drivertest.Session, error) {
			client, err := signIn(ctx, s, c)
			if err != nil {
				return nil, err
			}
			return session{client}, nil
		},
		Actions: actions(s),
		Wrong:   wrong,
		Foreign: foreign(s),
		Drifts:  drifts(s),
	})
}
