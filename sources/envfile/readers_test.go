package envfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

	"patchbay.dev/patchbay"
)

// These tests ask the programs and libraries that really read the files. Each
// is given many texts and answers, for each, the names and values that it
// reads, or null when it refuses the text.

// readAll reads texts. A nil map is a text that it refused.
type readAll func(t *testing.T, texts []string) []map[string]string

// script is a reader in another language: a program that gets a JSON array of
// texts and prints one of objects.
func script(program string, args ...string) readAll {
	return func(t *testing.T, texts []string) []map[string]string {
		t.Helper()
		in, err := json.Marshal(texts)
		must(t, err)
		return ask(t, in, program, args...)
	}
}

// ask runs a reader. One that is not there is a skip.
func ask(t *testing.T, in []byte, program string, args ...string) (read []map[string]string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir(t), "testdata/npm/node_modules"))
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
	must(t, json.Unmarshal(out, &read))
	return read
}

func dir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	return dir
}

// python is Debian's own, which has Debian's libraries, where there is another.
func python(code string) readAll {
	program := "/usr/bin/python3"
	if _, err := os.Stat(program); err != nil {
		program = "python3"
	}
	return script(program, "-c", `
import io, json, logging, os, sys, tempfile
logging.disable(logging.CRITICAL)
def need(name):
    try:
        return __import__(name)
    except ImportError:
        sys.exit(name + " is not installed")
def file(text):
    f.seek(0); f.truncate(); f.write(text.encode()); f.flush()
    return f.name
f = tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
texts = json.load(sys.stdin)
`+code)
}

func node(library, expression string) readAll {
	return script("node", "-e", `
let library
try { library = require("`+library+`") } catch { console.error("`+library+` is not installed"); process.exit(1) }
const read = t => { try { return `+expression+` } catch { return null } }
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(read)))`)
}

// nodeItself is what node --env-file reads with, where there is a Node.js that has it.
var nodeItself = script("node", "-e", `
const { parseEnv } = require("util")
if (!parseEnv) { console.error("a Node.js since 20.12 is not installed"); process.exit(1) }
const read = t => { try { return parseEnv(t) } catch { return null } }
console.log(JSON.stringify(JSON.parse(require("fs").readFileSync(0)).map(read)))`)

// ruby reads with the dotenv of Ruby, if it is of that version: they differ about
// line breaks.
func ruby(version string) readAll {
	return script("ruby", "-e", `
require "json"
begin; require "dotenv"; require "dotenv/version"; rescue LoadError; abort "dotenv is not installed"; end
abort "dotenv `+version+` is not installed" unless Dotenv::VERSION.start_with?("`+version+`")
puts JSON.generate(JSON.parse(STDIN.read).map { |t| Dotenv::Parser.call(t) rescue nil })`)
}

// php reads with a library of Debian's.
func php(autoload, expression string) readAll {
	return script("php", "-r", `
if (!is_file("`+autoload+`")) { fwrite(STDERR, "`+autoload+` is not installed"); exit(1); }
require "`+autoload+`";
echo json_encode(array_map(function ($t) {
    try { return (object) `+expression+`; } catch (Throwable $e) { return null; }
}, json_decode(stream_get_contents(STDIN))));`)
}

