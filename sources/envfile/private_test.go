package envfile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// dataDir is a server's directory, with the directory of an application beside it.
func dataDir(t *testing.T) (data, app string) {
	t.Helper()
	dir := t.TempDir()
	data, app = filepath.Join(dir, "data"), filepath.Join(dir, "app")
	for _, d := range []string{data, app} {
		must(t, os.Mkdir(d, 0o700))
	}
	must(t, os.WriteFile(filepath.Join(data, "admin.token"), []byte("TOKEN=secret\n"), 0o600))
	must(t, os.Symlink(data, filepath.Join(app, "link")))
	must(t, os.Link(filepath.Join(data, "admin.token"), filepath.Join(app, "hard")))
	return data, app
}

// Nothing of the server's own becomes a source's, whichever of its paths names it.
func TestNothingOfTheServersOwnIsASource(t *testing.T) {
	data, app := dataDir(t)
	fine := filepath.Join(app, "env")
	for _, bad := range []string{
		filepath.Join(data, "admin.token"), filepath.Join(data, "new.env"), data, filepath.Join(app, "hard"),
		filepath.Join(app, "link"), filepath.Join(app, "link", "admin.token"), filepath.Join(app, "link", "new"),
	} {
		for what, c := range map[string]driver.Config{
			"endpoint":    {Endpoint: bad},
			"bindingRoot": {Endpoint: fine, Properties: json.RawMessage(fmt.Sprintf(`{"bindingRoot":%q}`, bad))},
			"pidFile":     {Endpoint: fine, Properties: json.RawMessage(fmt.Sprintf(`{"reload":{"pidFile":%q}}`, bad))},
		} {
			c.ID, c.Host = testID, hosts.NewLocal(hosts.DialRules{}, data)
			_, err := Driver().Open(t.Context(), c)
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.InvalidArgument || e.Fix == "" || !strings.Contains(e.Message, what) {
				t.Errorf("%s %s: %v", what, bad, err)
			}
		}
	}
	if _, err := Driver().Open(t.Context(), driver.Config{Host: hosts.NewLocal(hosts.DialRules{}, data), ID: testID, Endpoint: fine}); err != nil {
		t.Error(err)
	}
}

// A path is swapped for a link once it is registered: from then on the source is
// neither read nor written, and what the link leads to stays as it is.
func TestASourceThatComesToLeadToTheServersOwnIsLeftAlone(t *testing.T) {
	for what, swap := range map[string]func(data, conf string) error{
		"the file": func(data, conf string) error {
			if err := os.Remove(filepath.Join(conf, "admin.token")); err != nil {
				return err
			}
			return os.Symlink(filepath.Join(data, "admin.token"), filepath.Join(conf, "admin.token"))
		},
		"the file, by a hard link": func(data, conf string) error {
			if err := os.Remove(filepath.Join(conf, "admin.token")); err != nil {
				return err
			}
			return os.Link(filepath.Join(data, "admin.token"), filepath.Join(conf, "admin.token"))
		},
		"its directory": func(data, conf string) error {
			if err := os.Rename(conf, conf+"2"); err != nil {
				return err
			}
			return os.Symlink(data, conf)
		},
	} {
		t.Run(what, func(t *testing.T) {
			data, app := dataDir(t)
			conf := filepath.Join(app, "conf")
			must(t, os.Mkdir(conf, 0o700))
			path := filepath.Join(conf, "admin.token")
			must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
			s, err := Driver().Open(t.Context(), driver.Config{Host: hosts.NewLocal(hosts.DialRules{}, data), ID: testID, Endpoint: path, Properties: json.RawMessage(
				fmt.Sprintf(`{"bindingRoot":%q,"reload":{"pidFile":%q}}`, conf, path))})
			must(t, err)
			before, err := s.ReadSettings(t.Context())
			must(t, err)
			change := connect("orders", 1, "B", "2")
			must(t, swap(data, conf))
			_, inspected := s.Inspect(t.Context())
			now, read := s.ReadSettings(t.Context())
			_, wrote := s.WriteSettings(t.Context(), change, before.Version)
			_, owned := s.Owned(t.Context())
			for name, err := range map[string]error{
				"Inspect": inspected, "ReadSettings": read, "WriteSettings": wrote, "Owned": owned,
				"CheckChange": s.CheckChange(t.Context(), change), "RestoreSettings": s.RestoreSettings(t.Context(), change, before), "Restart": restart(t, s),
			} {
				if err == nil || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s = %v", name, err)
				}
			}
			if len(now.Settings) > 0 {
				t.Errorf("it was read: %v", now.Settings)
			}
			if got := content(t, filepath.Join(data, "admin.token")); got != "TOKEN=secret\n" {
				t.Errorf("the server's file is %q", got)
			}
			list, err := os.ReadDir(data)
			must(t, err)
			if len(list) != 1 {
				t.Errorf("the server's directory has %v", list)
			}
		})
	}
}
