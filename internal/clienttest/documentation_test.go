package clienttest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
)

// page is the documentation whose every snippet is run.
const documentation = "../../docs/azure-clients.md"

// snippet is a fenced block: its language, and the word behind that, which says
// how it is run.
type snippet struct{ language, name, text string }

var fenced = regexp.MustCompile("(?ms)^```([a-z]+)[ ]*([a-z.-]*)\n(.*?)^```$")

func snippets(t *testing.T) map[string]snippet {
	t.Helper()
	text, err := os.ReadFile(documentation)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]snippet{}
	for _, m := range fenced.FindAllStringSubmatch(string(text), -1) {
		s := snippet{m[1], m[2], m[3]}
		if _, twice := found[s.name]; twice {
			t.Errorf("there are two snippets called %q: how would each be run?", s.name)
		}
		found[s.name] = s
	}
	return found
}

// files are the snippets that stand in a file too, which is what is run.
var files = map[string]string{
	"connect.mjs": "npm/connect.mjs",
	"main.go":     "example/main.go",
	"connect.py":  "connect.py",
}

// commands are run by a shell, in this order, with az.
var commands = []string{"sign-in", "connect", "template"}

func TestEverySnippetIsRun(t *testing.T) {
	known := map[string]bool{
		"setup":   true, // run before the others
		"values":  true, // what the setup printed; the tests have their own
		"main.tf": true, // applied by Terraform itself: make test-terraform
	}
	for name := range files {
		known[name] = true
	}
	for _, name := range commands {
		known[name] = true
	}
	found := snippets(t)
	for name, s := range found {
		if !known[name] {
			t.Errorf("the snippet %q (%s) is run by no test", name, s.language)
		}
	}
	for name := range known {
		if _, ok := found[name]; !ok {
			t.Errorf("there is no snippet %q any more", name)
		}
	}
	for name, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A file's package comment is not in the page.
		if want := strings.TrimSpace(found[name].text); !strings.HasSuffix(strings.TrimSpace(string(text)), want) || want == "" {
			t.Errorf("the snippet %s is not what is in %s", name, file)
		}
	}
}

// shop is the server that the page speaks of: a web app, a PostgreSQL and a
// cache, and a service principal that may connect them.
type shop struct {
	*controlPlane
	web settingsFile
	env []string
}

func newShop(t *testing.T) shop {
	t.Helper()
	cp := start(t, 0)
	cp.postgres(testenv.Postgres(t, testenv.PostgresOptions{}))
	_, web := cp.source("web", nil)
	s := shop{cp, web, nil}
	s.signedInAs(cp.granted("snippets", serviceConnectorRole, cp.group))
	return s
}

// signedInAs sets what the page has its reader set.
func (s *shop) signedInAs(who credential) {
	s.env = append(os.Environ(), "PATCHBAY="+s.url, "PATCHBAY_CA="+s.ca, "AZURE_SUBSCRIPTION_ID="+s.subscription,
		"AZURE_TENANT_ID="+who.tenant, "AZURE_CLIENT_ID="+who.id, "AZURE_CLIENT_SECRET="+who.secret)
}

// run runs a snippet's program in dir.
func (s shop) run(dir string, more []string, program string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(s.env, more...)
	var out, trouble bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &trouble
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s%s", program, err, &trouble, &out)
	}
	return out.String()
}

// connected checks that the snippet said so, and that it is so.
func (s shop) connected(said, setting string) {
	s.t.Helper()
	if strings.TrimSpace(said) != "Succeeded" {
		s.t.Errorf("the snippet said %q", said)
	}
	if s.web.settings()[setting] == "" {
		s.t.Errorf("the file has no %s: %v", setting, s.web.settings())
	}
}

func TestTheSnippetForJavaScriptConnects(t *testing.T) {
	t.Parallel()
	node := needNode(t)
	s := newShop(t)
	s.connected(s.run("npm", []string{"NODE_EXTRA_CA_CERTS=" + s.ca}, node[0], append(node[1:], "connect.mjs")...), "AZURE_POSTGRESQL_HOST")
}

func TestTheSnippetForGoConnects(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	program := filepath.Join(t.TempDir(), "example")
	s.run(".", nil, "go", "build", "-o", program, "./example")
	s.connected(s.run(".", []string{"SSL_CERT_FILE=" + s.ca}, program), "AZURE_POSTGRESQL_CONNECTIONSTRING")
}
