package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// held is what a source would hold.
func held(set []patchbay.Setting) map[string]patchbay.Secret {
	have := make(map[string]patchbay.Secret)
	for _, s := range set {
		have[s.Name] = s.Value
	}
	return have
}

// everyRequest calls f with each combination of kind, naming, client type and
// auth type that has settings of its own.
func everyRequest(f func(k *kind, r Request)) {
	for _, name := range slices.Sorted(maps.Keys(table())) {
		k := table()[name]
		seen := make(map[string]bool)
		for _, naming := range k.namings() {
			for _, client := range k.clients(naming) {
				for _, auth := range k.authsOf(naming, client) {
					set, _ := k.settings(naming, client, auth)
					key := string(auth)
					for _, s := range set {
						key += fmt.Sprint(s.name, s.template)
					}
					if !seen[key] {
						seen[key] = true
						f(k, Request{Kind: name, Naming: naming, Client: client, Auth: auth})
					}
				}
			}
		}
	}
}

// roundTrip renders r, parses that, and checks that every value that is shown
// comes back. Where a library's words are coarser than ours, what comes back
// must mean the same to it. It reports whether there was anything to render.
func roundTrip(t testing.TB, k *kind, r Request) bool {
	t.Helper()
	set, err := Render(r)
	if err != nil {
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Fatalf("%s %s %s %s: %v", r.Kind, r.Naming, r.Client, r.Auth, err)
		}
		return false
	}
	have := held(set)
	got, err := Parse(r, have)
	if err != nil {
		t.Fatalf("%s %s %s %s: %v", r.Kind, r.Naming, r.Client, r.Auth, err)
	}
	p, err := r.plan()
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.filling(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.set {
		if _, ok := have[s.name]; !ok {
			continue
		}
		s.template.holes(func(h part, _ bool) {
			want, given := f.values[h.value]
			if !given || !f.exists(h.value) || len(k.value(h.value).Words) > 0 {
				return
			}
			if got[h.value].Reveal() != want {
				t.Errorf("%s %s %s %s: %s came back as %q and was %q, from %s=%q",
					r.Kind, r.Naming, r.Client, r.Auth, h.value, got[h.value].Reveal(), want, s.name, have[s.name].Reveal())
			}
		})
	}
	again := r
	again.Values = maps.Clone(r.Values)
	maps.Copy(again.Values, got)
	set, err = Render(again)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(reveal(held(set)), reveal(have)) {
		t.Errorf("%s %s %s %s: what was parsed renders as\n%q and was\n%q", r.Kind, r.Naming, r.Client, r.Auth, reveal(held(set)), reveal(have))
	}
	return true
}

func reveal(have map[string]patchbay.Secret) map[string]string {
	out := make(map[string]string)
	for name, v := range have {
		out[name] = v.Reveal()
	}
	return out
}

// hostile are values that break whatever joins strings without thinking.
var hostile = []string{
	"plain", " ", "a b", " lead", "trail ", "'", `"`, `''`, `""`, `\`, `\\`, `\'`, `a\`, ";", "a;b", ";Password=x", `";x="`, `";"`,
	"a=b", "=", "&", "a&b=c", "?", "#", "/", "//", ":", "a:b", "@", "a@b", "@tcp(h:1)/db", ")/x?", "%", "%41", "%zz", "+", "a+b", ",", "a,ssl=False",
	"{", "}", "{}", "}}", "{a}", "[", "]", "[]", "]]", "$(id)", "`id`", "$HOME", "${HOME}", "\n", "a\nb", "\r\n", "\t", "é", "日本", "\u00a0", "\u2028", "\u200b",
	" password=x", "' password='x", "sslmode=disable", "<a>", "|", "~", "^", "*", "!", "(", ")", "-----BEGIN USER NKEY SEED-----",
	strings.Repeat("x", 300), "p; '\"\\{}[]=@:/?#&,%+ é\n",
}

func TestParseGivesBackWhatWasRendered(t *testing.T) {
	rendered, refused := 0, 0
	everyRequest(func(k *kind, r Request) {
		for _, values := range append(examples(k), elsewhere(k)) {
			r.Values = values
			if roundTrip(t, k, r) {
				rendered++
			} else {
				refused++
			}
		}
	})
	t.Logf("%d round trips, %d refused", rendered, refused)
	if rendered < 10*refused {
		t.Error("too much is refused")
	}
}

func TestHostileValuesComeBackOrAreRefused(t *testing.T) {
	rendered, refused := 0, 0
	everyRequest(func(k *kind, r Request) {
		if r.Auth != k.auths[0] {
			return
		}
		for _, v := range k.values {
			for _, h := range hostile {
				r.Values = maps.Clone(examples(k)[0])
				r.Values[v.Name] = patchbay.NewSecret(h)
				if roundTrip(t, k, r) {
					rendered++
				} else {
					refused++
				}
			}
		}
	})
	t.Logf("%d round trips, %d refused", rendered, refused)
}

