package envfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/joho/godotenv"
)

// These tests ask the programs and libraries that really read the files. Each
// is given many texts and answers, for each, the names and values that it
// reads, or null when it refuses the text.

// reader reads texts. A nil map is a text that it refused.
type reader func(t *testing.T, texts []string) []map[string]string

// script is a reader in another language: a program that gets a JSON array of
// texts and prints one of objects.
func script(program string, args ...string) reader {
	return func(t *testing.T, texts []string) []map[string]string {
		t.Helper()
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
		in, err := json.Marshal(texts)
		must(t, err)
		cmd := exec.Command(program, args...)
		cmd.Stdin = bytes.NewReader(in)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			if strings.Contains(stderr.String(), "not installed") {
				t.Skipf("%s has no such library: %s", program, strings.TrimSpace(stderr.String()))
			}
			t.Fatalf("%s: %v: %s", program, err, stderr.String())
		}
		var read []map[string]string
		must(t, json.Unmarshal(out, &read))
		return read
	}
}

var readers = map[string]reader{
	"godotenv": func(_ *testing.T, texts []string) (read []map[string]string) {
		for _, text := range texts {
			values, err := godotenv.Unmarshal(text)
			if err != nil {
				values = nil
			}
			read = append(read, values)
		}
		return read
	},
	"python-dotenv": script("python3", "-c", `
import io, json, logging, sys
try:
    import dotenv
except ImportError:
    sys.exit("python-dotenv is not installed")
logging.disable(logging.CRITICAL)
print(json.dumps([{k: v or "" for k, v in dotenv.dotenv_values(stream=io.StringIO(t, newline=""), interpolate=False).items()} for t in json.load(sys.stdin)]))`),
	"dotenv of Node.js": script("node", "-e", `
let dotenv
try { dotenv = require("dotenv") } catch { console.error("dotenv is not installed"); process.exit(1) }
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(t => dotenv.parse(t))))`),
	"node --env-file": script("node", "-e", `
const { parseEnv } = require("util")
if (!parseEnv) { console.error("util.parseEnv is not installed"); process.exit(1) }
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(t => parseEnv(t))))`),
	"dotenv of Ruby": script("ruby", "-e", `
require "json"
begin; require "dotenv"; rescue LoadError; abort "dotenv is not installed"; end
puts JSON.generate(JSON.parse(STDIN.read).map { |t| Dotenv::Parser.call(t) rescue nil })`),
}

// shortValues are all strings of up to three characters that have a meaning
// somewhere, and longer ones.
func shortValues() []string {
	alphabet := strings.Split("a A ' \" \\ $ { } ( # = ` n é \n \r", " ")
	alphabet = append(alphabet, " ", "\t")
	values := []string{""}
	last := values
	for range 3 {
		var next []string
		for _, head := range last {
			for _, c := range alphabet {
				next = append(next, head+c)
			}
		}
		values, last = append(values, next...), next
	}
	return append(values, multiLine...)
}

func TestDotenvLibrariesReadWhatIsWritten(t *testing.T) {
	var values, texts []string
	for _, value := range shortValues() {
		written, _ := dotenv{}.encode(value)
		if len(written) > 0 && written[0] == '"' && strings.Contains(written, `\`) {
			continue // the last form, which they read differently
		}
		values = append(values, value)
		// What follows has quotes of its own, for readers that look for one.
		texts = append(texts, "A='1'\nK="+written+"\nZ=\"it's 2\"\nY='3'\n")
	}
	t.Logf("%d values", len(values))
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			for i, got := range read(t, texts) {
				if name == "dotenv of Ruby" && strings.Contains(values[i], "\n") {
					continue // before 2.8 it splits at line ends first
				}
				if got["A"] != "1" || got["K"] != values[i] || got["Z"] != "it's 2" || got["Y"] != "3" {
					t.Errorf("%q is read as %q from %q", values[i], got, texts[i])
				}
			}
		})
	}
}

// TestDotenvFilesAreReadAsTheirReadersDo: what the parser takes for settings
// of somebody else's is what most libraries do; where they differ, it refuses
// or sides with the many.
func TestDotenvFilesAreReadAsTheirReadersDo(t *testing.T) {
	tests := []struct {
		text string
		want map[string]string // nil: refused
	}{
		{"A=1\nB=2\n", map[string]string{"A": "1", "B": "2"}},
		{"A=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
		{"export A=1\n  B=2\n", map[string]string{"A": "1", "B": "2"}},
		{"A = 1\nB =2\nC= 3\n", map[string]string{"A": "1", "B": "2", "C": "3"}},
		{"A=1\nA=2\n", map[string]string{"A": "2"}},
		{"A=\nB=''\nC=\"\"\n", map[string]string{"A": "", "B": "", "C": ""}},
		{"A='x' # c\nB=\"y\" # c\nC=z # c\n", map[string]string{"A": "x", "B": "y", "C": "z"}},
		{"# A=1\n\n   # B=2\nC=3", map[string]string{"C": "3"}},
		{"A='one\ntwo'\nB=\"one\ntwo\"\n", map[string]string{"A": "one\ntwo", "B": "one\ntwo"}},
		{"A=\"one\\ntwo\"\nB='one\\ntwo'\n", map[string]string{"A": "one\ntwo", "B": `one\ntwo`}},
		{"A=it's\nB=2\n", map[string]string{"A": "it's", "B": "2"}},
		{"A=a=b\n", map[string]string{"A": "a=b"}},
		{"A.B=1\n", map[string]string{"A.B": "1"}},
		{"A='tis\nB='twas\n", nil},
		{"A=\"x\nB=2\n", nil},
		{"A='x\nB=2\n", nil},
		{"A=`x\nB=2\n", nil},
		{"A=1\rB=2\n", nil},
	}
	for _, tt := range tests {
		doc, err := parse(dotenv{}, tt.text)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("parse(%q) = %v", tt.text, err)
			continue
		}
		if err == nil {
			equal(t, fmt.Sprintf("parse(%q)", tt.text), doc.values(), tt.want)
		}
	}
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, tt := range tests {
				texts = append(texts, tt.text)
			}
			for i, got := range read(t, texts) {
				text := texts[i]
				several := strings.Contains(text, "one\ntwo'")
				// Node 20 forgets that a comment is one when a space comes first.
				node := name == "node --env-file" && strings.Contains(text, "   # B=2")
				if tests[i].want == nil || name == "dotenv of Ruby" && several || node {
					continue
				}
				equal(t, fmt.Sprintf("%s of %q", name, text), got, tests[i].want)
			}
		})
	}
}

