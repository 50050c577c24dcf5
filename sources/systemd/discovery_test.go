//go:build linux

package systemd

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

func TestServicesAreFound(t *testing.T) {
	units := env.User(t)
	write := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(units, name), []byte(text), 0o644))
	}
	service := func(rest string) string {
		return "[Service]\nExecStart=/bin/sleep infinity\n" + rest + "\n[Install]\nWantedBy=default.target\n"
	}
	write("found-web.service", "[Unit]\nDescription=The shop\n"+service("Environment=PGPASSWORD=c4n4ry PATH=/bin"))
	write("found-idle.service", service(""))
	write("found-unused.service", service(""))
	write("found-broken.service", "[Service]\nExecStart=/bin/false\n")
	write("found-job@.service", service(""))
	write("postgresql@found.service", service(""))
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("systemctl", append([]string{"--user", "--no-ask-password"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("daemon-reload")
	run("enable", "found-idle.service")
	run("start", "found-web.service", "found-job@1.service", "postgresql@found.service")
	_ = exec.Command("systemctl", "--user", "start", "found-broken.service").Run()

	c := driver.Config{Properties: json.RawMessage(`{"manager":"user"}`), Host: hosts.NewLocal(hosts.DialRules{})}
	list, err := Driver().Discover(t.Context(), c, nil)
	must(t, err)
	all := map[string]driver.Found{}
	for _, f := range list {
		all[f.Name] = f
	}
	if text, _ := json.Marshal(list); strings.Contains(string(text), "c4n4ry") {
		t.Errorf("a value leaves the driver: %s", text)
	}
	for name, state := range map[string]string{"found-web": "active", "found-idle": "inactive", "found-job@1": "active", "postgresql@found": "active"} {
		if f := all[name]; f.State != state || f.Plumbing || f.Refused != "" || f.Endpoint != name+".service" || f.Unit != f.Endpoint {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := all["found-web"]; !strings.Contains(f.What, "The shop") || !slices.Contains(f.Variables, "PGPASSWORD") {
		t.Errorf("%+v", f)
	}
	if _, ok := all["found-unused"]; ok {
		t.Error("found-unused is found, which neither runs nor starts")
	}
	if _, ok := all["found-job@"]; ok {
		t.Error("a template is found")
	}
	// What the distribution brings is its plumbing.
	for name, f := range all {
		if !f.Plumbing && !strings.HasPrefix(name, "found-") && name != "postgresql@found" {
			t.Errorf("%s is no application: %+v", name, f)
		}
	}
	list, err = Driver().Discover(t.Context(), c, func(f driver.Found) driver.Reveal {
		if f.Name == "found-web" {
			return driver.Reveal{Variables: []string{"PGPASSWORD"}}
		}
		return driver.Reveal{}
	})
	must(t, err)
	for _, f := range list {
		if want := f.Name == "found-web"; want != (len(f.Revealed) == 1) {
			t.Errorf("%s reveals %d values", f.Name, len(f.Revealed))
		}
	}
}

func TestWhereAUnitStandsSaysWhoseItIs(t *testing.T) {
	for path, theirs := range map[string]bool{
		"/etc/systemd/system/web.service": true, "/srv/ann/.config/systemd/user/web.service": true, "/usr/local/lib/systemd/system/web.service": true,
		"/lib/systemd/system/ssh.service": false, "/usr/lib/systemd/system/ssh.service": false, "/run/systemd/transient/run-1.service": false, "": false,
	} {
		if got := (unit{facts: map[string]string{"FragmentPath": path}}).administrators(); got != theirs {
			t.Errorf("%q: %v", path, got)
		}
	}
	for source, theirs := range map[string]bool{"/etc/containers/systemd/web.container": true, "/etc/init.d/cups": false, "/etc/fstab": false} {
		u := unit{facts: map[string]string{"FragmentPath": "/run/systemd/generator/web.service", "UnitFileState": "generated", "SourcePath": source}}
		if got := u.administrators(); got != theirs {
			t.Errorf("generated of %q: %v", source, got)
		}
	}
}

func TestPortsAreThoseOfTheProcess(t *testing.T) {
	at := netip.MustParseAddr
	all := []listen{{at("127.0.0.1"), 5432, "7"}, {at("::1"), 5432, "7"}, {at("0.0.0.0"), 80, "8"}, {at("10.0.0.5"), 90, "9"}, {at("::"), 6379, ""}}
	for pid, want := range map[string][]string{"7": {":5432", ":6379"}, "8": {":80", ":6379"}, "9": {"10.0.0.5:90", ":6379"}, "0": nil, "": nil} {
		var got []string
		for _, r := range reach(all, pid) {
			got = append(got, r.Address)
			if (r.Note != "") != (r.Port == 5432) {
				t.Errorf("%+v", r)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", pid, got, want)
		}
	}
}
