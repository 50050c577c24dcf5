package crashtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// built is where binary is, once there is one.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // the tests' outcome counts
	}
	os.Exit(code)
}

// binary is the program with the failpoints built in.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "patchbay-crash-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "patchbay")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "patchbay.dev/patchbay/cmd/patchbay").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// server is one life of the program.
type server struct {
	t      *testing.T
	dir    string
	at     network
	cmd    *exec.Cmd
	exited chan struct{}
	client *http.Client
	url    string
	token  string
}

// boot starts the program on dir, with failpoints, and waits until it answers
// or has died. What it prints is appended to dir/log.
func boot(t *testing.T, dir, failpoints, record string, flags ...string) *server {
	t.Helper()
	return bootIn(t, nil, dir, failpoints, record, flags...)
}

// network is where a program runs and is reached.
type network interface {
	Inside(argv ...string) *exec.Cmd
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// bootIn is boot in a network; nil is this process's.
func bootIn(t *testing.T, at network, dir, failpoints, record string, flags ...string) *server {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(data, "server.json")) // of a life that was killed
	args := append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--rotation-overlap", "50ms", "--log-level", "debug"}, flags...)
	cmd := exec.Command(path, args...)
	if at != nil {
		cmd = at.Inside(append([]string{path}, args...)...)
	}
	cmd.Env = append(os.Environ(), "PATCHBAY_FAILPOINT="+failpoints, "PATCHBAY_FAILPOINT_LOG="+record)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, at: at, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // that it died is what is tested
		_ = log.Close()
		close(s.exited)
	}()
	t.Cleanup(s.kill)
	s.connect(data)
	return s
}

func (s *server) connect(data string) {
	s.t.Helper()
	var found struct {
		URL string `json:"url"`
	}
	s.eventually("the server answers", func() bool {
		text, err := os.ReadFile(filepath.Join(data, "server.json"))
		return err == nil && json.Unmarshal(text, &found) == nil && found.URL != "" || s.dead()
	})
	if s.dead() {
		return
	}
	ca, err := os.ReadFile(filepath.Join(data, "ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(data, "admin.token"))
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	if s.at != nil {
		transport.DialContext = s.at.DialContext
	}
	s.client = &http.Client{Transport: transport, Timeout: 40 * time.Second}
	s.url, s.token = found.URL, strings.TrimSpace(string(token))
}

func (s *server) dead() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// kill ends it as a power cut would.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.exited
}

// call answers status 0 when the server died meanwhile.
func (s *server) call(method, path, version string, body any) (int, map[string]any) {
	s.t.Helper()
	if s.dead() {
		return 0, nil
	}
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			s.t.Fatal(err)
		}
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	header := http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}}
	status, answer := s.send(method, path+sep+"api-version="+url.QueryEscape(version), header, content)
	var out map[string]any
	if err := json.Unmarshal(answer, &out); err != nil && len(answer) > 0 {
		return 0, nil
	}
	return status, out
}

// send sends what it is given, and answers status 0 when no whole answer came.
func (s *server) send(method, path string, header http.Header, body []byte) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	answer, err := s.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil
	}
	return answer.StatusCode, text
}

// eventually polls: the other side is another process, which sends no event.
func (s *server) eventually(what string, holds func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("not within a minute: %s\n%s", what, tail(string(log), 3000))
		}
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

const own = "2026-11-01"

// settle waits until no operation is active, and gives the newest.
func (s *server) settle() map[string]any {
	s.t.Helper()
	var newest map[string]any
	s.eventually("every operation ends", func() bool {
		if s.dead() {
			return true
		}
		status, list := s.call("GET", "/providers/Patchbay.Connector/operations", own, nil)
		if status != 200 {
			return false
		}
		value, _ := list["value"].([]any)
		for i, item := range value {
			op, _ := item.(map[string]any)
			if i == 0 {
				newest = op
			}
			switch op["state"] {
			case "done", "undone", "abandoned":
			default:
				return false
			}
		}
		return true
	})
	return newest
}

// stop ends it as an operator does.
func (s *server) stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.eventually("the server drains", s.dead)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the server ended with %d after SIGTERM", code)
	}
}
