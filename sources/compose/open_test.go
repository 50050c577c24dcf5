package compose

import (
	"encoding/json"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

const testID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/web"

func TestOpenRefuses(t *testing.T) {
	for what, tt := range map[string]struct {
		endpoint, scope string
		properties      map[string]any
		refused         bool
	}{
		"a directory":            {"/srv/shop", "", nil, false},
		"a scope":                {"/srv/shop", "web", nil, false},
		"the scope again":        {"/srv/shop", "web", map[string]any{"service": "web"}, false},
		"another scope":          {"/srv/shop", "worker", map[string]any{"service": "web"}, true},
		"a relative path":        {"srv/shop", "", nil, true},
		"the root":               {"/", "", nil, true},
		"an option as a file":    {"/srv/shop", "", map[string]any{"files": []string{"--host=tcp://x"}}, true},
		"the standard input":     {"/srv/shop", "", map[string]any{"files": []string{"-"}}, true},
		"an option as a profile": {"/srv/shop", "", map[string]any{"profiles": []string{"-x"}}, true},
		"an option as a service": {"/srv/shop", "", map[string]any{"service": "--build"}, true},
		"an option as a name":    {"/srv/shop", "", map[string]any{"project": "--x"}, true},
		"an engine by TCP":       {"/srv/shop", "", map[string]any{"engine": "tcp://10.0.0.5:2376"}, true},
		"a relative program":     {"/srv/shop", "", map[string]any{"program": "docker-compose"}, true},
		"an odd mode":            {"/srv/shop", "", map[string]any{"mode": "0044"}, true},
		"another way":            {"/srv/shop", "", map[string]any{"deliver": "mail"}, true},
	} {
		properties, err := json.Marshal(tt.properties)
		if err != nil || tt.properties == nil {
			properties = nil
		}
		s, err := Driver(driver.SourceDriver{}).Open(t.Context(), driver.Config{ID: testID, Endpoint: tt.endpoint, Scope: tt.scope, Properties: properties, Host: hosts.NewLocal(hosts.DialRules{})})
		if tt.refused && patchbay.CodeOf(err) != patchbay.InvalidArgument || !tt.refused && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}

func TestFilesOfALabel(t *testing.T) {
	for label, want := range map[string][]string{
		"/srv/shop/compose.yaml":                                 {"/srv/shop/compose.yaml"},
		"/srv/shop/compose.yaml,/srv/shop/prod.yaml":             {"/srv/shop/compose.yaml", "/srv/shop/prod.yaml"},
		"/srv/a, b/compose.yaml,/srv/a, b/compose.override.yaml": {"/srv/a, b/compose.yaml", "/srv/a, b/compose.override.yaml"},
		"": {""},
	} {
		if got := configFiles(label); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", label, got, want)
		}
	}
}
