package mosquitto_test

import (
	"context"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// configured is the environment of an application of a client type, as it is written for it.
func configured(t *testing.T, target drivertest.Opened, r driver.LoginRequest, client patchbay.ClientType) map[string]string {
	t.Helper()
	info, err := target.Inspect(soon(t), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	values := settings.Values{}
	for name, value := range info.Values {
		values[name] = patchbay.NewSecret(value)
	}
	if info.Values["ca"] != "" {
		values["caFile"] = patchbay.NewSecret(filepath.Join(dir, settings.AuthorityFile))
	}
	maps.Copy(values, r.Credential.Values())
	set, err := settings.Render(settings.Request{Kind: "mqtt", Client: client, Auth: patchbay.AuthSecret, Connection: "orders", Naming: patchbay.NamingNative, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, s := range set {
		if s.File {
			if err := os.WriteFile(filepath.Join(dir, s.Name), []byte(s.Value.Reveal()), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		env[s.Name] = s.Value.Reveal()
	}
	return env
}

// The programs listen to orders/answer, publish to orders/ask, and print what they are
// answered.
const (
	inPython = `
import os, sys
import paho.mqtt.client as mqtt
c = mqtt.Client(protocol=mqtt.MQTTv5)
c.username_pw_set(os.environ["MQTT_USERNAME"], os.environ["MQTT_PASSWORD"])
if os.environ["MQTT_TLS"] == "true":
    c.tls_set(ca_certs=os.environ.get("MQTT_CA_FILE"))
def connected(c, *_):
    c.subscribe("orders/answer")
def subscribed(c, *_):
    c.publish("orders/ask", "hello", qos=1)
def received(c, _, m):
    print(m.payload.decode())
    c.disconnect()
c.on_connect, c.on_subscribe, c.on_message = connected, subscribed, received
c.connect(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"]))
c.loop_forever()
`
	inShell = `
tls() { if [ "$MQTT_TLS" = true ]; then "$@" --cafile "$MQTT_CA_FILE"; else "$@"; fi; }
# What it waits for is retained by the time that it asks.
tls mosquitto_pub -L "$MQTT_URL/orders/ask" -m hello -q 1
tls mosquitto_sub -L "$MQTT_URL/orders/answer" -C 1 -W 30
`
	inNode = `
const { connect } = require("mqtt")
const c = connect(process.env.MQTT_URL, { protocolVersion: 5 })
c.on("connect", () => c.subscribe("orders/answer", () => c.publish("orders/ask", "hello", { qos: 1 })))
c.once("message", (_, m) => { console.log(String(m)); c.end() })
c.on("error", e => { console.error(e); process.exit(1) })
`
)

// inGo is the same, with the library that reads the URL.
func inGo(ctx context.Context, env map[string]string) (string, error) {
	u, err := url.Parse(env["MQTT_URL"])
	if err != nil {
		return "", err
	}
	password, _ := u.User.Password()
	got := make(chan string, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, ConnectUsername: u.User.Username(), ConnectPassword: []byte(password), KeepAlive: 30,
		ClientConfig: paho.ClientConfig{OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got <- string(p.Packet.Payload)
			return true, nil
		}}},
	})
	if err != nil {
		return "", err
	}
	if err := c.AwaitConnection(ctx); err != nil {
		return "", err
	}
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "orders/answer"}}}); err != nil {
		return "", err
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: "orders/ask", QoS: 1, Payload: []byte("hello")}); err != nil {
		return "", err
	}
	select {
	case text := <-got:
		return text, c.Disconnect(ctx)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// TestApplicationsWorkWithWhatIsWritten has clients do something, with the settings and
// nothing that only a test knows.
func TestApplicationsWorkWithWhatIsWritten(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := testenv.Mosquitto(t, testenv.MosquittoConfig{Secure: secure})
		target := opened(t, register(s, map[string]any{"topics": []string{"orders/#"}}))
		answerer(t, s)
		for _, c := range []struct {
			name   string
			client patchbay.ClientType
			run    []string
		}{
			{"python", "python", []string{"/usr/bin/python3", "-c", inPython}},
			{"shell", "none", []string{"sh", "-ec", inShell}},
			{"node", "nodejs", []string{"env", "NODE_PATH=/usr/share/nodejs", "node", "-e", inNode}},
			{"go", "go", nil},
		} {
			if secure && c.run == nil {
				continue // its variable is for a whole process: package settings has it in one of its own
			}
			t.Run(c.name, func(t *testing.T) {
				r := made(t, target, c.name, patchbay.Writer, nil)
				env := configured(t, target, r, c.client)
				var said string
				var err error
				if c.run == nil {
					said, err = inGo(soon(t), env)
				} else {
					if c.name == "python" && exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import paho.mqtt.client").Run() != nil {
						t.Skip("Paho for Python is not installed: make deps")
					}
					if _, err := os.Stat("/usr/share/nodejs/mqtt"); c.name == "node" && err != nil {
						t.Skip("MQTT.js is not installed: make deps")
					}
					if _, err := exec.LookPath("mosquitto_pub"); c.name == "shell" && err != nil {
						t.Skip("Mosquitto's clients are not installed: make deps")
					}
					cmd := exec.CommandContext(soon(t), c.run[0], c.run[1:]...) // #nosec G204 -- the test's own programs
					cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
					for name, value := range env {
						cmd.Env = append(cmd.Env, name+"="+value)
					}
					var out []byte
					out, err = cmd.CombinedOutput()
					said = strings.TrimSpace(string(out))
				}
				if err != nil || said != "hello yourself" {
					t.Errorf("it says %q, %v", said, err)
				}
			})
		}
	}
}

// answerer is another application: it answers what is asked, and retains its answer.
func answerer(t *testing.T, s *testenv.MosquittoServer) {
	t.Helper()
	c, err := publisher(soon(t), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := subscribe("orders/ask")(soon(t), c); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range c.Received {
			_, _ = c.Publish(context.Background(), &paho.Publish{Topic: "orders/answer", QoS: 1, Retain: true, Payload: []byte(string(m.Payload) + " yourself")})
		}
	}()
	t.Cleanup(c.Bye)
}
