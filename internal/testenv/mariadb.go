package testenv

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/gofrs/flock"
)

// MariaDBServer is a running MariaDB with a database "shop", a user "app" who owns
// it, and one "keeper" who may do everything; both have the password.
type MariaDBServer struct {
	*daemon
	User     string
	Super    string
	Password string
	Database string
	CA       []byte // PEM; nil without TLS

	again func(ctx context.Context) error
}

// MariaDB starts a server that ends with the test.
func MariaDB(t testing.TB, secure bool) *MariaDBServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := startMariaDB(ctx, secure)
	during(t, s.daemon, err)
	return s
}

// StartMariaDB starts a server that several tests use, with these arguments besides;
// whoever starts it stops it.
func StartMariaDB(ctx context.Context, secure bool, args ...string) (*MariaDBServer, error) {
	s, err := startMariaDB(ctx, secure, args...)
	if err != nil && s.daemon != nil {
		err = errors.Join(err, s.stop())
	}
	return s, err
}

// Stop ends the server and removes all of it.
func (s *MariaDBServer) Stop() error { return s.stop() }

// Restart ends the server and starts it again at the same
// address.
func (s *MariaDBServer) Restart(ctx context.Context) error {
	if err := s.process.stop(syscall.SIGTERM); err != nil {
		return err
	}
	return s.again(ctx)
}

// Exec runs statements as who may do everything.
func (s *MariaDBServer) Exec(ctx context.Context, statements ...string) error {
	db, err := s.Open(s.Super, s.Password, "")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Open is a client of the server, in its TLS where it has that.
func (s *MariaDBServer) Open(user, password, database string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net, c.Addr = user, password, database, "tcp", s.Addr()
	c.Collation = "utf8mb4_general_ci"
	if s.CA != nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.CA)
		c.TLS = &tls.Config{RootCAs: roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func startMariaDB(ctx context.Context, secure bool, more ...string) (*MariaDBServer, error) {
	s := &MariaDBServer{User: "app", Super: "keeper", Password: randomHex(16), Database: "shop"}
	program, err := find("mariadbd", "MariaDB")
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("MariaDB"); err != nil {
		return s, err
	}
	template, err := s.template(ctx, program)
	if err != nil {
		return s, err
	}
	data := filepath.Join(s.dir, "data")
	if err := copyTree(template, data); err != nil {
		return s, err
	}
	first, err := s.write("init.sql", fmt.Appendf(nil, "create database if not exists %s;\ncreate user if not exists %s@'127.0.0.1' identified by '%s';\ngrant all on %s.* to %s@'127.0.0.1';\n"+
		"create user if not exists %s@'127.0.0.1' identified by '%s';\ngrant all on *.* to %[6]s@'127.0.0.1' with grant option;\n",
		s.Database, s.User, s.Password, s.Database, s.User, s.Super, s.Password))
	if err != nil {
		return s, err
	}
	args := []string{"--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(s.dir, "s"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--bind-address=" + s.Host, "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--init-file=" + first}
	if secure {
		cert, key, ca, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		args = append(args, "--ssl-cert="+cert, "--ssl-key="+key, "--ssl-ca="+ca)
	}
	args = append(args, more...)
	command := func(port int) *exec.Cmd {
		return s.command(context.Background(), program, append(args, fmt.Sprintf("--port=%d", port))...)
	}
	s.again = func(ctx context.Context) error { return s.run(ctx, command(s.Port), s.answers) }
	return s, s.start(ctx, command, s.ready)
}

// answers asks: after a restart, the log says of both starts that they are ready.
func (s *MariaDBServer) answers(ctx context.Context) error { return s.Exec(ctx) }

// ready looks into the log: the server listens before it has run init.sql.
func (s *MariaDBServer) ready(context.Context) error {
	log, err := os.ReadFile(s.logPath())
	if err == nil && !strings.Contains(string(log), "ready for connections") {
		err = errors.New("it does not say that it is ready")
	}
	return err
}

// template is a data directory as mariadb-install-db makes it, made once per
// machine.
func (s *MariaDBServer) template(ctx context.Context, server string) (string, error) {
	install, err := find("mariadb-install-db", "MariaDB")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = s.dir // no home: no cache
	}
	cache = filepath.Join(cache, "patchbay-testenv")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(server)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "1 %d %s %d", info.Size(), info.ModTime().UTC(), os.Getuid()))
	template := filepath.Join(cache, fmt.Sprintf("mariadb-%x", key[:6]))
	lock := flock.New(template + ".lock")
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(template); err == nil {
		return template, nil
	}
	fresh := filepath.Join(s.dir, "template")
	cmd := s.command(ctx, install, "--no-defaults", "--datadir="+fresh, "--skip-test-db", "--auth-root-authentication-method=normal")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	partial := template + ".partial"
	if err := errors.Join(os.RemoveAll(partial), copyTree(fresh, partial), os.RemoveAll(fresh)); err != nil {
		return "", err
	}
	return template, os.Rename(partial, template)
}
