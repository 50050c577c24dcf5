package testenv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

// PostgresOptions say which PostgreSQL server to start.
type PostgresOptions struct {
	// Version is the major version; 0 is the newest of the system's own, or
	// where there is none the newest that `make deps` installed.
	Version int
	// TLS makes the server offer TLS, with a certificate for 127.0.0.1 and
	// localhost of an authority of its own.
	TLS bool
	// HBA are the lines of pg_hba.conf for TCP connections; by default every
	// role may sign in from 127.0.0.1 with its password.
	HBA []string
	// Settings go into postgresql.conf as they are: name to value, a string's
	// quotes included.
	Settings map[string]string
	// Network is another one than this process's that the server runs in: it listens on
	// every address there, and Connect, Exec and SetHBA don't reach it from here.
	Network interface {
		Inside(argv ...string) *exec.Cmd
	}
}

// PostgresServer is a running PostgreSQL with a superuser "postgres".
type PostgresServer struct {
	Version  int
	Host     string // 127.0.0.1
	Port     int
	User     string
	Password string
	CA       []byte // PEM; nil without TLS

	dir       string
	bin       string
	authority *authority
	process   *serverProcess
	inside    func(argv ...string) *exec.Cmd // nil: here
}

// ErrNotInstalled says that there is no such server on this machine.
var ErrNotInstalled = errors.New("not installed")

// Postgres starts a server for a test, and stops and removes it when the test
// ends. A version that is not installed skips the test, or fails it when
// PATCHBAY_TESTENV is "required".
func Postgres(t testing.TB, o PostgresOptions) *PostgresServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := StartPostgres(ctx, o)
	if errors.Is(err, ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's last words:\n%s", s.logTail(4000))
		}
		if err := s.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return s
}

// PostgresVersions are the major versions from 13 on that are installed.
func PostgresVersions() []int {
	var found []int
	for v := 13; v <= 30; v++ {
		if _, err := postgresBin(v); err == nil {
			found = append(found, v)
		}
	}
	return found
}

// StartPostgres starts a server; the caller stops it. On Linux it ends with
// this process, however that ends.
func StartPostgres(ctx context.Context, o PostgresOptions) (*PostgresServer, error) {
	version := o.Version
	if version == 0 {
		version = defaultPostgres()
	}
	bin, err := postgresBin(version)
	if err != nil {
		return nil, err
	}
	sweepStale()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", stalePrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{Version: version, Host: "127.0.0.1", User: "postgres", Password: randomHex(16), dir: dir, bin: bin}
	if o.Network != nil {
		s.inside = o.Network.Inside
	}
	if err := s.prepare(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start PostgreSQL %d: %w", version, err), s.Stop())
	}
	return s, nil
}

func (s *PostgresServer) prepare(ctx context.Context, o PostgresOptions) error {
	if err := chownServer(s.dir); err != nil {
		return err
	}
	if err := s.reachableBin(); err != nil {
		return err
	}
	template, err := s.template(ctx)
	if err != nil {
		return err
	}
	if err := copyTree(template, s.data()); err != nil {
		return err
	}
	if err := s.configure(o); err != nil {
		return err
	}
	// Another process may take the port between the look and the start.
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		if err = s.Start(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	return s.setPassword(ctx)
}

func (s *PostgresServer) data() string    { return filepath.Join(s.dir, "data") }
func (s *PostgresServer) logPath() string { return filepath.Join(s.dir, "log") }

// template is a data directory as initdb makes it, made once per machine.
func (s *PostgresServer) template(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = s.dir // no home: no cache
	}
	cache = filepath.Join(cache, "patchbay-testenv")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(filepath.Join(s.bin, "postgres"))
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "1 %d %d %s %d", s.Version, info.Size(), info.ModTime().UTC(), os.Getuid()))
	template := filepath.Join(cache, fmt.Sprintf("pg%d-%x", s.Version, key[:6]))
	lock := flock.New(template + ".lock")
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(template); err == nil {
		return template, nil
	}
	fresh := filepath.Join(s.dir, "template")
	cmd := s.command(ctx, "initdb", "-D", fresh, "-U", s.User, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	partial := template + ".partial"
	if err := errors.Join(os.RemoveAll(partial), copyTree(fresh, partial), os.RemoveAll(fresh)); err != nil {
		return "", err
	}
	return template, os.Rename(partial, template)
}

