package testenv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// EtcdOptions say how a server is. The zero value is Debian's, in the clear, with
// authentication and simple tokens.
type EtcdOptions struct {
	// Program is the server; "" is the one that is installed.
	Program string
	TLS     bool // and nothing else
	// ClientCerts has it want a certificate of each client, with TLS.
	ClientCerts  bool
	SignedTokens bool // --auth-token jwt
	NoAuth       bool // authentication stays off
	Quota        int  // bytes of its database; 0 is etcd's own bound
	// Of is the cluster that it joins as a learner.
	Of *EtcdServer
}

// EtcdServer is a running etcd of one member, with a user "root".
type EtcdServer struct {
	*daemon
	User     string
	Password string
	CA       []byte // PEM; nil without TLS
	options  EtcdOptions
	peer     int // the port of other members
	command  func(port int) *exec.Cmd
}

// Etcd starts a server that ends with the test.
func Etcd(t testing.TB, o EtcdOptions) *EtcdServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartEtcd(ctx, o)
	during(t, s.daemon, err)
	return s
}

// StartEtcd starts a server; the caller stops it, also when there is an error.
func StartEtcd(ctx context.Context, o EtcdOptions) (*EtcdServer, error) {
	s := &EtcdServer{User: "root", Password: randomHex(16), options: o}
	// The client's library tells the standard error what it is refused.
	if err := os.Setenv("ETCD_CLIENT_DEBUG", "fatal"); err != nil {
		return s, err
	}
	program := o.Program
	var err error
	if program == "" {
		if program, err = find("etcd", "etcd"); err != nil {
			return s, err
		}
	}
	if s.daemon, err = newDaemon("etcd"); err != nil {
		return s, err
	}
	if o.Program != "" { // it may be where its user may not look
		if program, err = s.copied(o.Program); err != nil {
			return s, err
		}
	}
	// Passwords are as cheap as they may be, and nothing survives the machine.
	args := []string{"--data-dir", filepath.Join(s.dir, "data"), "--bcrypt-cost", "4", "--unsafe-no-fsync", "--logger", "zap", "--log-level", "warn"}
	if s.peer, err = freePort(); err != nil {
		return s, err
	}
	cluster := "default=" + s.peerURL()
	if o.Of != nil {
		args, cluster = append(args, "--name", "learner", "--initial-cluster-state", "existing"), "default="+o.Of.peerURL()+",learner="+s.peerURL()
	}
	args = append(args, "--listen-peer-urls", s.peerURL(), "--initial-advertise-peer-urls", s.peerURL(), "--initial-cluster", cluster)
	if o.Quota > 0 {
		args = append(args, "--quota-backend-bytes", strconv.Itoa(o.Quota))
	}
	if o.TLS {
		cert, key, ca, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		args = append(args, "--cert-file", cert, "--key-file", key)
		if o.ClientCerts {
			args = append(args, "--client-cert-auth", "--trusted-ca-file", ca)
		}
	}
	if o.SignedTokens {
		key, err := s.tokenKey()
		if err != nil {
			return s, err
		}
		args = append(args, "--auth-token", "jwt,priv-key="+key+",sign-method=ES256,ttl=10m")
	}
	s.command = func(port int) *exec.Cmd {
		s.Port = port
		return s.daemon.command(context.Background(), program, append(args, "--listen-client-urls", s.URL(), "--advertise-client-urls", s.URL())...)
	}
	if o.Of != nil {
		c, err := o.Of.Client(o.Of.User, o.Of.Password)
		if err != nil {
			return s, err
		}
		defer func() { _ = c.Close() }()
		if _, err := c.MemberAddAsLearner(ctx, []string{s.peerURL()}); err != nil {
			return s, err
		}
	}
	if err := s.start(ctx, s.command, s.answers); err != nil || o.NoAuth || o.Of != nil {
		return s, err
	}
	return s, s.EnableAuth(ctx)
}

// copied is a program of the daemon's own.
func (s *EtcdServer) copied(program string) (string, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path, err := s.write("etcd", content)
	if err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o700)
}

// tokenKey is a file with what tokens are signed with.
func (s *EtcdServer) tokenKey() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	return s.write("token.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// URL is the server's, for clients.
func (s *EtcdServer) URL() string {
	if s.options.TLS {
		return "https://" + s.Addr()
	}
	return "http://" + s.Addr()
}

func (s *EtcdServer) peerURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.peer) }

// answers is ready when the member has a leader.
func (s *EtcdServer) answers(ctx context.Context) error {
	if s.options.ClientCerts {
		return s.dialed(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := s.Client("", "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	state, err := c.Status(ctx, s.URL())
	if err == nil && state.Leader == 0 {
		err = errors.New("it has no leader")
	}
	return err
}

// EnableAuth makes the user root, and lets nobody in without a password.
func (s *EtcdServer) EnableAuth(ctx context.Context) error {
	if s.options.ClientCerts {
		return nil // nobody of ours gets in
	}
	c, err := s.Client("", "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.UserAdd(ctx, s.User, s.Password); err != nil {
		return err
	}
	if _, err := c.UserGrantRole(ctx, s.User, "root"); err != nil {
		return err
	}
	_, err = c.AuthEnable(ctx)
	return err
}

// Client is the project's own, signed in as that user; as nobody where it has no name.
// The caller closes it.
func (s *EtcdServer) Client(user, password string) (*clientv3.Client, error) {
	c := clientv3.Config{Endpoints: []string{s.URL()}, DialTimeout: 10 * time.Second, Username: user, Password: password}
	if s.options.TLS {
		c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		c.TLS.RootCAs.AppendCertsFromPEM(s.CA)
	}
	return clientv3.New(c)
}

// Root is a client of the user root, until the test ends.
func (s *EtcdServer) Root(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := s.Client(s.User, s.Password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Kill ends the server at once.
func (s *EtcdServer) Kill() error {
	err := s.process.stop(syscall.SIGKILL)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

// Start starts it again, where it was and with what it had.
func (s *EtcdServer) Start(ctx context.Context) error {
	return s.run(ctx, s.command(s.Port), s.answers)
}

// Stop ends it, and removes all of it.
func (s *EtcdServer) Stop() error {
	if s.daemon == nil {
		return nil
	}
	return s.stop()
}

// Admin is the administrator's credential.
func (s *EtcdServer) Admin() driver.Secrets {
	return driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret(s.Password)}
}

// NewestEtcd is the program that PATCHBAY_ETCD names; a test is skipped where there is
// none.
func NewestEtcd(t testing.TB) string {
	t.Helper()
	program := os.Getenv("PATCHBAY_ETCD")
	if program == "" {
		t.Skip("the newest etcd is not built here: make test-etcd")
	}
	return program
}
