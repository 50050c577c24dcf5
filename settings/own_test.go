package settings

import (
	"net/url"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

const metabase = "postgres://{username}:{password:url}@{host:url}:{port}/{database:url}[?sslmode={sslmode}]"

func templated(naming patchbay.Naming, templates map[string]string) Request {
	r := postgres(naming, "none")
	r.Templates = templates
	return r
}

func settingOf(t *testing.T, set []patchbay.Setting, name string) patchbay.Setting {
	t.Helper()
	for _, s := range set {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no %s among %v", name, namesOf(set))
	return patchbay.Setting{}
}

func TestATemplateIsFilledAsItsReaderWants(t *testing.T) {
	for _, naming := range []patchbay.Naming{patchbay.NamingAzure, patchbay.NamingNative, patchbay.NamingServiceBinding, patchbay.NamingOwn} {
		for _, password := range []string{"plain", `p@ss:w/o?r#d%41 "'\[]{}é`} {
			for _, host := range []string{"db.shop.internal", "2001:db8::5"} {
				r := templated(naming, map[string]string{"MB_DB_CONNECTION_URI": metabase, "config.json": `{{"password": "{password:json}"}}`})
				r.Values["password"], r.Values["host"] = patchbay.NewSecret(password), patchbay.NewSecret(host)
				set, err := Render(r)
				if err != nil {
					t.Fatalf("%s: %v", naming, err)
				}
				s := settingOf(t, set, "MB_DB_CONNECTION_URI")
				if !s.Secret || s.File != (naming == patchbay.NamingServiceBinding) {
					t.Errorf("%s: secret %t, file %t", naming, s.Secret, s.File)
				}
				u, err := url.Parse(s.Value.Reveal())
				if err != nil {
					t.Fatalf("%s: the reader says %v", naming, err)
				}
				if got, _ := u.User.Password(); got != password || u.Hostname() != host {
					t.Errorf("%s: the reader has %q at %q, want %q at %q", naming, got, u.Hostname(), password, host)
				}
				if naming == patchbay.NamingOwn && len(set) != 2 {
					t.Errorf("the caller's own names and others: %v", namesOf(set))
				}
				got, err := Parse(templated(naming, r.Templates), held(set))
				if err != nil || got["password"].Reveal() != password || got["host"].Reveal() != host {
					t.Errorf("%s: Parse = %v, %v", naming, got, err)
				}
			}
		}
	}
}

func TestATemplateGoesBeforeTheTable(t *testing.T) {
	r := templated(patchbay.NamingNative, map[string]string{"DATABASE_URL": "jdbc:postgresql://{host}/{database}"})
	set, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := settingOf(t, set, "DATABASE_URL").Value.Reveal(); !strings.HasPrefix(got, "jdbc:") {
		t.Errorf("DATABASE_URL = %s", got)
	}
	// A name that is asked for stays, also where the others get the connection's.
	r.Connection, r.Taken = "orders", taken("PGHOST")
	if set, err = Render(r); err != nil {
		t.Fatal(err)
	}
	settingOf(t, set, "DATABASE_URL")
	settingOf(t, set, "ORDERS_PGHOST")
	r.Taken = taken("DATABASE_URL")
	if _, err = Render(r); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("a taken name = %v, want Conflict", err)
	}
}

func TestATemplateThatCannotBeFilledIsRefused(t *testing.T) {
	for template, says := range map[string]string{
		"":                             "empty",
		"{":                            "without its }",
		"a ] too many":                 "]",
		"{passwort}":                   `no value "passwort"; it has`,
		"{password:html}":              "there are",
		"{host:tls}":                   "there are",
		"{password:text}":              "there are",
		"{weakestAuth}":                "has no value weakestAuth",
		"{clientId}":                   `no value "clientId"`,
		"x\x00":                        "NUL",
		strings.Repeat("{host} ", 65):  "64 are the most",
		"https://{host}/?p={password}": "mean something else in a URL",
		"{username}{password}{host}":   "can't hold",
	} {
		r := templated(patchbay.NamingNative, map[string]string{"MINE": template})
		r.Values["password"] = patchbay.NewSecret("a%41b")
		_, err := Render(r)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "a%41b") {
			t.Errorf("%q = %v, want it refused with %q", template, err, says)
		}
	}
	for _, name := range []string{"", "A=B", "A B", "NODE_EXTRA_CA_CERTS"} {
		if _, err := Render(templated(patchbay.NamingNative, map[string]string{name: "x"})); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("the name %q = %v", name, err)
		}
	}
	if _, err := Render(templated(patchbay.NamingOwn, nil)); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("no names at all = %v", err)
	}
	// What need not be there is put between brackets.
	r := templated(patchbay.NamingOwn, map[string]string{"MINE": "{host}[ {weakestAuth}]"})
	set, err := Render(r)
	if err != nil || settingOf(t, set, "MINE").Value != r.Values["host"] {
		t.Errorf("a segment = %v, %v", set, err)
	}
}
