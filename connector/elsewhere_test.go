package connector

import (
	"maps"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/settings"
)

// What was written for a target is never taken for another's, and what is
// another's is seen: for every kind and client of the table.
func TestSettingsThatPointElsewhereAreSeen(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range settings.Kinds() {
		for _, client := range k.Clients {
			if _, err := settings.Names(k.Name, client, patchbay.AuthSecret, ""); err != nil {
				continue
			}
			facts := factsOf(k)
			r := settings.Request{Kind: k.Name, Client: client, Auth: patchbay.AuthSecret, Connection: "c", Values: concealAll(facts)}
			written, err := settings.Render(r)
			if err != nil {
				t.Errorf("%s for %s: %v", k.Name, client, err)
				continue
			}
			have := map[string]patchbay.Secret{}
			for _, s := range written {
				have[s.Name] = s.Value
			}
			values, err := settings.Parse(r, have)
			if err != nil {
				t.Errorf("%s for %s is not read back: %v", k.Name, client, err)
				continue
			}
			if part := (&checking{facts: facts}).elsewhere(values); part != "" {
				t.Errorf("%s for %s: its own %s counts as another's", k.Name, client, part)
			}
			for _, part := range whereabouts {
				if facts[part] == "" {
					continue
				}
				moved := maps.Clone(facts)
				moved[part] = strings.ToUpper(facts[part]) + "0"
				if (&checking{facts: moved}).elsewhere(values) != "" {
					seen[k.Name] = true
				}
			}
		}
	}
	for _, k := range settings.Kinds() {
		if _, err := settings.Names(k.Name, "none", patchbay.AuthSecret, ""); err == nil && !seen[k.Name] {
			t.Errorf("nothing of %s tells where its settings point", k.Name)
		}
	}
}

// factsOf are values of every name that the kind has.
func factsOf(k patchbay.TargetKind) map[string]string {
	facts := map[string]string{}
	for _, v := range k.Values {
		switch {
		case v.Name == "jwt" || v.Name == "seed" || v.Name == "token" || v.Name == "roleId" || v.Name == "secretId" || v.Name == "sessionToken":
			continue // another way to sign in
		case v.Default != "" && !strings.Contains(v.Default, "{"):
			facts[v.Name] = v.Default
		case v.Example != "":
			facts[v.Name] = v.Example
		case v.Default != "":
			facts[v.Name] = strings.NewReplacer("{account}", "orders", "{location}", "westeurope", "{database}", "shop", "{graph}", "people", "{cloud}", "azure.com", "{suffix}", "core.windows.net").Replace(v.Default)
		}
	}
	if k.Name == "vault" {
		facts["token"] = "hvs.s3cret"
	}
	return facts
}
