package settings

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// registrations are what a target may have been registered with, by the values
// that say how safe a connection is.
func registrations(k *kind) []Values {
	words := []string{""}
	mode := k.mode()
	if mode != "" {
		words = k.value(mode).Words
	}
	var all []Values
	for _, word := range words {
		for _, path := range []string{"", "/srv/bindings/orders/ca.crt"} {
			for _, ca := range []bool{false, true} {
				v := examples(k)[0]
				if mode != "" {
					v[mode] = patchbay.NewSecret(word)
				}
				if ca {
					v[authority] = patchbay.NewSecret("-----BEGIN CERTIFICATE-----\n")
					v[serverName] = patchbay.NewSecret("certified.example")
					v[weakestAuth] = patchbay.NewSecret("scram-sha-256")
					if path != "" {
						v[authorityPath] = patchbay.NewSecret(path)
					}
				}
				if ca || path == "" {
					all = append(all, v)
				}
			}
		}
	}
	return all
}

// TestEverySecurityValueIsWrittenOrSaidToBeLeft walks the whole table: whatever a
// target was registered with is in a setting that the library reads, or there is a
// warning that names the step that is left to the user.
func TestEverySecurityValueIsWrittenOrSaidToBeLeft(t *testing.T) {
	walked := 0
	for name, k := range table() {
		for _, naming := range k.namings() {
			for _, client := range k.clients(naming) {
				for _, auth := range k.authsOf(naming, client) {
					for _, values := range registrations(k) {
						r := Request{Kind: name, Naming: naming, Client: client, Auth: auth, Connection: "orders", Values: values}
						set, reading, err := Read(r)
						if err != nil {
							t.Fatalf("%s, %s, %s, %s: %v", name, naming, client, auth, err)
						}
						walked++
						for _, wrong := range unaccounted(k, r, set, reading) {
							t.Errorf("%s, %s, %s, %s, sslmode %q, ca %t, place %t: %s", name, naming, client, auth,
								values[k.mode()].Reveal(), !values[authority].IsZero(), !values[authorityPath].IsZero(), wrong)
						}
					}
				}
			}
		}
	}
	t.Logf("%d registrations of targets, each with each naming, client type and auth type", walked)
}

// unaccounted are the values that are neither in the settings, as the library
// reads them, nor said not to be.
func unaccounted(k *kind, r Request, set []patchbay.Setting, reading Reading) (wrong []string) {
	said := func(value string) bool {
		return slices.ContainsFunc(reading.Unsaid, func(u Unsaid) bool { return u.Value == value })
	}
	for _, u := range reading.Unsaid {
		if u.What == "" || u.Step == "" {
			wrong = append(wrong, u.Value+" is left to the user, and nothing says how")
		}
	}
	if reading.By == "" || reading.Mode != "" && !slices.Contains(modes, reading.Mode) {
		wrong = append(wrong, "no library, or no mode of libpq's")
	}
	mode := k.mode()
	registered := libpqs(r.Values[mode].Reveal())
	if mode == "" {
		registered = "verify-full"
	}
	if r.Values[mode].Reveal() == "true" {
		registered = "verify-ca" // of names it says nothing
	}
	if registered == "disable" {
		return wrong
	}
	if !atLeast(reading.Mode, registered) && !said(cmp.Or(mode, "tls")) {
		wrong = append(wrong, "it was registered with "+registered+", is read as "+quoteEmpty(reading.Mode)+", and nothing says so")
	}
	inText := func(value string) bool {
		return slices.ContainsFunc(set, func(s patchbay.Setting) bool { return strings.Contains(s.Value.Reveal(), r.Values[value].Reveal()) })
	}
	if !r.Values[authority].IsZero() && atLeast(reading.Mode, "require") {
		if !said(authority) && !inText(authority) {
			wrong = append(wrong, "its authority is gone")
		}
		path := !r.Values[authorityPath].IsZero() && inText(authorityPath)
		if path && !inText(authority) {
			wrong = append(wrong, "a setting names the authority's file, and nobody writes it")
		}
	}
	if reading.Mode == "verify-full" && !said(serverName) && !r.Values[serverName].IsZero() && !r.Values["host"].IsZero() && !inText(serverName) {
		wrong = append(wrong, "the name in the certificate is gone")
	}
	if !r.Values[weakestAuth].IsZero() && k.value(weakestAuth) != nil && r.Auth == patchbay.AuthSecret && atLeast(reading.Mode, "require") && !said(weakestAuth) && !inText(weakestAuth) {
		wrong = append(wrong, "the weakest way to sign in is gone")
	}
	return wrong
}
