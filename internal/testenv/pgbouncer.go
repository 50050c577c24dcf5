package testenv

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// PoolerServer is a running PgBouncer in front of a PostgreSQL server.
type PoolerServer struct {
	*daemon
	CA []byte // PEM; nil without TLS
}

// PgBouncer starts a pooler of that mode (session, transaction, statement) in front
// of s, with a few sessions for each login and database. It lets in whom s does, with
// SCRAM, and ends with the test.
func PgBouncer(t testing.TB, s *PostgresServer, mode string, secure bool) *PoolerServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := startPgBouncer(ctx, s, mode, secure)
	during(t, p.daemon, err)
	return p
}

func startPgBouncer(ctx context.Context, s *PostgresServer, mode string, secure bool) (*PoolerServer, error) {
	p := &PoolerServer{}
	program, err := find("pgbouncer", "PgBouncer")
	if err != nil {
		return p, err
	}
	if p.daemon, err = newDaemon("PgBouncer"); err != nil {
		return p, err
	}
	users, err := p.write("users.txt", fmt.Appendf(nil, "%q %q\n", s.User, s.Password))
	if err != nil {
		return p, err
	}
	lines := []string{
		"[databases]", fmt.Sprintf("* = host=%s port=%d", s.Host, s.Port),
		"[pgbouncer]", "listen_addr = " + p.Host, "unix_socket_dir =", "auth_type = scram-sha-256", "auth_file = " + users,
		"auth_user = " + s.User, "auth_query = select usename, passwd from pg_catalog.pg_shadow where usename = $1",
		"pool_mode = " + mode, "default_pool_size = 3", "server_idle_timeout = 2", "server_lifetime = 3600",
	}
	if secure {
		cert, key, _, authority, err := p.certificates()
		if err != nil {
			return p, err
		}
		p.CA = authority
		lines = append(lines, "client_tls_sslmode = allow", "client_tls_cert_file = "+cert, "client_tls_key_file = "+key)
	}
	return p, p.start(ctx, func(port int) *exec.Cmd {
		config, err := p.write(fmt.Sprintf("pgbouncer-%d.ini", port), []byte(strings.Join(append(lines, fmt.Sprintf("listen_port = %d", port)), "\n")+"\n"))
		if err != nil {
			config = err.Error() // which is no file: it says so, and ends
		}
		return p.command(context.Background(), program, config)
	}, p.dialed)
}
