package attacktest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/controlplane"
)

// whole is make attack: every attack, not a share of them.
var whole = flag.Bool("whole", false, "try every attack, not a share")

const (
	own         = "2026-11-01"
	linkers     = "2024-04-01"
	authorities = "2022-04-01" // of roles
)

// built is where the program is, once there is one.
var built string

func TestMain(m *testing.M) {
	controlplane.IfChild()
	flag.Parse()
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // the tests' outcome counts
	}
	os.Exit(code)
}

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "patchbay-attack-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "patchbay")
	out, err := exec.Command("go", "build", "-o", path, "patchbay.dev/patchbay/cmd/patchbay").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// server is the program, with one data directory.
type server struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
	client *http.Client
	url    string
	token  string // the operator's
}

// start runs the program until the test ends.
func start(t *testing.T, flags ...string) *server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), exited: make(chan struct{})}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(path, append([]string{"serve", "--data", s.data(), "--listen", "127.0.0.1:0", "--rotation-overlap", "50ms"}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ends is what is tested
		_ = log.Close()
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		<-s.exited
		if t.Failed() {
			t.Logf("the server's last words:\n%s", s.log(3000))
		}
	})
	s.connect()
	return s
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) log(n int) string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text[max(0, len(text)-n):])
}

func (s *server) connect() {
	s.t.Helper()
	var found struct {
		URL string `json:"url"`
	}
	s.eventually("the server answers", func() bool {
		text, err := os.ReadFile(filepath.Join(s.data(), "server.json"))
		return err == nil && json.Unmarshal(text, &found) == nil && found.URL != ""
	})
	ca, err := os.ReadFile(filepath.Join(s.data(), "ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(s.data(), "admin.token"))
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}
	s.t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, Timeout: time.Minute}
	s.url, s.token = found.URL, strings.TrimSpace(string(token))
}

// alive fails the test when the server has ended.
func (s *server) alive() bool {
	select {
	case <-s.exited:
		s.t.Fatalf("the server ended: %v", s.cmd.ProcessState)
		return false
	default:
		return true
	}
}

func childrenOf(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, field := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// call asks with a token, and further headers; status 0 is no answer.
func (s *server) call(token, method, path, version string, body any, headers ...string) (int, map[string]any) {
	s.t.Helper()
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
	header := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	status, text, err := s.send(s.t.Context(), method, path+sep+"api-version="+url.QueryEscape(version), header, content)
	if err != nil {
		s.alive()
		return 0, nil
	}
	var answer map[string]any
	_ = json.Unmarshal(text, &answer) // not every answer has a body
	return status, answer
}

func (s *server) send(ctx context.Context, method, path string, header http.Header, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header
	answer, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, errors.Join(err, answer.Body.Close())
}

// must is call with the status that it has to have.
func (s *server) must(want int, token, method, path, version string, body any, headers ...string) map[string]any {
	s.t.Helper()
	status, answer := s.call(token, method, path, version, body, headers...)
	if status != want && status/100 != want {
		s.t.Fatalf("%s %s = %d %v, want %d", method, path, status, answer, want)
	}
	return answer
}

// eventually waits as long as the server runs.
func (s *server) eventually(what string, holds func() bool) {
	s.t.Helper()
	until(s.t, what, func() bool {
		select {
		case <-s.exited:
			s.t.Fatalf("the server ended: %v\n%s", s.cmd.ProcessState, s.log(3000))
		default:
		}
		return holds()
	})
}

// until polls: the other side is another process, which sends no event.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within its time: %s", what)
		}
	}
}

// operation waits for the newest operation of a connection to end.
func (s *server) operation(token, connection string) map[string]any {
	s.t.Helper()
	var newest map[string]any
	s.eventually("the operation of "+connection+" ends", func() bool {
		status, list := s.call(token, "GET", "/providers/Patchbay.Connector/operations?connection="+url.QueryEscape(connection), own, nil)
		value, _ := list["value"].([]any)
		if status != http.StatusOK || len(value) == 0 {
			return false
		}
		newest, _ = value[0].(map[string]any)
		switch newest["state"] {
		case "done", "undone", "abandoned":
			return true
		}
		return false
	})
	return newest
}

// text walks through an answer's members.
func text(v any, members ...string) string {
	for _, name := range members {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}