func (s *PostgresServer) configure(o PostgresOptions) error {
	var conf strings.Builder
	setting := func(name, value string) { fmt.Fprintf(&conf, "%s = %s\n", name, value) }
	quoted := func(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }
	setting("listen_addresses", quoted(map[bool]string{false: s.Host, true: "*"}[s.inside != nil]))
	setting("unix_socket_directories", quoted(s.dir))
	setting("password_encryption", "'scram-sha-256'")
	setting("fsync", "off")
	setting("full_page_writes", "off")
	setting("autovacuum", "off")
	setting("shared_buffers", "'16MB'")
	setting("max_connections", "100")
	if o.TLS {
		var err error
		if s.authority, err = newAuthority(); err != nil {
			return err
		}
		cert, key, err := s.authority.issue("localhost", []string{"localhost"}, []net.IP{net.ParseIP(s.Host)})
		if err != nil {
			return err
		}
		s.CA = s.authority.pem
		for name, content := range map[string][]byte{"server.crt": cert, "server.key": key, "ca.crt": s.CA} {
			if err := s.writeData(name, content); err != nil {
				return err
			}
		}
		setting("ssl", "on")
		setting("ssl_cert_file", "'server.crt'")
		setting("ssl_key_file", "'server.key'")
		setting("ssl_ca_file", "'ca.crt'")
	}
	for name, value := range o.Settings {
		setting(name, value)
	}
	hba := o.HBA
	if hba == nil {
		hba = []string{"host all all 127.0.0.1/32 scram-sha-256"}
	}
	// The socket is in a directory of mode 0700.
	hba = append([]string{"local all postgres trust"}, hba...)
	if err := s.writeData("pg_hba.conf", []byte(strings.Join(hba, "\n")+"\n")); err != nil {
		return err
	}
	return s.writeData("postgresql.conf", []byte(conf.String()))
}

func (s *PostgresServer) writeData(name string, content []byte) error {
	path := filepath.Join(s.data(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return chownServer(path)
}

// SetHBA replaces the lines of pg_hba.conf for TCP connections, and has the
// server read them.
func (s *PostgresServer) SetHBA(ctx context.Context, lines ...string) error {
	content := "local all postgres trust\n" + strings.Join(lines, "\n") + "\n"
	if err := s.writeData("pg_hba.conf", []byte(content)); err != nil {
		return err
	}
	c, err := s.local(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	var wrong int
	if err := c.QueryRow(ctx, "select count(*) from pg_hba_file_rules where error is not null").Scan(&wrong); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("pg_hba.conf has %d wrong lines", wrong)
	}
	_, err = c.Exec(ctx, "select pg_reload_conf()")
	return err
}

// Start starts the server again after [PostgresServer.Crash], on the same port.
func (s *PostgresServer) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := s.command(context.Background(), "postgres", "-D", s.data(), "-p", strconv.Itoa(s.Port))
	if s.inside != nil { // which takes root's rights
		there := s.inside(append(becomeServerUser(), cmd.Args...)...)
		there.Dir, there.Env = cmd.Dir, cmd.Env
		cmd = there
	}
	cmd.Stdout, cmd.Stderr = log, log
	// A crash leaves its pid file, which would look ready.
	if err := os.Remove(filepath.Join(s.data(), "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.process, err = startProcess(cmd); err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// The eighth line of postmaster.pid is the server's state.
		pid, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		if lines := strings.Split(string(pid), "\n"); len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.process.done:
			return fmt.Errorf("it ended: %w\n%s", s.process.err, s.logTail(2000))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.process.stop(syscall.SIGQUIT))
		}
	}
}

// Crash ends the server at once, as a power cut would; its data stays.
func (s *PostgresServer) Crash() error {
	return s.process.stop(syscall.SIGQUIT)
}

// Stop ends the server and removes everything of it. It may be called again.
func (s *PostgresServer) Stop() error {
	var err error
	if s.process != nil {
		err = s.process.stop(syscall.SIGQUIT)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// setPassword gives the superuser its password, through the socket and past
// the log.
func (s *PostgresServer) setPassword(ctx context.Context) error {
	c, err := s.local(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, "set log_statement = 'none'; set log_min_duration_statement = -1; set log_duration = off"); err != nil {
		return err
	}
	_, err = c.Exec(ctx, "alter role postgres password '"+s.Password+"'")
	return err
}

func (s *PostgresServer) local(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("host='%s' port=%d user=postgres dbname=postgres sslmode=disable", s.dir, s.Port))
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, c)
}

// Addr is host:port.
func (s *PostgresServer) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// URL is the superuser's, with its password.
func (s *PostgresServer) URL(database string) string {
	return s.URLAs(s.User, s.Password, database)
}

// URLAs is some login's.
func (s *PostgresServer) URLAs(user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: s.Addr(), RawQuery: "sslmode=prefer"}
	u.Path = "/" + database
	return u.String()
}

// Connect signs in as the superuser.
func (s *PostgresServer) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, s.URL(database))
}

