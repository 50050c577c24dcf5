package rabbitmq_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/rabbitmq"
)

// One node serves all tests of the package: it takes ten seconds to start. Each test
// has virtual hosts of its own.
var (
	node     *testenv.RabbitMQServer
	nodeErr  error
	nodeOnce sync.Once
)

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := node.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is the node, which a test leaves as it was.
func shared(t testing.TB) *testenv.RabbitMQServer {
	t.Helper()
	nodeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		node, nodeErr = testenv.StartRabbitMQ(ctx)
	})
	if errors.Is(nodeErr, testenv.ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skip(nodeErr)
	}
	if nodeErr != nil {
		t.Fatal(nodeErr)
	}
	return node
}

// esc is a name in a path of the API.
func esc(name string) string { return url.PathEscape(name) }

// do asks the management API as its administrator.
func do(t testing.TB, s *testenv.RabbitMQServer, method, path string, in, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Do(ctx, method, path, in, out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// vhost makes one, with the queue jobs, the exchanges events (topic) and fan, and a
// message in jobs. It goes with the test.
func vhost(t testing.TB, s *testenv.RabbitMQServer, name string) string {
	t.Helper()
	do(t, s, http.MethodPut, "/api/vhosts/"+esc(name), nil, nil)
	t.Cleanup(func() {
		if err := s.Do(context.Background(), http.MethodDelete, "/api/vhosts/"+esc(name), nil, nil); err != nil && statusOf(err) != http.StatusNotFound {
			t.Errorf("remove the virtual host %q: %v", name, err)
		}
	})
	do(t, s, http.MethodPut, "/api/permissions/"+esc(name)+"/"+s.User, map[string]string{"configure": ".*", "write": ".*", "read": ".*"}, nil)
	do(t, s, http.MethodPut, "/api/queues/"+esc(name)+"/jobs", map[string]any{"durable": true}, nil)
	do(t, s, http.MethodPut, "/api/queues/"+esc(name)+"/payroll", map[string]any{"durable": true}, nil)
	do(t, s, http.MethodPut, "/api/exchanges/"+esc(name)+"/events", map[string]any{"type": "topic", "durable": true}, nil)
	do(t, s, http.MethodPut, "/api/exchanges/"+esc(name)+"/fan", map[string]any{"type": "fanout", "durable": true}, nil)
	return name
}

func statusOf(err error) int {
	if e := (*testenv.RabbitMQError)(nil); errors.As(err, &e) {
		return e.Status
	}
	return 0
}

const resourceID = "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/rabbitmqServers/broker"

// register is the node as somebody registers it in the clear.
func register(s *testenv.RabbitMQServer, properties ...string) driver.Config {
	p := map[string]string{"management": s.Management}
	for i := 0; i+1 < len(properties); i += 2 {
		p[properties[i]] = properties[i+1]
	}
	b, _ := json.Marshal(p)
	return driver.Config{
		ID: resourceID, Endpoint: "amqp://" + s.Addr(), Properties: b, Dialer: dialer,
		Admin: driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret(s.Password)},
	}
}

func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, rabbitmq.Driver(), c)
}

// enter signs in past the driver, as a library does.
func enter(ctx context.Context, s *testenv.RabbitMQServer, vhost, username, password string) (*amqp.Connection, error) {
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	properties := amqp.Table{"product": "test"}
	c, err := amqp.Open(conn, amqp.Config{SASL: []amqp.Authentication{&talkative{amqp.PlainAuth{Username: username, Password: password}, properties}}, Vhost: vhost, Properties: properties, Heartbeat: 10 * time.Second, Locale: "en_US"})
	if err != nil {
		_ = conn.Close()
		return nil, refused(err)
	}
	return c, nil
}

// talkative has the server say no at once.
type talkative struct {
	amqp.PlainAuth
	properties amqp.Table
}

func (a *talkative) Response() string {
	a.properties["capabilities"].(amqp.Table)["authentication_failure_close"] = true
	return a.PlainAuth.Response()
}

// refused marks what is the server's no.
func refused(err error) error {
	var e *amqp.Error
	if errors.As(err, &e) && e.Server && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed) {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

// vhostIn is the virtual host that a child's name means, for these tests' names.
func vhostIn(sub string) string {
	return strings.NewReplacer("~2F", "/", "~25", "%", "~0A", "\n", "~7E", "~", "~3F", "?", "~23", "#", "~26", "&").Replace(sub)
}
