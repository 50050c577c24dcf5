package testenv

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// MinIOServer is a running MinIO.
type MinIOServer struct {
	*daemon
	Root   string // the access key id of its root
	Secret string
}

// MinIO starts a server that ends with the test. It is the program that PATCHBAY_MINIO
// names; the test is skipped where there is none.
func MinIO(t testing.TB) *MinIOServer {
	t.Helper()
	program := os.Getenv("PATCHBAY_MINIO")
	if program == "" {
		t.Skip("MinIO is not built here: make test-minio")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := startMinIO(ctx, program)
	during(t, s.daemon, err)
	return s
}

func startMinIO(ctx context.Context, built string) (*MinIOServer, error) {
	s := &MinIOServer{Root: "root", Secret: randomHex(20)}
	var err error
	if s.daemon, err = newDaemon("minio"); err != nil {
		return s, err
	}
	program := filepath.Join(s.dir, "minio") // it may be where its user may not look
	if err := copyProgram(built, program); err != nil {
		return s, err
	}
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return s, err
	}
	if err := chownServer(data); err != nil {
		return s, err
	}
	command := func(port int) *exec.Cmd {
		cmd := s.daemon.command(context.Background(), program, "server", "--quiet", "--address", fmt.Sprintf("%s:%d", s.Host, port), data)
		cmd.Env = append(cmd.Env, "MINIO_ROOT_USER="+s.Root, "MINIO_ROOT_PASSWORD="+s.Secret, "MINIO_CI_CD=1", "MINIO_BROWSER=off", "MINIO_UPDATE=off")
		return cmd
	}
	return s, s.start(ctx, command, s.answers)
}

// URL is where it speaks S3, and administers.
func (s *MinIOServer) URL() string { return "http://" + s.Addr() }

// Admin is the credential of its root.
func (s *MinIOServer) Admin() driver.Secrets {
	return driver.Secrets{"accessKeyId": patchbay.NewSecret(s.Root), "secretAccessKey": patchbay.NewSecret(s.Secret)}
}

// Client is a client of S3 for who has those keys.
func (s *MinIOServer) Client(id, secret string) (*minio.Client, error) {
	pool, err := minio.DefaultTransport(false)
	if err != nil {
		return nil, err
	}
	pool.DisableKeepAlives = true // or connections stay behind
	return minio.New(s.Addr(), &minio.Options{Creds: credentials.NewStaticV4(id, secret, ""), Transport: pool, Region: "us-east-1", MaxRetries: 1})
}

// answers is ready when its root can list the buckets.
func (s *MinIOServer) answers(ctx context.Context) error {
	c, err := s.Client(s.Root, s.Secret)
	if err == nil {
		_, err = c.ListBuckets(ctx)
	}
	return err
}

// User makes a user by the admin API, with the simplest of the ways in which that takes a
// secret: a key of PBKDF2, and one block of AES-GCM.
func (s *MinIOServer) User(ctx context.Context, name, secret string) error {
	const salt, nonce, way, rounds = 32, 8, 2, 8192
	head := make([]byte, salt+1+nonce)
	if _, err := rand.Read(head); err != nil {
		return err
	}
	head[salt] = way
	key, err := pbkdf2.Key(sha256.New, s.Secret, head[:salt], rounds, 32)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	at := func(n byte) []byte { return append(bytes.Clone(head[salt+1:]), n, 0, 0, 0) }
	body := gcm.Seal(bytes.Clone(head), at(1), fmt.Appendf(nil, `{"secretKey":%q,"status":"enabled"}`, secret), gcm.Seal([]byte{0x80}, at(0), nil, nil))
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, s.URL()+"/minio/admin/v3/add-user?accessKey="+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	response, err := administering.Do(signer.SignV4(*r, s.Root, s.Secret, "", "us-east-1"))
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
