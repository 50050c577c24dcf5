package cli

import (
	"slices"
	"testing"

	"patchbay.dev/patchbay/settings"
)

func TestEveryKindOfTheSettingsTableCanBeRegistered(t *testing.T) {
	for _, k := range settings.Kinds() {
		for _, word := range append([]string{k.Name}, k.Words...) {
			if !slices.Contains(externalKindNames(), word) {
				t.Errorf("there is no --kind %s", word)
			}
		}
	}
}
