package arm

import (
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/wiretest"
)

// TestWhatWasNotSaidIsNotAnswered: azurerm reads an object full of nulls as one
// that is there, and every plan wants to remove it.
func TestWhatWasNotSaidIsNotAnswered(t *testing.T) {
	eachSpec(t, func(_ *generator, s patchbay.Spec) {
		asked := propertiesOf(t, LinkerRequest(s))
		for _, v := range Versions() {
			linker := propertiesOf(t, Linker(v, patchbay.Connection{ID: patchbay.ID(web).Linker("a"), Spec: s}))
			if own, ok := linker["patchbay"].(map[string]any); ok { // what it says of itself
				delete(own, "generation")
				delete(own, "keys")
				if asked["patchbay"] == nil {
					delete(linker, "patchbay")
				}
			}
			onlyWhatWasSaid(t, v, "linker", linker, asked)
			if v < V20221101Preview {
				continue // it has no dryruns
			}
			dryrun, _ := propertiesOf(t, Dryrun(v, patchbay.Dryrun{ID: web + "/providers/Microsoft.ServiceLinker/dryruns/a", Spec: s}))["parameters"].(map[string]any)
			delete(dryrun, "actionName")
			onlyWhatWasSaid(t, v, "dryrun", dryrun, asked)
		}
	})
}

func onlyWhatWasSaid(t *testing.T, v Version, what string, answer, asked map[string]any) {
	t.Helper()
	if unsaid := wiretest.Unsaid(answer, asked); len(unsaid) > 0 {
		text, _ := Marshal(answer)
		t.Errorf("%s: the %s answers %s, of which nothing was said:\n%s", v, what, strings.Join(unsaid, ", "), text)
	}
}

func propertiesOf(t *testing.T, v any) map[string]any {
	t.Helper()
	text, err := Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Properties map[string]any }
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m.Properties
}
