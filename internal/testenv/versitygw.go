package testenv

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// VersityGWOptions say how a gateway is. The zero value is in the clear, with users of
// its own and one port for S3 and the admin API.
type VersityGWOptions struct {
	TLS       bool
	NoUsers   bool   // it has its root alone
	AdminPort bool   // the admin API has a port of its own
	Region    string // "" is us-east-1
	// Attributes has it keep policies in attributes of directories, whose size the file
	// system bounds, in place of files of their own.
	Attributes bool
	Versioning bool // buckets may keep old versions
	// Of is the gateway whose data and users it has too.
	Of *VersityGWServer
}

// VersityGWServer is a running Versity S3 Gateway.
type VersityGWServer struct {
	*daemon
	Root   string // the access key id of its root
	Secret string
	CA     []byte // PEM; nil without TLS
	Region string

	options VersityGWOptions
	admin   int
	place   string // of what it keeps
	command func(port int) *exec.Cmd
}

// VersityGW starts a gateway that ends with the test.
func VersityGW(t testing.TB, o VersityGWOptions) *VersityGWServer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := StartVersityGW(ctx, o)
	during(t, s.daemon, err)
	return s
}

// StartVersityGW starts a gateway; the caller stops it, also when there is an error.
func StartVersityGW(ctx context.Context, o VersityGWOptions) (*VersityGWServer, error) {
	s := &VersityGWServer{Root: "root", Secret: randomHex(20), Region: o.Region, options: o}
	if s.Region == "" {
		s.Region = "us-east-1"
	}
	built, err := builtVersityGW()
	if err != nil {
		return s, err
	}
	if s.daemon, err = newDaemon("versitygw"); err != nil {
		return s, err
	}
	// It may be where its user may not look.
	program := filepath.Join(s.dir, "versitygw")
	if err := copyProgram(built, program); err != nil {
		return s, err
	}
	s.place = s.dir
	if o.Of != nil {
		s.place, s.Secret = o.Of.dir, o.Of.Secret
	}
	args := []string{"--region", s.Region, "--quiet"}
	if !o.NoUsers {
		args = append(args, "--iam-dir", filepath.Join(s.place, "users"))
	}
	if o.AdminPort {
		if s.admin, err = freePort(); err != nil {
			return s, err
		}
		args = append(args, "--admin-port", fmt.Sprintf("%s:%d", s.Host, s.admin))
	}
	if o.TLS {
		cert, key, _, authority, err := s.certificates()
		if err != nil {
			return s, err
		}
		s.CA = authority
		args = append(args, "--cert", cert, "--key", key)
		if o.AdminPort {
			args = append(args, "--admin-cert", cert, "--admin-cert-key", key)
		}
	}
	keeps := []string{"posix"}
	if !o.Attributes {
		keeps = append(keeps, "--sidecar", filepath.Join(s.place, "beside"))
	}
	if o.Versioning {
		keeps = append(keeps, "--versioning-dir", filepath.Join(s.place, "versions"))
	}
	if o.Of == nil {
		for _, name := range []string{"data", "users", "beside", "versions"} {
			if err := s.directory(filepath.Join(s.dir, name)); err != nil {
				return s, err
			}
		}
	}
	s.command = func(port int) *exec.Cmd {
		all := append(append([]string{"--port", fmt.Sprintf("%s:%d", s.Host, port)}, args...), append(keeps, filepath.Join(s.place, "data"))...)
		cmd := s.daemon.command(context.Background(), program, all...)
		cmd.Env = append(cmd.Env, "ROOT_ACCESS_KEY_ID="+s.Root, "ROOT_SECRET_ACCESS_KEY="+s.Secret)
		return cmd
	}
	return s, s.start(ctx, s.command, s.answers)
}

func (s *VersityGWServer) directory(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return chownServer(path)
}

// copyProgram makes a program another one of whom the server runs as.
func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, content, 0o700); err != nil {
		return err
	}
	return chownServer(to)
}

// builtVersityGW is the program that tools/s3.sh has built.
func builtVersityGW() (string, error) {
	missing := fmt.Errorf("the Versity S3 Gateway is %w: `make deps` builds it", ErrNotInstalled)
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	f, err := os.Open(filepath.Join(root, "tools", "s3", "go.mod"))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", missing
		}
		cache = filepath.Join(home, ".cache")
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		version, ok := strings.CutPrefix(lines.Text(), "require github.com/versity/versitygw ")
		if !ok {
			continue
		}
		if path := filepath.Join(cache, "patchbay", "s3", version, "versitygw"); isFile(path) {
			return path, nil
		}
	}
	return "", missing
}

