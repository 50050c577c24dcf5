package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var update = flag.Bool("update", false, "write the golden files anew")

// bench is a server over a fake, and what it logged.
type bench struct {
	*Server
	fake *fake
	logs *bytes.Buffer
}

func newBench(t testing.TB, with ...func(*Options)) *bench {
	t.Helper()
	b := &bench{fake: newFake(), logs: &bytes.Buffer{}}
	// An operation of the fake ends when the test says so: nobody waits for it.
	catalog := patchbay.Catalog{
		Sources: []patchbay.Driver{{Name: "envfile", Types: driver.ComputeTypes()}},
		Hosts:   []patchbay.Driver{{Name: "elsewhere", Types: []string{"Patchbay.Services/hosts"}}},
	}
	o := Options{Dir: t.TempDir(), Grace: -1, Catalog: catalog, Log: slog.New(slog.NewJSONHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, w := range with {
		w(&o)
	}
	s, err := New(b.fake, o)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = s
	return b
}

// send makes a signed-in request as a client at https://patchbay.test does.
func (b *bench) send(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://patchbay.test/", strings.NewReader(body))
	r.RequestURI = target
	u, err := r.URL.Parse("https://patchbay.test" + target)
	if err != nil {
		panic(err)
	}
	r.URL = u
	r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// shownHeaders are those that are a contract with clients.
var shownHeaders = []string{"Allow", "Azure-AsyncOperation", "Content-Type", "ETag", "Location", "Preference-Applied", "Retry-After", "WWW-Authenticate", "X-Go-Azure-Sdk-Skip-Polling-Delay", "x-ms-client-request-id"}

// TestWire replays testdata/wire: each file is one case, a conversation of
// requests above a line of dashes and answers below it, in turn. A line that
// begins with @ moves the world: "@end op-1" lets an operation succeed,
// "@fail op-1 Code message" lets it fail, and "@fast" lets every operation
// succeed, "@fast Code message" fail, as soon as a request waits for it.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, newBench(t), string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("the answer is not the golden one (-want +got); go test ./server -run TestWire -update writes it:\n%s", diff)
			}
		})
	}
}

const (
	answerLine = "--------"
	nextLine   = "========"
)

func replay(t *testing.T, b *bench, text string) string {
	t.Helper()
	var out strings.Builder
	for i, turn := range strings.Split(text, nextLine+"\n") {
		if i > 0 {
			out.WriteString(nextLine + "\n")
		}
		asked, _, _ := strings.Cut(turn, answerLine+"\n")
		asked = strings.TrimRight(asked, "\n")
		out.WriteString(asked + "\n" + answerLine + "\n")
		var lines []string
		for line := range strings.SplitSeq(asked, "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "@"):
				move(t, b, line)
			default:
				lines = append(lines, line)
			}
		}
		out.WriteString(exchangeOf(t, b, strings.Join(lines, "\n")))
	}
	return out.String()
}

func move(t *testing.T, b *bench, line string) {
	t.Helper()
	f := b.fake
	var id, code, message string
	if rest, ok := strings.CutPrefix(line, "@fast"); ok {
		f.fast, b.grace = true, time.Hour
		if code, message, ok = strings.Cut(strings.TrimSpace(rest), " "); ok {
			f.why = &patchbay.Error{Code: patchbay.Code(code), Message: message}
		}
		return
	}
	if n, _ := fmt.Sscanf(line, "@fail %s %s", &id, &code); n == 2 {
		_, message, _ = strings.Cut(line, code+" ")
		f.end(id, &patchbay.Error{Code: patchbay.Code(code), Op: "connect web to orders", Message: message, Fix: "patchbay connection validate web/db --fix"})
		return
	}
	if n, _ := fmt.Sscanf(line, "@end %s", &id); n == 1 {
		f.end(id, nil)
		return
	}
	t.Fatalf("what is %q?", line)
}

func exchangeOf(t *testing.T, b *bench, asked string) string {
	t.Helper()
	head, body, _ := strings.Cut(asked, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("no request line: %q", lines[0])
	}
	var header []string
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ": ")
		header = append(header, k, v)
	}
	w := b.send(method, expand(target), expand(body), header...)

	var out strings.Builder
	fmt.Fprintf(&out, "%d %s\n", w.Code, http.StatusText(w.Code))
	for _, name := range shownHeaders {
		if value := w.Header().Get(name); value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, fold(value))
		}
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/xml") {
		out.WriteString("\n" + fold(w.Body.String()) + "\n")
	} else if w.Body.Len() > 0 {
		var v bytes.Buffer
		if err := json.Indent(&v, w.Body.Bytes(), "", "  "); err != nil {
			t.Fatalf("the answer is not JSON: %v: %s", err, w.Body)
		}
		out.WriteString("\n" + fold(v.String()) + "\n")
	}
	return out.String()
}

// The ids of the cases, shortened to be read.
var short = []string{
	"{web}", testWeb, "{pg}", testPG, "{local}", testLocal, "{rg}", testRG, "{sub}", "/subscriptions/" + testSub,
	"{hash1}", statusHash("op-1"), "{hash2}", statusHash("op-2"), "{hash3}", statusHash("op-3"),
}

func expand(s string) string { return strings.NewReplacer(short...).Replace(s) }

func fold(s string) string {
	var pairs []string
	for i := 0; i < len(short); i += 2 {
		pairs = append(pairs, short[i+1], short[i])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// statusHash is computed by hand here: a change of it would break every
// operation URL that clients hold.
func statusHash(id string) string {
	sum := sha256.Sum256([]byte("operation\x00" + testSub + "\x00" + id))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
