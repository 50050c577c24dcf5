package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a running Redis with an ACL user "app", 16 databases, and
// nobody who may enter without a password. An administrator, "admin", may do everything.
type RedisServer struct {
	*daemon
	User     string
	Password string // of both
	CA       []byte // PEM; nil without TLS

	command func(port int) *exec.Cmd
	ready   func(context.Context) error
}

// RedisOptions are what a server can be started with.
type RedisOptions struct {
	TLS bool // it speaks nothing else
	// Keeps is where it keeps its users: in an ACL file by default, in its configuration
	// file ("config"), or nowhere ("nothing").
	Keeps string
	// Password is that of its users, so that several can be one cluster; "" is a new one.
	Password string
	Args     []string // more for the server
	Program  string   // instead of the system's redis-server
}

// Redis starts a server that ends with the test. With TLS it speaks nothing
// else.
func Redis(t testing.TB, secure bool) *RedisServer {
	t.Helper()
	return RedisWith(t, RedisOptions{TLS: secure})
}

// RedisWith starts a server with options, which ends with the test.
func RedisWith(t testing.TB, o RedisOptions) *RedisServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartRedis(ctx, o)
	during(t, s.daemon, err)
	return s
}

// StartRedis starts a server, which the caller stops.
func StartRedis(ctx context.Context, o RedisOptions) (*RedisServer, error) {
	s := &RedisServer{User: "app", Password: o.Password}
	if s.Password == "" {
		s.Password = randomHex(16)
	}
	program, err := o.Program, error(nil)
	if program == "" {
		program, err = find("redis-server", "Redis")
	}
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("Redis"); err != nil {
		return s, err
	}
	args, err := s.users(o.Keeps)
	if err != nil {
		return s, err
	}
	args = append(args, "--bind", s.Host, "--dir", s.dir, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
	s.ready = s.pong
	if o.TLS {
		cert, key, ca, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA, s.ready = authority, s.dialed
		args = append(args, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no", "--port", "0")
	}
	args = append(args, o.Args...)
	s.command = func(port int) *exec.Cmd {
		at := "--port"
		if o.TLS {
			at = "--tls-port"
		}
		return s.daemon.command(context.Background(), program, append(args[:len(args):len(args)], at, fmt.Sprint(port))...)
	}
	return s, s.start(ctx, s.command, s.ready)
}

// users writes the users to where the server keeps them, and gives the arguments that
// say so: of several "--user" on a command line, Redis takes the last.
func (s *RedisServer) users(keeps string) ([]string, error) {
	lines := fmt.Sprintf("user default off\nuser %s on >%s ~* &* +@all -@admin\nuser admin on >%s ~* &* +@all\n", s.User, s.Password, s.Password)
	switch keeps {
	case "config":
		path, err := s.write("redis.conf", []byte(lines))
		return []string{path}, err
	case "nothing":
		return []string{"--user", "admin", "on", ">" + s.Password, "~*", "&*", "+@all"}, nil
	}
	path, err := s.write("users.acl", []byte(lines))
	return []string{"--aclfile", path}, err
}

// Restart ends the server and starts it again, at its port and in its directory.
func (s *RedisServer) Restart(ctx context.Context) error {
	if err := s.Pause(); err != nil {
		return err
	}
	return s.run(ctx, s.command(s.Port), s.ready)
}

// Pause ends the server until Restart.
func (s *RedisServer) Pause() error { return s.process.stop(syscall.SIGKILL) }

// Stop ends the server and removes all of it.
func (s *RedisServer) Stop() error { return s.stop() }

// pong signs in.
func (s *RedisServer) pong(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "AUTH admin %s\r\n", s.Password); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+OK") {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}
