package testenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// MosquittoConfig says how a broker is started.
type MosquittoConfig struct {
	Secure   bool     // TLS and nothing else
	NoPlugin bool     // without dynamic security; anybody may sign in
	Lines    []string // more of its configuration file
}

// MosquittoServer is a running Mosquitto with its dynamic security plugin, as
// mosquitto_ctrl sets it up, with eyes and hands of its own, which share no code with the
// product.
type MosquittoServer struct {
	*daemon
	Admin, Password string
	CA              []byte // PEM; nil without TLS
	program, conf   string
}

// Mosquitto starts a broker that ends with the test.
func Mosquitto(t testing.TB, c MosquittoConfig) *MosquittoServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := startMosquitto(ctx, c)
	during(t, s.daemon, err)
	return s
}

func startMosquitto(ctx context.Context, c MosquittoConfig) (*MosquittoServer, error) {
	s := &MosquittoServer{Admin: "admin", Password: randomHex(16)}
	var err error
	if s.program, err = find("mosquitto", "Mosquitto"); err != nil {
		return s, err
	}
	control, err := find("mosquitto_ctrl", "Mosquitto")
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("Mosquitto"); err != nil {
		return s, err
	}
	lines := c.Lines
	if c.NoPlugin {
		lines = append(lines, "allow_anonymous true")
	} else {
		plugin, err := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
		if err != nil || len(plugin) == 0 {
			return s, fmt.Errorf("the dynamic security plugin of Mosquitto is %w: `make deps` installs it", ErrNotInstalled)
		}
		// A directory of its own: some versions make the new file beside the old one.
		if err := os.Mkdir(s.ConfigDir(), 0o700); err != nil {
			return s, err
		}
		if err := chownServer(s.ConfigDir()); err != nil {
			return s, err
		}
		file := filepath.Join(s.ConfigDir(), "dynamic-security.json")
		if out, err := s.command(ctx, control, "dynsec", "init", file, s.Admin, s.Password).CombinedOutput(); err != nil {
			return s, fmt.Errorf("mosquitto_ctrl dynsec init: %w\n%s", err, out)
		}
		lines = append(lines, "allow_anonymous false", "plugin "+plugin[0], "plugin_opt_config_file "+file)
	}
	var secured []string
	if c.Secure {
		cert, key, _, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		secured = []string{"certfile " + cert, "keyfile " + key}
	}
	return s, s.start(ctx, func(port int) *exec.Cmd {
		all := slices.Concat([]string{"per_listener_settings false", fmt.Sprintf("listener %d %s", port, s.Host)}, secured, lines)
		text := strings.Join(all, "\n") + "\n"
		s.conf, _ = s.write("mosquitto.conf", []byte(text)) // what is not there, it says
		return s.command(context.Background(), s.program, "-c", s.conf)
	}, s.dialed)
}

// ConfigDir is where the plugin keeps its file.
func (s *MosquittoServer) ConfigDir() string { return filepath.Join(s.dir, "dynsec") }

// Restart ends the broker as a service manager does, and starts it again.
func (s *MosquittoServer) Restart(ctx context.Context) error {
	if err := s.process.stop(syscall.SIGTERM); err != nil {
		return err
	}
	return s.run(ctx, s.command(context.Background(), s.program, "-c", s.conf), s.dialed)
}

// MosquittoClient is a session of a client.
type MosquittoClient struct {
	*paho.Client
	Received chan *paho.Publish
	Closed   chan struct{} // closed when the broker ends the session
}

// Connect signs in as an application would. A zero id is one of the client's own; keep
// has the broker keep the session. A refusal is a *[paho.Connack] beside the error.
func (s *MosquittoServer) Connect(ctx context.Context, username, password, id string, keep bool) (*MosquittoClient, *paho.Connack, error) {
	var conn net.Conn
	var err error
	if dialer := (&net.Dialer{}); s.CA == nil {
		conn, err = dialer.DialContext(ctx, "tcp", s.Addr())
	} else {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.CA)
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{RootCAs: roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", s.Addr())
	}
	if err != nil {
		return nil, nil, err
	}
	c := &MosquittoClient{Received: make(chan *paho.Publish, 1024), Closed: make(chan struct{})}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.Received <- p.Packet
			return true, nil
		}},
		OnServerDisconnect: func(*paho.Disconnect) { close(c.Closed) },
		OnClientError: func(error) {
			close(c.Closed)
		},
	})
	if id == "" {
		id = "test-" + randomHex(8)
	}
	hello := &paho.Connect{ClientID: id, CleanStart: !keep, KeepAlive: 60, Username: username, Password: []byte(password), UsernameFlag: username != "", PasswordFlag: password != ""}
	if keep {
		hour := uint32(3600)
		hello.Properties = &paho.ConnectProperties{SessionExpiryInterval: &hour}
	}
	ack, err := c.Client.Connect(ctx, hello)
	if err != nil {
		_ = conn.Close()
		return nil, ack, err
	}
	return c, ack, nil
}

// Bye ends the session.
func (c *MosquittoClient) Bye() { _ = c.Disconnect(&paho.Disconnect{}) }

// Control has the plugin carry out commands as its administrator, and gives its
// answers; an error of one is in its answer.
func (s *MosquittoServer) Control(ctx context.Context, commands ...map[string]any) ([]map[string]any, error) {
	c, _, err := s.Connect(ctx, s.Admin, s.Password, "", false)
	if err != nil {
		return nil, err
	}
	defer c.Bye()
	const topic = "$CONTROL/dynamic-security/v1"
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic + "/response"}}}); err != nil {
		return nil, err
	}
	id := randomHex(8)
	for _, command := range commands {
		command["correlationData"] = id
	}
	text, err := json.Marshal(map[string]any{"commands": commands})
	if err != nil {
		return nil, err
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: text}); err != nil {
		return nil, err
	}
	for {
		select {
		case m := <-c.Received:
			var all struct {
				Responses []map[string]any `json:"responses"`
			}
			if err := json.Unmarshal(m.Payload, &all); err != nil {
				return nil, err
			}
			if len(all.Responses) == len(commands) && all.Responses[0]["correlationData"] == id {
				return all.Responses, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// MustControl is Control of commands that must be carried out.
func (s *MosquittoServer) MustControl(ctx context.Context, commands ...map[string]any) error {
	answers, err := s.Control(ctx, commands...)
	for _, a := range answers {
		if said, ok := a["error"]; ok {
			err = errors.Join(err, fmt.Errorf("%v: %v", a["command"], said))
		}
	}
	return err
}
