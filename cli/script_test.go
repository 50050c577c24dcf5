package cli

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"patchbay.dev/patchbay"
)

var update = flag.Bool("update", false, "write the golden files anew")

// catalogJSON is what a server of this build answers; cmd/patchbay writes it
// anew, so that these tests link no driver.
//
//go:embed testdata/catalog.json
var catalogJSON []byte

// buildCatalog is the catalogue of this build.
func buildCatalog() patchbay.Catalog {
	var c patchbay.Catalog
	if err := json.Unmarshal(catalogJSON, &c); err != nil {
		panic(err)
	}
	return c
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"patchbay": func() { os.Exit(testedMain()) },
		"report":   func() { os.Exit(reportMain()) },
	})
}

// testedMain is patchbay as cmd/patchbay makes it, with what is random fixed
// and with serve and demo that only tell what they were told.
func testedMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	deps := Deps{
		Catalog: buildCatalog,
		Random:  strings.NewReader(strings.Repeat("patchbay", 64)),
		Version: Version{Version: "v1.2.3", Commit: "0123abc", Go: "go1.26.0", Platform: "linux/amd64"},
		Serve: func(_ context.Context, o ServeOptions) error {
			o.Stdout, o.Stderr = nil, nil
			fmt.Printf("serve %+v\n", o)
			return nil
		},
		Demo: func(_ context.Context, o DemoOptions) error {
			fmt.Printf("demo keep=%v postgres=%v terminal=%v\n", o.Keep, o.Postgres != "", o.Terminal)
			return nil
		},
	}
	// A script can give a command a terminal for its input only: the questions
	// go there too.
	if os.Getenv("TEST_TERMINAL") != "" {
		tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
		// It is not closed: the reader of a form may still look at it, and the
		// process ends with it.
		deps.Stderr = tty
	}
	return Main(ctx, deps, os.Args[1:])
}

// reportMain is a command for `patchbay run`: it shows its environment and
// ends with the status that it is told.
func reportMain() int {
	for _, name := range []string{"PGHOST", "PGPASSWORD", "MINE", "PATCHBAY_TOKEN"} {
		value, ok := os.LookupEnv(name)
		fmt.Printf("%s=%s %v\n", name, value, ok)
	}
	fmt.Println("args", strings.Join(os.Args[1:], "|"))
	return 42
}

// TestScripts runs testdata/script: each file is command lines against a fake
// server of its own, and what they print.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition: func(cond string) (bool, error) {
			if cond != "race" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			return racing, nil
		},
		Setup: func(e *testscript.Env) error {
			data := filepath.Join(e.WorkDir, "data")
			if err := os.Mkdir(data, 0o700); err != nil {
				return err
			}
			f := newFake(e.T().(testing.TB))
			e.Values["fake"] = f
			e.Setenv("PATCHBAY_DATA", data)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TERM", "xterm")
			e.Setenv("WEB", webID)
			e.Setenv("ORDERS", ordersID)
			e.Setenv("GROUP", fakeGroup)
			e.Setenv("CANARY", canary)
			e.Setenv("URL", f.server.URL)
			e.Setenv("FAKE_TOKEN", fakeToken)
			return f.dataDir(data)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fake":   fakeCommand,
			"status": statusCommand,
		},
	})
}

// fakeCommand changes what the fake server is like, or shows what it was asked.
func fakeCommand(ts *testscript.TestScript, neg bool, args []string) {
	f := ts.Value("fake").(*fake)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fake register|catalog|failing|hostile|forget|requests …")
	}
	switch args[0] {
	case "register": // fake register ID DRIVER ENDPOINT
		f.register(args[1], args[2], args[3])
	case "catalog": // fake catalog FILE: what the server can connect from now on
		text := []byte(ts.ReadFile(args[1]))
		f.mu.Lock()
		defer f.mu.Unlock()
		f.catalog = text
	case "failing": // the third check fails from now on
		f.mu.Lock()
		defer f.mu.Unlock()
		f.checks[2].Result, f.checks[2].Code = patchbay.Failure, patchbay.SettingChanged
		f.checks[2].Message, f.checks[2].Fix = "PGHOST is not the one that was written", "patchbay connection validate web/orders --fix"
	case "hostile": // a resource whose texts would do something to a terminal
		f.register(fakeGroup+"/providers/Microsoft.Web/sites/evil\x1b]0;pwned\x07", "envfile", "\x1b[2J\u202e\u009b31mred\nsecond line")
	case "refuse": // refuse ACTION: the caller may not do it from now on
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/"+args[1]) {
				return false
			}
			f.fail(w, http.StatusForbidden, "AuthorizationFailed", "you may not do that", "")
			return true
		}
	case "forget": // forgets the requests so far
		f.mu.Lock()
		defer f.mu.Unlock()
		f.log.Reset()
	case "requests": // fake requests FILE: what was asked so far, looks apart
		f.mu.Lock()
		defer f.mu.Unlock()
		var kept []string
		for line := range strings.Lines(f.log.String()) {
			if !strings.HasPrefix(line, "GET ") {
				kept = append(kept, line)
			}
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(kept, "")), 0o600))
	default:
		ts.Fatalf("the fake has no %q", args[0])
	}
}

// statusCommand runs a command line and wants an exit status: status 4 exec patchbay …
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND …")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}
