package crashtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"patchbay.dev/patchbay/internal/testenv"
)

// mosquittoTarget asks the plugin itself, and signs in with a client of its own.
type mosquittoTarget struct {
	t      *testing.T
	server *testenv.MosquittoServer
}

// The client that is somebody else's, and has to survive everything.
const otherClient = "pb-operator"

func startMosquitto(t *testing.T) target {
	m := &mosquittoTarget{t: t, server: testenv.Mosquitto(t, testenv.MosquittoConfig{})}
	ctx, cancel := m.soon()
	defer cancel()
	err := m.server.MustControl(ctx,
		map[string]any{"command": "createRole", "rolename": otherClient, "acls": []map[string]any{{"acltype": "publishClientSend", "topic": "orders/#", "allow": true}}},
		map[string]any{"command": "createClient", "username": otherClient, "password": "theirs"},
		map[string]any{"command": "addClientRole", "username": otherClient, "rolename": otherClient})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mosquittoTarget) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

func (m *mosquittoTarget) name() string { return "mosquitto" }

func (m *mosquittoTarget) administered() bool { return true }

func (m *mosquittoTarget) form(access string) map[string]any { return ownLogin(access) }

func (m *mosquittoTarget) in(t *testing.T) target {
	of := *m
	of.t = t
	return &of
}

func (m *mosquittoTarget) resource() (string, map[string]any) {
	return m.id(), map[string]any{"properties": map[string]any{
		"driver": "mosquitto", "endpoint": "mqtt://" + m.server.Addr(), "topics": []string{"orders/#"}, "tls": map[string]any{"mode": "disable"},
		"admin": map[string]string{"username": m.server.Admin, "password": m.server.Password},
	}}
}

func (m *mosquittoTarget) id() string { return "Patchbay.Services/mqttServers/broker" }

// names are those of ours in a list of the plugin's.
func (m *mosquittoTarget) names(command, member string) []string {
	m.t.Helper()
	ctx, cancel := m.soon()
	defer cancel()
	answers, err := m.server.Control(ctx, map[string]any{"command": command})
	if err != nil {
		m.t.Fatal(err)
	}
	data, _ := answers[0]["data"].(map[string]any)
	all, _ := data[member].([]any)
	var names []string
	for _, name := range all {
		if name := fmt.Sprint(name); strings.HasPrefix(name, "pb_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *mosquittoTarget) marked() []string { return m.names("listClients", "clients") }

func (m *mosquittoTarget) remains() []string {
	all := append(m.marked(), m.names("listRoles", "roles")...)
	slices.Sort(all)
	return slices.Compact(all)
}

func (m *mosquittoTarget) open(env map[string]string) (*testenv.MosquittoClient, string, error) {
	u, err := url.Parse(env["MQTT_URL"])
	if err != nil {
		return nil, "", err
	}
	password, _ := u.User.Password()
	if u.Host != m.server.Addr() || u.User.Username() != env["MQTT_USERNAME"] || password != env["MQTT_PASSWORD"] {
		return nil, "", errors.New("the settings are not of one login to this broker")
	}
	ctx, cancel := m.soon()
	defer cancel()
	c, _, err := m.server.Connect(ctx, env["MQTT_USERNAME"], env["MQTT_PASSWORD"], "", false)
	return c, env["MQTT_USERNAME"], err
}

func (m *mosquittoTarget) signsIn(env map[string]string) (string, error) {
	c, who, err := m.open(env)
	if err == nil {
		c.Bye()
	}
	return who, err
}

func (m *mosquittoTarget) exact(env map[string]string, access string) error {
	c, _, err := m.open(env)
	if err != nil {
		return err
	}
	defer c.Bye()
	ctx, cancel := m.soon()
	defer cancel()
	const denied = 0x87
	for _, one := range []struct {
		topic            string
		publish, receive bool
	}{
		{"orders/new", access != "reader", true},
		{"secrets/new", false, false},
		{"$SYS/broker/uptime", false, false},
		{"$CONTROL/dynamic-security/v1", false, false},
	} {
		said, err := c.Publish(ctx, &paho.Publish{Topic: one.topic, QoS: 1})
		if said == nil {
			return err
		}
		if (said.ReasonCode < denied-7) != one.publish || !one.publish && said.ReasonCode != denied {
			return fmt.Errorf("publish to %s: reason code %d", one.topic, said.ReasonCode)
		}
		heard, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: one.topic}}})
		if heard == nil {
			return err
		}
		if (heard.Reasons[0] < denied-7) != one.receive || !one.receive && heard.Reasons[0] != denied {
			return fmt.Errorf("subscribe to %s: reason code %d", one.topic, heard.Reasons[0])
		}
	}
	return nil
}

func (m *mosquittoTarget) untouched() error {
	ctx, cancel := m.soon()
	defer cancel()
	c, _, err := m.server.Connect(ctx, otherClient, "theirs", "", false)
	if err != nil {
		return err
	}
	defer c.Bye()
	_, err = c.Publish(ctx, &paho.Publish{Topic: "orders/new", QoS: 1})
	return err
}

func (m *mosquittoTarget) secrets(env map[string]string) []string {
	if env["MQTT_PASSWORD"] == "" {
		return nil
	}
	return []string{env["MQTT_PASSWORD"]}
}