// readers are those of dotenv files, by the names that the product has for them.
var readers = map[string]readAll{
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
	"python-dotenv": python(`
dotenv = need("dotenv")
print(json.dumps([{k: v or "" for k, v in dotenv.dotenv_values(stream=io.StringIO(t, newline="")).items()} for t in texts]))`),
	"django-environ": python(`
environ = need("environ")
def read(text):
    os.environ.clear()
    environ.Env.read_env(file(text))
    found = {}
    for k in list(os.environ):
        try:
            found[k] = environ.Env().str(k)
        except environ.ImproperlyConfigured:
            pass
    return found
print(json.dumps([read(t) for t in texts]))`),
	"python-decouple": python(`
decouple = need("decouple")
print(json.dumps([decouple.RepositoryEnv(file(t)).data for t in texts]))`),
	"dotenv of Node.js": node("dotenv", "library.parse(t)"),
	"dotenv 16":         node("dotenv16", "library.parse(t)"),
	"node --env-file":   nodeItself,
	"dotenv-expand":     node("dotenv-expand", `library.expand({parsed: require("dotenv").parse(t), processEnv: {}}).parsed`),
	"Next.js":           node("@next/env", `(Object.keys(process.env).forEach(k => delete process.env[k]), library.resetEnv(), library.processEnv([{path: ".env", contents: t, env: {}}], undefined, {info() {}, error() {}}, true)[1])`),
	"phpdotenv": php("/usr/share/php/Dotenv/autoload.php", `(new Dotenv\Loader\Loader())->load(
        Dotenv\Repository\RepositoryBuilder::createWithNoAdapters()->addAdapter(Dotenv\Repository\Adapter\ArrayAdapter::class)->make(),
        (new Dotenv\Parser\Parser())->parse($t))`),
	"symfony/dotenv":         php("/usr/share/php/Symfony/Component/Dotenv/autoload.php", `(new Symfony\Component\Dotenv\Dotenv())->parse($t)`),
	"dotenv of Ruby 2.4":     ruby("2.4."),
	"dotenv of Ruby since 3": ruby("3."),
	"java.util.Properties": func(t *testing.T, texts []string) []map[string]string {
		t.Helper()
		var in bytes.Buffer
		for _, text := range texts {
			fmt.Fprintf(&in, "%x\n", text)
		}
		return ask(t, in.Bytes(), "java", "testdata/Properties.java")
	},
	"Docker Compose": func(t *testing.T, texts []string) []map[string]string {
		t.Helper()
		in, err := json.Marshal(texts)
		must(t, err)
		return ask(t, in, "go", "-C", "testdata/compose", "run", ".")
	},
	"sh": python(`
import subprocess
def read(text):
    p = subprocess.run(["/bin/sh", "-c", "set -a; . " + file(text) + " || exit 9; exec /usr/bin/env -0"], capture_output=True, env={"PATH": "/nowhere", "HOME": "/home"})
    if p.returncode or p.stderr:
        return None
    return dict(v.split("=", 1) for v in p.stdout.decode(errors="replace").split("\0") if "=" in v)
print(json.dumps([read(t) for t in texts]))`),
}

// meaning are characters that have one.
var meaning = append(strings.Split("a A ' \" \\ $ { } ( # = ` n é \n \r", " "), " ", "\t")

// shortValues are all strings of up to three characters that have a meaning
// somewhere, and longer ones.
func shortValues() []string {
	values := []string{""}
	last := values
	for range 3 {
		var next []string
		for _, head := range last {
			for _, c := range meaning {
				next = append(next, head+c)
			}
		}
		values, last = append(values, next...), next
	}
	return append(values, multiLine...)
}

// hostile are values that mean something to somebody.
var hostile = []string{
	"", "x", "it's", `say "x"`, `it's "x"`, `"x"`, "'x'", "'\"`", `a="b"`, `it's a="b"`, "host='a b' password='it\\'s'",
	`a\b`, `a\`, `a\\b`, `C:\dir name\`, `it's C:\dir name\`, `\n`, `it's \n`, `\$HOME`, `it's \$X`,
	"$HOME", "${A}", "${X:-d}", "it's $HOME", "it's ${A}", "'$HOME", `"$HOME"`, `it's "$HOME"`, "$5", "a$", "$(id)", "it's $(id)",
	"`id`", "it's `id`", "it's \"$HOME\" `\\", "a#b", "a #b", "#x", "#it's", "it's #x", " x ", " it's ", "a b", "it's a", "a\tb",
	"x=y", "!x", "50%", "%s", "é", "x;y", "a&b|c", "<x>", "(x)", "~", "*", "a,b", "null", "true",
	"\u2028x", "\u00a0x", "a\u00a0#b", "a\nb", "it's\nb", "a\rb", "a\nBEFORE=2", "it's\nBEFORE=2",
	"-----BEGIN X-----\nabc+/==\n-----END X-----\n", "abc\nabcd==", strings.Repeat("x", 70_000),
}