func (s *VersityGWServer) scheme() string {
	if s.options.TLS {
		return "https://"
	}
	return "http://"
}

// URL is where it speaks S3.
func (s *VersityGWServer) URL() string { return s.scheme() + s.Addr() }

// AdminURL is where its admin API is.
func (s *VersityGWServer) AdminURL() string {
	if s.admin == 0 {
		return s.URL()
	}
	return fmt.Sprintf("%s%s:%d", s.scheme(), s.Host, s.admin)
}

// Admin is the credential of its root.
func (s *VersityGWServer) Admin() driver.Secrets {
	return driver.Secrets{"accessKeyId": patchbay.NewSecret(s.Root), "secretAccessKey": patchbay.NewSecret(s.Secret)}
}

// Client is a client of S3 for who has those keys.
func (s *VersityGWServer) Client(id, secret string) (*minio.Client, error) {
	pool, err := minio.DefaultTransport(s.options.TLS)
	if err != nil {
		return nil, err
	}
	if s.options.TLS {
		pool.TLSClientConfig.RootCAs.AppendCertsFromPEM(s.CA)
	}
	pool.DisableKeepAlives = true // or connections stay behind
	return minio.New(s.Addr(), &minio.Options{
		Creds: credentials.NewStaticV4(id, secret, ""), Secure: s.options.TLS, Transport: pool, Region: s.Region, MaxRetries: 1, BucketLookup: minio.BucketLookupPath,
	})
}

// RootClient is one of its root.
func (s *VersityGWServer) RootClient(t testing.TB) *minio.Client {
	t.Helper()
	c, err := s.Client(s.Root, s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answers is ready when its root can list the buckets.
func (s *VersityGWServer) answers(ctx context.Context) error {
	c, err := s.Client(s.Root, s.Secret)
	if err == nil {
		_, err = c.ListBuckets(ctx)
	}
	return err
}

// Manage has its own program administer it, as an operator does: versitygw admin ARGS.
func (s *VersityGWServer) Manage(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"admin", "--access", s.Root, "--secret", s.Secret, "--endpoint-url", s.AdminURL(), "--region", s.Region, "--allow-insecure"}, args...)
	cmd := s.daemon.command(ctx, filepath.Join(s.dir, "versitygw"), args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("versitygw %s: %w: %s", args[len(args)-1], err, out)
	}
	return string(out), nil
}

// User makes a user by the admin API, or makes one that is there have that secret and role.
func (s *VersityGWServer) User(ctx context.Context, name, secret, role string) error {
	if _, err := s.Manage(ctx, "create-user", "--access", name, "--secret", secret, "--role", role); err == nil {
		return nil
	}
	_, err := s.Manage(ctx, "update-user", "--access", name, "--secret", secret, "--role", role)
	return err
}

// Kill ends the gateway at once.
func (s *VersityGWServer) Kill() error {
	err := s.process.stop(syscall.SIGKILL)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

// Start starts it again, where it was and with what it had.
func (s *VersityGWServer) Start(ctx context.Context) error {
	return s.run(ctx, s.command(s.Port), s.answers)
}

// Stop ends it, and removes all of it.
func (s *VersityGWServer) Stop() error {
	if s.daemon == nil {
		return nil
	}
	return s.stop()
}

// AddUser makes a user with what policies give it, without a program's start.
func (s *VersityGWServer) AddUser(ctx context.Context, name, secret string) error {
	return s.send(ctx, http.MethodPatch, s.AdminURL()+"/create-user", "<Account><Access>"+name+"</Access><Secret>"+secret+"</Secret><Role>user</Role></Account>", nil)
}

// DropUser removes a user; absent is success.
func (s *VersityGWServer) DropUser(ctx context.Context, name string) error {
	return s.send(ctx, http.MethodPatch, s.AdminURL()+"/delete-user?access="+name, "", nil)
}

// administering is who speaks to the admin APIs of S3 servers.
var administering = &http.Client{Timeout: 30 * time.Second}

// Put puts a text with those headers, as its root: for what the client has nothing.
func (s *VersityGWServer) Put(ctx context.Context, path, query, text string, header map[string]string) error {
	return s.send(ctx, http.MethodPut, s.URL()+path+"?"+query+"=", text, header)
}

func (s *VersityGWServer) send(ctx context.Context, method, at, text string, header map[string]string) error {
	r, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(text))
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	for name, value := range header {
		r.Header.Set(name, value)
	}
	response, err := administering.Do(signer.SignV4(*r, s.Root, s.Secret, "", s.Region))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		said, err := io.ReadAll(response.Body)
		return fmt.Errorf("HTTP %d: %s (%w)", response.StatusCode, said, err)
	}
	return nil
}
