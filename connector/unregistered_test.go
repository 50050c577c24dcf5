package connector

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// What to do about something that nobody registered is said with the drivers of
// this build: those of the test have names that no other has.
func TestWhatNobodyRegisteredIsSaidHowToRegister(t *testing.T) {
	w := newWorld(t)
	linker := func(source patchbay.ID) patchbay.ID {
		return source.Child("providers/Microsoft.ServiceLinker/linkers", "orders")
	}
	to := func(target patchbay.ID) patchbay.Spec {
		spec := w.spec()
		spec.Target.ID = target
		return spec
	}
	for _, tt := range []struct {
		name   string
		linker patchbay.ID
		spec   patchbay.Spec
		code   patchbay.Code
		fix    string
	}{
		{"a source", linker(w.group.Child("providers/Microsoft.Web/sites", "shop")), w.spec(), patchbay.SourceNotFound, "patchbay resource add memoryApp shop"},
		{"a source of another type", linker(w.group.Child("providers/Microsoft.App/containerApps", "shop")), w.spec(), patchbay.SourceNotFound, "patchbay resource add memoryApp " + string(w.group) + "/providers/Microsoft.App/containerApps/shop"},
		{"a source of a type that no driver has", linker(w.group.Child("providers/Microsoft.Compute/virtualMachines", "shop")), w.spec(), patchbay.SourceNotFound, "patchbay resource add --help"},
		{"a target", w.linker, to(w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "crm").Child("databases", "crm")), patchbay.TargetNotFound, "patchbay resource add memory crm"},
		{"a target of a type that no driver has", w.linker, to(w.group.Child("providers/Contoso.Shop/tills", "one")), patchbay.TargetNotFound, "patchbay resource add --help"},
	} {
		_, err := w.Put(t.Context(), PutRequest{ID: tt.linker, Spec: tt.spec, Caller: Trusted("ann")})
		if e := patchbay.AsError(err); patchbay.CodeOf(err) != tt.code || e.Fix != tt.fix {
			t.Errorf("%s: %v, and the fix is %q, not %q", tt.name, err, e.Fix, tt.fix)
		}
	}
}

func TestARegistrationHasWhatEveryOneNeeds(t *testing.T) {
	const site = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	field := func(name, flag, form string) patchbay.Field {
		return patchbay.Field{Name: name, Flag: flag, Form: form, Required: true}
	}
	file := patchbay.Driver{Name: "file", Types: []string{"microsoft.web/Sites"}, Endpoint: patchbay.Endpoint{Field: field("", "path", "FILE")}}
	administered := patchbay.Driver{
		Name: "db", Types: file.Types, Endpoint: patchbay.Endpoint{Field: field("", "", "HOST:PORT")},
		Admin: []patchbay.Field{{Name: "username"}}, Logins: &patchbay.Logins{},
	}
	several := patchbay.Driver{Name: "any", Types: file.Types, Kinds: []patchbay.ResourceKind{{Name: "cache"}}}
	for want, drivers := range map[string][]patchbay.Driver{
		"file web --path FILE":          {file},
		"db web --endpoint HOST:PORT …": {several, administered},
		"any web --kind cache":          {several},
		"DRIVER " + string(site) + " …   (DRIVER is one of file, any)": {file, several},
		"--help":                                 {{Name: "other", Types: []string{"Microsoft.Web/sites/slots"}}},
		"slots " + string(site) + " --path FILE": {{Name: "slots", Types: []string{"Microsoft.Web/sites/slots", "Microsoft.Web/sites"}, Endpoint: file.Endpoint}},
		"needs web --endpoint ENDPOINT …":        {{Name: "needs", Types: file.Types, Endpoint: patchbay.Endpoint{Field: field("", "", "")}, Properties: []patchbay.Field{field("a", "", "")}}},
	} {
		if got := registration(drivers, site, "cache"); got != "patchbay resource add "+want {
			t.Errorf("%s: %s", want, got)
		}
	}
	if got := registration([]patchbay.Driver{several}, site, ""); !strings.HasSuffix(got, "--kind KIND") {
		t.Error(got)
	}
}