// What quotes can hold, must not be refused: only syntaxes without any way to
// quote may say no to a password.
func TestQuotingSyntaxesTakeEveryPassword(t *testing.T) {
	noQuotes := map[*syntax]bool{syntaxes["pairs"]: true, syntaxes["stackexchange"]: true, syntaxes["gomysql"]: true}
	everyRequest(func(k *kind, r Request) {
		if k.value("password") == nil || r.Auth != patchbay.AuthSecret {
			return
		}
		set, err := k.settings(r.Naming, r.Client, r.Auth)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(set, func(s setting) bool { return noQuotes[s.syntax] }) {
			return
		}
		for _, h := range hostile {
			r.Values = examples(k)[len(k.need)/2]
			r.Values["password"] = patchbay.NewSecret(h)
			if _, err := Render(r); err != nil {
				t.Errorf("%s %s %s: password %q: %v", r.Kind, r.Naming, r.Client, h, err)
			}
		}
	})
}

func TestParseFindsWhatSomebodyChanged(t *testing.T) {
	r := Request{Kind: "postgresql", Client: "go", Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: examples(table()["postgresql"])[0]}
	set, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	change := func(name, value string) map[string]patchbay.Secret {
		have := held(set)
		if have[name] = patchbay.NewSecret(value); value == "" {
			delete(have, name)
		}
		return have
	}
	for _, c := range []struct {
		name, value string
		code        patchbay.Code
	}{
		{"PGPASSWORD", "", patchbay.SettingMissing},
		{"PGPASSWORD", "other", patchbay.SettingChanged}, // DATABASE_URL has the old one
		{"DATABASE_URL", "postgresql://x", patchbay.SettingChanged},
	} {
		_, err := Parse(r, change(c.name, c.value))
		if e := patchbay.AsError(err); e == nil || e.Code != c.code || e.Subject != c.name && e.Subject != "DATABASE_URL" {
			t.Errorf("%s=%q: %v", c.name, c.value, err)
		}
	}
	r.Naming = patchbay.NamingAzure
	v, err := Parse(r, map[string]patchbay.Secret{
		"AZURE_POSTGRESQL_CONNECTIONSTRING": patchbay.NewSecret("host=h dbname=d sslmode=verify-ca user=u password='it\\'s new' connect_timeout=3"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"host": "h", "port": "5432", "database": "d", "sslmode": "verify-ca", "username": "u", "password": "it's new"}
	if !maps.Equal(reveal(v), want) {
		t.Errorf("got %q", reveal(v))
	}
}

// FuzzRender checks for every way of writing them that names and secrets come
// back as they were, or are refused without being shown.
func FuzzRender(f *testing.F) {
	const canary = "c4n4ry"
	var kinds []*kind
	var requests []Request
	everyRequest(func(k *kind, r Request) { kinds, requests = append(kinds, k), append(requests, r) })
	for i, h := range hostile {
		f.Add(uint(i), "pb_x", h, "shop")
		f.Add(uint(i+len(hostile)), h, "s3cret", h)
	}
	f.Fuzz(func(t *testing.T, which uint, username, secret, database string) {
		k, r := kinds[which%uint(len(kinds))], requests[which%uint(len(kinds))]
		r.Values = maps.Clone(examples(k)[len(k.need)/2])
		for name, value := range map[string]string{"username": username, "database": database} {
			if v := k.value(name); v != nil && value != "" {
				r.Values[name] = patchbay.NewSecret(value)
			}
		}
		for _, v := range k.values {
			if _, ok := r.Values[v.Name]; ok && v.Secret {
				r.Values[v.Name] = patchbay.NewSecret(secret + canary)
			}
		}
		if _, err := Render(r); err != nil && strings.Contains(err.Error(), canary) {
			t.Fatalf("the error shows a secret: %v", err)
		}
		roundTrip(t, k, r)
	})
}

// FuzzParse checks that whatever a source holds is parsed or refused, and that
// what was parsed means the same when it is written again.
func FuzzParse(f *testing.F) {
	seen := make(map[string]bool)
	everyRequest(func(k *kind, r Request) {
		for _, r.Values = range append(examples(k), elsewhere(k)) {
			set, _ := Render(r)
			for _, s := range set {
				if v := s.Value.Reveal(); !seen[v] {
					seen[v] = true
					f.Add(v)
				}
			}
		}
	})
	var composite []setting
	var kinds []*kind
	everyRequest(func(k *kind, r Request) {
		set, _ := k.settings(r.Naming, r.Client, r.Auth)
		for _, s := range set {
			if s.template.alone() == "" && len(s.template) > 1 {
				composite, kinds = append(composite, s), append(kinds, k)
			}
		}
	})
	f.Fuzz(func(t *testing.T, text string) {
		for i, s := range composite {
			k := kinds[i]
			found, ok := k.read(s, text)
			if !ok {
				continue
			}
			fill := newFilling(k, func(string) bool { return true })
			valid := true
			for v, all := range found {
				fill.values[v] = all[0]
				valid = valid && refuse(*k.value(v), all[0]) == ""
			}
			again, wrote, left := fill.fill(s.template, s.syntax)
			if !valid || left || len(fill.missing) > 0 {
				continue
			}
			p := &plan{kind: k}
			if wrong := p.unlike(s, fill, again+s.syntax.end, wrote); wrong != "" && s.syntax.escape != nil {
				t.Errorf("%s: %s of %q does not come back from %q", k.name, wrong, text, again)
			}
		}
	})
}
