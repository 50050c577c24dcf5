package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// RedisServer is a running Redis with an ACL user "app", 16 databases, and
// nobody who may enter without a password.
type RedisServer struct {
	*daemon
	User     string
	Password string
	CA       []byte // PEM; nil without TLS
}

// Redis starts a server that ends with the test. With TLS it speaks nothing
// else.
func Redis(t testing.TB, secure bool) *RedisServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := startRedis(ctx, secure)
	during(t, s.daemon, err)
	return s
}

func startRedis(ctx context.Context, secure bool) (*RedisServer, error) {
	s := &RedisServer{User: "app", Password: randomHex(16)}
	program, err := find("redis-server", "Redis")
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("Redis"); err != nil {
		return s, err
	}
	users, err := s.write("users.acl", fmt.Appendf(nil, "user default off\nuser %s on >%s ~* &* +@all -@admin\n", s.User, s.Password))
	if err != nil {
		return s, err
	}
	var secured []string
	if secure {
		cert, key, ca, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		secured = []string{"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no", "--port", "0", "--tls-port"}
	} else {
		secured = []string{"--port"}
	}
	ready := s.pong
	if secure {
		ready = s.dialed
	}
	return s, s.start(ctx, func(port int) *exec.Cmd {
		return s.command(context.Background(), program, append([]string{"--bind", s.Host, "--dir", s.dir, "--aclfile", users, "--save", "", "--appendonly", "no"},
			append(secured, fmt.Sprint(port))...)...)
	}, ready)
}

// pong signs in as the user.
func (s *RedisServer) pong(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "AUTH %s %s\r\n", s.User, s.Password); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "+OK") {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}