func equal(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if name, same := difference(want, got); !same {
		t.Errorf("%s = %q, want %q (%s)", what, got, want, name)
	}
}

// systemdReader calls the reader of EnvironmentFile= in systemd's own library.
var systemdReader = script("python3", "-c", `
import ctypes, glob, json, sys, tempfile
found = sorted(glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so") + glob.glob("/usr/lib*/systemd/libsystemd-shared-*.so"))
try:
    load = ctypes.CDLL(found[-1]).load_env_file
except (IndexError, OSError, AttributeError):
    sys.exit("systemd's library is not installed")
out = []
with tempfile.NamedTemporaryFile() as f:
    for t in json.load(sys.stdin):
        f.seek(0); f.truncate(); f.write(t.encode()); f.flush()
        l = ctypes.POINTER(ctypes.c_char_p)()
        if load(None, f.name.encode(), ctypes.byref(l)) < 0:
            out.append(None)
            continue
        values, i = {}, 0
        while l and l[i] is not None:
            k, _, v = l[i].decode().partition("=")
            values[k] = v
            i += 1
        out.append(values)
print(json.dumps(out))`)

func TestSystemdReadsWhatIsWritten(t *testing.T) {
	values := shortValues()
	var texts []string
	for _, value := range values {
		written, why := systemd{}.encode(value)
		if why != "" {
			t.Fatal(why)
		}
		texts = append(texts, "A=1\nK="+written+"\nZ='2'\n")
	}
	for i, got := range systemdReader(t, texts) {
		equal(t, fmt.Sprintf("systemd's reading of %q", texts[i]), got, map[string]string{"A": "1", "K": values[i], "Z": "2"})
	}
}

// TestSystemdFilesAreReadAsSystemdDoes tries all short texts behind what may
// come before them.
func TestSystemdFilesAreReadAsSystemdDoes(t *testing.T) {
	var texts []string
	for _, head := range []string{"A=", "A=x", "A='q' ", "A=\"q\" ", " A = ", "#c", "", "A=x\\\n"} {
		for _, v := range shortValues() {
			if len(v) <= 2 {
				texts = append(texts, head+v+"\nB=2\n")
			}
		}
	}
	texts = append(texts, "A=1", "A=1 ", "A='1", "export A=1\n", ";c\nA=1\n", "A=1\nA=2\n", "=1\n", "A\n", "A B=1\n")
	refused := 0
	for i, want := range systemdReader(t, texts) {
		doc, err := parse(systemd{}, texts[i])
		if err != nil {
			refused++
			continue
		}
		got := doc.values()
		for name := range want {
			if name == "" {
				delete(want, name)
			}
		}
		delete(got, "")
		delete(got, "=") // the reader above takes it for the separator
		equal(t, fmt.Sprintf("parse(%q)", texts[i]), got, want)
	}
	t.Logf("%d texts, %d of them refused", len(texts), refused)
}

// TestDockerReadsWhatIsWritten has the docker command line read an env file and
// send it to a daemon that is this test.
func TestDockerReadsWhatIsWritten(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("docker is not installed")
	}
	for _, begin := range []string{"A=1\n", byteOrderMark + "A=1\r\n"} {
		var created struct{ Env []string }
		socket := filepath.Join(t.TempDir(), "d")
		l, err := net.Listen("unix", socket)
		must(t, err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.45")
			if strings.HasSuffix(r.URL.Path, "/containers/create") {
				_ = json.NewDecoder(r.Body).Decode(&created)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write([]byte(`{"Id":"c","Warnings":[]}`))
			}
		})}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })

		end := "\n"
		if strings.Contains(begin, "\r") {
			end = "\r\n"
		}
		file, want := begin, []string{"A=1"}
		for i, value := range shortValues() {
			if written, why := (docker{}).encode(value); why == "" {
				name := "K_" + strconv.Itoa(i) + ".x-y"
				file += name + "=" + written + end
				want = append(want, name+"="+value)
			}
		}
		long := strings.Repeat("x", docker{}.maxLine()-len("LONG="))
		file, want = file+"LONG="+long+end, append(want, "LONG="+long)
		path := filepath.Join(t.TempDir(), "env")
		must(t, os.WriteFile(path, []byte(file), 0o600))
		cmd := exec.Command("docker", "--host", "unix://"+socket, "create", "--env-file", path, "image")
		cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docker create: %v: %s", err, out)
		}
		if !slices.Equal(created.Env, want) {
			for i := range want {
				if i >= len(created.Env) || created.Env[i] != want[i] {
					t.Fatalf("docker reads %.80q, want %.80q", created.Env[min(i, len(created.Env)-1)], want[i])
				}
			}
		}
		doc, err := parse(docker{}, file)
		must(t, err)
		if got := len(doc.values()); got != len(want) {
			t.Errorf("the parser finds %d settings, docker %d", got, len(want))
		}
	}
}