// drawn are hostile, all of one and two characters with a meaning, and some
// longer ones, the same in every run.
func drawn() []string {
	values := append(slices.Clone(hostile), shortValues()[:1+len(meaning)+len(meaning)*len(meaning)]...)
	random := rand.New(rand.NewPCG(7, 7))
	for range 400 {
		var b strings.Builder
		for range 3 + random.IntN(6) {
			b.WriteString(meaning[random.IntN(len(meaning))])
		}
		values = append(values, b.String())
	}
	return values
}

// sameAs are readers that read as another does.
var sameAs = map[string][]string{"dotenv of Node.js": {"dotenv 16"}}

// others are lines of somebody else's before and behind a value, and what they
// mean to a reader; what follows has quotes of its own, for readers that look
// for one.
func others(name, between string) (text string, want map[string]string) {
	text = "A=1\nBEFORE='1'\n" + between + "AFTER=\"it's 2\"\nEND='3'\n"
	if name == "java.util.Properties" {
		return text, map[string]string{"BEFORE": "'1'", "AFTER": `"it's 2"`, "END": "'3'"}
	}
	return text, map[string]string{"BEFORE": "1", "AFTER": "it's 2", "END": "3"}
}

func lost(got, want map[string]string) bool {
	for name, value := range want {
		if have, ok := got[name]; !ok || have != value {
			return true
		}
	}
	return false
}