// Exec runs statements as the superuser, each in its own transaction.
func (s *PostgresServer) Exec(ctx context.Context, database string, statements ...string) error {
	c, err := s.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	for _, statement := range statements {
		if _, err := c.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// HBA is where its pg_hba.conf is.
func (s *PostgresServer) HBA() string { return filepath.Join(s.data(), "pg_hba.conf") }

// Log is what the server has logged. A statement is in it before its result
// is sent, if the server logs statements (log_statement = 'all').
func (s *PostgresServer) Log() (string, error) {
	b, err := os.ReadFile(s.logPath())
	return string(b), err
}

func (s *PostgresServer) logTail(n int) string {
	log, _ := s.Log()
	if len(log) > n {
		log = log[len(log)-n:]
	}
	return log
}

// ClientCertificate is a certificate of the server's authority with that
// common name, and its key, both PEM.
func (s *PostgresServer) ClientCertificate(commonName string) (cert, key []byte, err error) {
	if s.authority == nil {
		return nil, nil, errors.New("the server has no TLS")
	}
	return s.authority.issue(commonName, nil, nil)
}

// command is a program of the server's, run as the server's user.
func (s *PostgresServer) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = asServerUser()
	return cmd
}

// reachableBin copies the programs next to the data when the server's user
// can't reach them: a checkout below /root.
func (s *PostgresServer) reachableBin() error {
	cmd := s.command(context.Background(), "postgres", "--version")
	if err := cmd.Run(); err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	native := filepath.Join(s.dir, "native")
	if err := copyTree(filepath.Dir(s.bin), native); err != nil {
		return err
	}
	s.bin = filepath.Join(native, "bin")
	return nil
}

// defaultPostgres is the system's newest, else the newest there is, else 15.
func defaultPostgres() int {
	best := 0
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	for _, d := range dirs {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(d)))); err == nil && v >= 13 {
			best = max(best, v)
		}
	}
	if best > 0 {
		return best
	}
	if all := PostgresVersions(); len(all) > 0 {
		return slices.Max(all)
	}
	return 15
}

// postgresBin is where initdb and postgres of that version are.
func postgresBin(version int) (string, error) {
	dirs := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", version)}
	if root, err := moduleRoot(); err == nil {
		dirs = append(dirs, filepath.Join(root, "internal", "testenv", "npm", "node_modules", fmt.Sprintf("pg%d", version), "native", "bin"))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL %d is %w: `make deps` installs it", version, ErrNotInstalled)
}

// moduleRoot is the nearest directory upwards that has this module's go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if b, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(b, []byte("module patchbay.dev/patchbay\n")) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fs.ErrNotExist
		}
		dir = up
	}
}

// serverProcess is a child that does not outlive this process.
type serverProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // after done

	once sync.Once
}

// startProcess starts cmd from a thread that stays: the parent-death signal
// is sent when the thread that made the child ends, not the process.
func startProcess(cmd *exec.Cmd) (*serverProcess, error) {
	p := &serverProcess{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

// stop sends sig, and SIGKILL when that has not helped for ten seconds.
func (p *serverProcess) stop(sig syscall.Signal) error {
	if p == nil || p.cmd.Process == nil {
		return nil
	}
	p.once.Do(func() { _ = p.cmd.Process.Signal(sig) })
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return errors.New("it had to be killed")
	}
}

// serverUser is whom servers run as: PostgreSQL refuses to run as root.
var serverUser = sync.OnceValues(func() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("no user postgres or nobody to run servers as")
})

// becomeServerUser begins the command line of a program that is the server's user's,
// and is told to quit as one of asServerUser's.
func becomeServerUser() []string {
	argv := []string{"setpriv", "--pdeathsig", "QUIT"}
	if c, err := serverUser(); err == nil && c != nil {
		argv = append(argv, fmt.Sprintf("--reuid=%d", c.Uid), fmt.Sprintf("--regid=%d", c.Gid), "--clear-groups")
	}
	return append(argv, "--")
}

func chownServer(path string) error {
	c, err := serverUser()
	if err != nil || c == nil {
		return err
	}
	return os.Chown(path, int(c.Uid), int(c.Gid))
}

// copyTree copies a directory; the copy belongs to the server's user.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			err = os.Mkdir(dst, info.Mode().Perm())
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, dst)
		default:
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				err = os.WriteFile(dst, b, info.Mode().Perm())
			}
		}
		if err != nil {
			return err
		}
		return chownServer(dst)
	})
}

// stalePrefix names the directories of servers, with the pid that made them.
const stalePrefix = "patchbay-pg-"

// sweepStale removes what processes that were killed left behind.
func sweepStale() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), stalePrefix+"*"))
	for _, dir := range dirs {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), stalePrefix), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// authority issues the certificates of one server and its clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Patchbay test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func (a *authority) issue(commonName string, names []string, addresses []net.IP) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, DNSNames: names, IPAddresses: addresses,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
