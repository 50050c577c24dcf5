package settings

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay.dev/patchbay"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples are values for a kind: what it needs, once for each way of signing
// in that it has (a NATS user has a JWT and a seed, or a name and a password),
// and once more with everything that may be left out.
func examples(k *kind) []Values {
	needed, optional := make(Values), make(Values)
	for _, v := range k.values {
		made := slices.ContainsFunc(k.values, func(of patchbay.TargetValue) bool { return strings.Contains(of.Default, "{"+v.Name+"}") })
		switch {
		case v.Optional && made: // a default needs it
			needed[v.Name] = patchbay.NewSecret(v.Example)
		case v.Optional:
			optional[v.Name] = patchbay.NewSecret(v.Example)
		case v.Default == "":
			needed[v.Name] = patchbay.NewSecret(v.Example)
		}
	}
	sets := []Values{needed}
	if len(k.need) > 0 {
		sets = nil
	}
	for _, chosen := range k.need {
		set := maps.Clone(needed)
		for _, name := range chosen {
			set[name] = optional[name]
		}
		sets = append(sets, set)
	}
	for _, names := range k.need {
		for _, name := range names {
			delete(optional, name)
		}
	}
	if len(optional) > 0 {
		all := maps.Clone(sets[0])
		maps.Copy(all, optional)
		sets = append(sets, all)
	}
	return sets
}

// elsewhere are values unlike the examples wherever that shows: another port,
// strict TLS, a host that is an address, and names and secrets that no syntax
// takes as they are.
func elsewhere(k *kind) Values {
	values := examples(k)[0]
	for _, v := range k.values {
		switch {
		case v.Name == "port":
			values[v.Name] = patchbay.NewSecret("15432")
		case v.Name == "host":
			values[v.Name] = patchbay.NewSecret("fd00::7")
		case v.Name == "suffix": // Azure has the account nowhere
			delete(values, v.Name)
			values["endpoint"] = patchbay.NewSecret("https://storage.shop.internal:8443/orders")
		case len(v.Words) > 0:
			values[v.Name] = patchbay.NewSecret(v.Words[len(v.Words)-1])
		case v.Secret:
			values[v.Name] = patchbay.NewSecret(`p; '"\{}[]=@:/?#&,%+ é`)
		case v.Name == "database" || v.Name == "username":
			values[v.Name] = patchbay.NewSecret("a b/c'd")
		}
	}
	return values
}

// TestGolden has every name and value that the table gives out, kind by kind.
// Client types with the same settings are shown together.
func TestGolden(t *testing.T) {
	for name, k := range table() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, "# %s: every setting with example values. Written by go test ./settings -update.\n", k.title)
			for _, naming := range k.namings() {
				for _, auth := range k.authsOf(naming, "") {
					for _, values := range examples(k) {
						show(&b, k, Request{Kind: name, Naming: naming, Auth: auth, Values: values}, "")
					}
				}
				r := Request{Kind: name, Naming: naming, Auth: k.authsOf(naming, "")[0], Values: elsewhere(k)}
				show(&b, k, r, ", elsewhere")
			}
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), b.String()); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

func show(b *strings.Builder, k *kind, r Request, note string) {
	var texts []string
	clients := make(map[string][]patchbay.ClientType)
	for _, r.Client = range k.clients(r.Naming) {
		if !slices.Contains(k.authsOf(r.Naming, r.Client), r.Auth) {
			continue
		}
		var text strings.Builder
		set, err := Render(r)
		if err != nil {
			fmt.Fprintf(&text, "! %v\n", err)
		}
		for _, s := range set {
			mark := " "
			if s.Secret {
				mark = "*"
			}
			fmt.Fprintf(&text, "%s %s=%s\n", mark, s.Name, strings.ReplaceAll(s.Value.Reveal(), "\n", "\n      "))
		}
		if clients[text.String()] == nil {
			texts = append(texts, text.String())
		}
		clients[text.String()] = append(clients[text.String()], r.Client)
	}
	for _, text := range texts {
		who := list(clients[text])
		switch n := len(clients[text]); {
		case n == len(everyClient):
			who = "every client type"
		case n > len(everyClient)/2 && r.Naming != patchbay.NamingAzure:
			who = "every other client type"
		}
		section := fmt.Sprintf("\n== %s, %s%s: %s\n%s", r.Naming, r.Auth, note, who, text)
		if !strings.Contains(b.String(), section) {
			b.WriteString(section)
		}
	}
}