// TestReadersReadAsTheyAreSaidTo asks every reader what it reads, of every form.
// Of a value that has a meaning for nobody it may be said too much.
func TestReadersReadAsTheyAreSaidTo(t *testing.T) {
	all := slices.Clone(dotenvReaders)
	for _, r := range dotenvReaders {
		for _, same := range sameAs[r.name] {
			r.name = same
			all = append(all, r)
		}
	}
	for _, r := range all {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			values := drawn()
			if r.name == "sh" {
				values = values[:len(hostile)] // each is a process
			}
			type try struct {
				form    form
				value   string
				hostile bool
			}
			var tries []try
			var texts []string
			for f := range forms {
				for i, value := range values {
					if written, ok := f.write(value); ok {
						text, _ := others(r.name, "K="+written+"\n")
						tries, texts = append(tries, try{f, value, i < len(hostile)}), append(texts, text)
					}
				}
			}
			_, want := others(r.name, "")
			for i, got := range readers[r.name](t, texts) {
				try := tries[i]
				value, ok := got["K"]
				otherwise, more := !ok || value != try.value, lost(got, want)
				switch said := r.misreads(try.form, try.value); {
				case otherwise && !said, more && r.clients != nil && !r.breaks.match(try.form, try.value):
					t.Errorf("%.60q is read as %.60q, with the rest lost: %v; it is said to be read rightly: %v", texts[i], value, more, !said)
				case said && r.otherwise.match(try.form, try.value) && try.hostile && !otherwise && !more:
					t.Errorf("%.60q is read rightly, and said to be read otherwise", texts[i])
				}
			}
			var named []string
			texts = nil
			for _, name := range []string{"K", "k", "_k1", "a.b", "a.b-c", "a-b"} {
				text, _ := others(r.name, name+"='x'\n")
				named, texts = append(named, name), append(texts, text)
			}
			for i, got := range readers[r.name](t, texts) {
				_, ok := got[named[i]]
				if said := r.takes(named[i]); ok != said || lost(got, want) != (!said && r.refuses) {
					t.Errorf("the name %s is read: %v, %v; it is said to be: %v", named[i], ok, got, said)
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
	for _, name := range []string{"godotenv", "python-dotenv", "dotenv of Node.js", "node --env-file", "dotenv of Ruby 2.4"} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, tt := range tests {
				texts = append(texts, tt.text)
			}
			for i, got := range readers[name](t, texts) {
				text := texts[i]
				several := strings.Contains(text, "one\ntwo'")
				// Node 20 forgets that a comment is one when a space comes first.
				node := name == "node --env-file" && strings.Contains(text, "   # B=2")
				if tests[i].want == nil || name == "dotenv of Ruby 2.4" && several || node {
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
		written, why := systemd{}.encode(value, "none")
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
			if written, why := (docker{}).encode(value, "none"); why == "" {
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

// TestEveryReaderOfAClientTypeReadsTheWholeFile writes a file of hostile values,
// between somebody else's lines, for each client type, and has each of its
// readers read it.
func TestEveryReaderOfAClientTypeReadsTheWholeFile(t *testing.T) {
	clients := []patchbay.ClientType{"go", "python", "django", "nodejs", "php", "ruby", "springBoot"}
	for _, r := range dotenvReaders {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			var files []string
			var meant []map[string]string
			for _, client := range clients {
				if r.clients != nil && !slices.Contains(r.clients, client) {
					continue
				}
				text, want := others(r.name, "")
				c := connect("orders", 1)
				c.Client = client
				for i, value := range hostile {
					s := patchbay.Setting{Name: "K" + strconv.Itoa(i), Value: patchbay.NewSecret(value)}
					misread := r.misreads(choose(value, client).form, value)
					if checkSetting(dotenv{}, s, client) != nil || misread && (r.clients == nil || r.beside) {
						continue // these may lose the file, and whoever connects is told
					}
					c.Set = append(c.Set, s)
					if !misread {
						want[s.Name] = value
					}
				}
				_, text, err := applyChange(dotenv{}, "web", true, text, c)
				must(t, err)
				want["LAST"] = "1"
				files, meant = append(files, text+"LAST=1\n"), append(meant, want)
			}
			for i, got := range readers[r.name](t, files) {
				for name, value := range meant[i] {
					if have, ok := got[name]; !ok || have != value {
						t.Errorf("of %.60q…, %s is read as %.80q, %v, want %.80q", files[i], name, have, ok, value)
					}
				}
			}
		})
	}
}

// TestWhatNobodyReadsIsRefused, and what some read otherwise is said.
func TestWhatNobodyReadsIsRefused(t *testing.T) {
	for _, tt := range []struct {
		client  patchbay.ClientType
		name    string
		value   string
		refused string // a part of why
		advised string // whom it is about
	}{
		{client: "nodejs", name: "K", value: "it's $HOME", advised: "dotenv-expand, Next.js, Docker Compose, sh"},
		{client: "nodejs", name: "K", value: "$HOME", advised: "dotenv-expand, Next.js"},
		{client: "nodejs", name: "K", value: "it's\r\n\"x\"", refused: "by dotenv of Node.js, node --env-file, dotenv-expand, Next.js"},
		{client: "php", name: "K", value: `C:\dir name\`},
		{client: "php", name: "K", value: `it's \n`, advised: "symfony/dotenv"},
		{client: "php", name: "a.b", value: "x", refused: "symfony/dotenv refuse the whole file"},
		{client: "python", name: "a.b", value: "x", advised: "django-environ, sh"},
		{client: "python", name: "K", value: "a${X}", advised: "python-dotenv"},
		{client: "go", name: "A-B", value: "x", refused: "godotenv refuse the whole file"},
		{client: "go", name: "K", value: `it's "$HOME"`, refused: "in whatever form, by godotenv"},
		{client: "springBoot", name: "spring.datasource.password", value: "s3cret", advised: "sh"},
		{client: "springBoot", name: "K", value: `a\b`, advised: "java.util.Properties"},
		{client: "none", name: "K", value: `C:\dir name\`, advised: "phpdotenv, symfony/dotenv, dotenv of Ruby since 3, sh"},
		{client: "", name: "A-B", value: `it's "$HOME" a\`},
	} {
		c := connect("orders", 1, tt.name, tt.value)
		c.Client = tt.client
		s := &source{id: testID, dialect: dotenv{}, path: "/env"}
		err := s.checkChange(c)
		if tt.refused == "" && err != nil || tt.refused != "" && (patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), tt.refused)) {
			t.Errorf("%s %s=%q: %v, want %q", tt.client, tt.name, tt.value, err, tt.refused)
		}
		if err != nil {
			continue
		}
		advice, err := s.Advise(t.Context(), c)
		must(t, err)
		if tt.advised == "" && len(advice) > 0 || tt.advised != "" && (len(advice) != 1 || !strings.HasSuffix(advice[0], ": "+tt.advised)) {
			t.Errorf("%s %s=%q: advice %q, want %q", tt.client, tt.name, tt.value, advice, tt.advised)
		}
	}
}
