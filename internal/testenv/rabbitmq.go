package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RabbitMQServer is a running RabbitMQ node with its management API, each in the
// clear and with TLS, and an administrator. It has eyes and hands of its own.
type RabbitMQServer struct {
	*daemon           // Port is AMQP's in the clear
	Secure     int    // port of AMQP with TLS
	Management string // URL of the management API, in the clear
	SecureURL  string // the same, with TLS
	User       string // the administrator
	Password   string
	CA         []byte // PEM; for 127.0.0.1 and localhost
	names      *serverProcess
	command    func() *exec.Cmd
}

// RabbitMQ starts a node that ends with the test. It takes some ten seconds.
func RabbitMQ(t testing.TB) *RabbitMQServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	s, err := StartRabbitMQ(ctx)
	if s != nil && s.daemon != nil {
		t.Cleanup(func() {
			if err := s.endNames(); err != nil {
				t.Errorf("stop epmd: %v", err)
			}
		})
	}
	during(t, s.daemon, err)
	return s
}

// StartRabbitMQ starts a node that the caller stops, also when there is an error.
func StartRabbitMQ(ctx context.Context) (*RabbitMQServer, error) {
	s := &RabbitMQServer{User: "admin", Password: randomHex(16)}
	const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if !isFile(program) {
		return s, fmt.Errorf("RabbitMQ is %w: `make deps` installs it", ErrNotInstalled)
	}
	epmd, err := find("epmd", "RabbitMQ")
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("RabbitMQ"); err != nil {
		return s, err
	}
	cert, key, ca, authority, err := s.certificates()
	if err != nil {
		return s, err
	}
	s.CA = authority
	var ports [6]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return s, err
		}
	}
	api, secureAPI, names, nodes := ports[2], ports[3], ports[4], ports[5]
	s.Port, s.Secure = ports[0], ports[1]
	s.Management, s.SecureURL = "http://"+net.JoinHostPort(s.Host, strconv.Itoa(api)), "https://"+net.JoinHostPort(s.Host, strconv.Itoa(secureAPI))
	secured := func(options string) string {
		return fmt.Sprintf("%[1]s.cacertfile = %[2]s\n%[1]s.certfile = %[3]s\n%[1]s.keyfile = %[4]s\n", options, ca, cert, key)
	}
	config, err := s.write("rabbitmq.conf", fmt.Appendf(nil, `listeners.tcp.1 = %[1]s:%[2]d
listeners.ssl.1 = %[1]s:%[3]d
management.tcp.ip = %[1]s
management.tcp.port = %[4]d
management.ssl.ip = %[1]s
management.ssl.port = %[5]d
default_user = %[6]s
default_pass = %[7]s
loopback_users = none
disk_free_limit.absolute = 1MB
log.file = false
log.console = true
log.console.level = warning
%[8]s%[9]s`, s.Host, s.Port, s.Secure, api, secureAPI, s.User, s.Password, secured("ssl_options"), secured("management.ssl")))
	if err != nil {
		return s, err
	}
	plugins, err := s.write("enabled_plugins", []byte("[rabbitmq_management].\n"))
	if err != nil {
		return s, err
	}
	// A node starts Erlang's name server if none is there, and leaves it behind.
	namesCmd := s.daemon.command(context.Background(), epmd, "-port", strconv.Itoa(names), "-address", s.Host)
	if s.names, err = startProcess(namesCmd); err != nil {
		return s, err
	}
	node := "patchbay-" + randomHex(4) + "@localhost"
	s.command = func() *exec.Cmd {
		cmd := s.daemon.command(context.Background(), program)
		cmd.Env = append(cmd.Env,
			"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_CONFIG_FILE="+strings.TrimSuffix(config, ".conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+plugins,
			"RABBITMQ_NODENAME="+node, "RABBITMQ_MNESIA_BASE="+s.dir+"/data", "RABBITMQ_LOG_BASE="+s.dir+"/logs", "RABBITMQ_PID_FILE="+s.dir+"/pid",
			"RABBITMQ_DIST_PORT="+strconv.Itoa(nodes), "ERL_EPMD_PORT="+strconv.Itoa(names), "ERL_EPMD_ADDRESS="+s.Host,
			// So it is one process, which ends with this one.
			"RABBITMQ_ALLOW_INPUT=1", "RABBITMQ_SERVER_START_ARGS=-noinput",
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none")
		return cmd
	}
	return s, s.run(ctx, s.command(), s.answers)
}

// Stop ends the node and removes all of it.
func (s *RabbitMQServer) Stop() error {
	if s == nil || s.daemon == nil {
		return nil
	}
	return errors.Join(s.stop(), s.endNames())
}

func (s *RabbitMQServer) endNames() error { return s.names.stop(syscall.SIGKILL) }

// Restart stops the node in order and starts it again, with what it had.
func (s *RabbitMQServer) Restart(ctx context.Context) error {
	if err := s.process.stop(syscall.SIGTERM); err != nil {
		return err
	}
	return s.run(ctx, s.command(), s.answers)
}

// Control runs a command line of rabbitmqctl's, as the node's own user.
func (s *RabbitMQServer) Control(ctx context.Context, line string) (string, error) {
	node := s.command()
	cmd := s.daemon.command(ctx, "/bin/sh", "-c", line)
	cmd.Env = node.Env
	for i, one := range cmd.Env {
		if strings.HasPrefix(one, "PATH=") {
			cmd.Env[i] = "PATH=/usr/lib/rabbitmq/bin:" + strings.TrimPrefix(one, "PATH=") // Debian's in /usr/sbin wants to be root
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// answers is ready when the management API does.
func (s *RabbitMQServer) answers(ctx context.Context) error {
	return s.Do(ctx, http.MethodGet, "/api/overview", nil, nil)
}

// Do asks the management API as the administrator. path is encoded; in and out are
// JSON, or nil.
func (s *RabbitMQServer) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.Management+path, body)
	if err != nil {
		return err
	}
	r.SetBasicAuth(s.User, s.Password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Timeout: time.Minute}).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return &RabbitMQError{Status: answer.StatusCode, Said: string(b)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// RabbitMQError is an answer of the management API that is none of success.
type RabbitMQError struct {
	Status int
	Said   string
}

func (e *RabbitMQError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Said) }
