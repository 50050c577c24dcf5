package compose

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/sources/docker"
)

func TestServicesAreFound(t *testing.T) {
	w := start(t)
	database := w.Image(t, "postgres", "EXPOSE 5432")
	s := w.shop(t)
	s.more = "    deploy: {replicas: 2}\n"
	s.rest = "  db:\n    image: " + database + "\n    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/password}\n    secrets: [password]\n    ports: ['15432:5432']\nsecrets:\n  password: {file: ./password}\n"
	if err := os.WriteFile(filepath.Join(s.dir, "password"), []byte("c4n4ry\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.save(t)
	s.must(t, "up", "--detach")
	// Another project, of a file and a name of its own.
	other := w.shop(t)
	other.save(t)
	if err := os.Rename(filepath.Join(other.dir, "compose.yaml"), filepath.Join(other.dir, "prod.yaml")); err != nil {
		t.Fatal(err)
	}
	other.must(t, "--file", "prod.yaml", "--project-name", "live", "up", "--detach")
	t.Cleanup(func() {
		_, _ = other.compose("--file", "prod.yaml", "--project-name", "live", "down", "--timeout", "0")
	})
	w.Must(t, "run", "--detach", "--name", "alone", w.image)

	told := map[string]any{"engine": "unix://" + w.Socket, "program": w.program}
	properties, _ := json.Marshal(told)
	c := driver.Config{Properties: properties, Host: hosts.NewLocal(hosts.DialRules{})}
	d := Driver(docker.Driver())
	list, err := d.Discover(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Within+"/"+f.Name)
		if !f.Running || f.Refused != "" || f.Instance == "" {
			t.Errorf("%+v", f)
		}
		if f.Name == "db" {
			if len(f.Reach) == 0 || !strings.HasSuffix(f.Reach[0].Address, ":15432") || !slices.Contains(f.Variables, "POSTGRES_PASSWORD_FILE") {
				t.Errorf("%+v", f)
			}
			continue
		}
		// What it says registers it.
		all := maps.Clone(told)
		maps.Copy(all, f.Properties)
		properties, _ := json.Marshal(all)
		opened, err := d.Open(t.Context(), driver.Config{ID: testID, Endpoint: f.Endpoint, Properties: properties, Host: c.Host})
		if err != nil {
			t.Errorf("%+v: %v", f, err)
			continue
		}
		// The other one is not where Compose finds it by itself, and its registration is told so.
		if _, err := opened.Inspect(t.Context()); (err == nil) != (f.Within == s.name) {
			t.Errorf("%s: %v", f.Within, err)
		}
		_ = opened.Close()
	}
	slices.Sort(names)
	if want := []string{"live/web", s.name + "/db", s.name + "/web"}; !slices.Equal(names, want) {
		t.Errorf("found are %q, not %q", names, want)
	}
	list, err = d.Discover(t.Context(), c, func(f driver.Found) driver.Reveal {
		if f.Name == "db" && f.Within == s.name {
			return driver.Reveal{Files: []string{"POSTGRES_PASSWORD_FILE"}}
		}
		return driver.Reveal{}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if got := f.Revealed["POSTGRES_PASSWORD_FILE"].Reveal(); f.Name == "db" && got != "c4n4ry" || f.Name != "db" && len(f.Revealed) > 0 {
			t.Errorf("%s reveals %d values", f.Name, len(f.Revealed))
		}
	}
}
