package compose

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func change(uid string, settings ...string) driver.Change {
	c := driver.Change{Mark: driver.Mark{UID: uid, Generation: 1}, Name: "orders"}
	for i := 0; i < len(settings); i += 2 {
		c.Set = append(c.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1])})
	}
	return c
}

// made is f with the change made for a service.
func made(t *testing.T, in form, f file, service string, c driver.Change) file {
	t.Helper()
	r, err := in.split(f, service)
	if err != nil {
		t.Fatal(err)
	}
	next, err := in.put(f, service, r.apply(c, service))
	if err != nil {
		t.Fatalf("%v\n%s", err, f.text)
	}
	return next
}

func gone(c driver.Change) driver.Change {
	return driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set}
}

// TestOneFileForAllServices: connections of several services share the one override
// that Compose finds, and what somebody adds to it stays.
func TestOneFileForAllServices(t *testing.T) {
	in := override{}
	web, worker := change("u1", "PB_A", "it's $x", "no", "1"), change("u2", "PB_B", "2")
	one := made(t, in, file{}, "web", web)
	want := header + `services:
  web:
    environment:
      # patchbay: {"connection":"orders","service":"web","uid":"u1","generation":1,"names":["PB_A","no"]}
      PB_A: "it's $$x"
      "no": "1"
`
	if one.text != want {
		t.Fatalf("the file is\n%s\nwant\n%s", one.text, want)
	}
	both := made(t, in, one, "worker", worker)
	if back := made(t, in, both, "worker", gone(worker)); back != one {
		t.Errorf("without the second service's it is\n%s", back.text)
	}
	if left := made(t, in, made(t, in, both, "web", gone(web)), "worker", gone(worker)); left.exists {
		t.Errorf("without anybody's there is\n%s", left.text)
	}
	for _, edit := range []func(string) string{
		func(s string) string { return s + "  db:\n    image: x\n" },
		func(s string) string { return s + "networks:\n  n: {}\n" },
		func(s string) string { return s + "\n# a remark\n" },
		func(s string) string {
			return strings.Replace(s, "    environment:\n", "    ports: [\"1\"]\n    environment:\n", 1)
		},
		func(s string) string { return s + "    ports:\n      - \"1\"\n" },
		func(s string) string { return s + "      THEIRS: plain\n" },
		func(s string) string { return strings.Replace(s, "  web:\n", "  # of the web\n  web:\n", 1) },
		func(s string) string { return strings.TrimSuffix(s, "\n") },
	} {
		edited := file{true, edit(one.text)}
		two := made(t, in, edited, "worker", worker)
		if back := made(t, in, two, "worker", gone(worker)); strings.TrimSuffix(back.text, "\n") != strings.TrimSuffix(edited.text, "\n") {
			t.Errorf("an edit does not stay:\n%s\nis\n%s", edited.text, back.text)
		}
		left := made(t, in, edited, "web", gone(web))
		if strings.Contains(left.text, "PB_A") || len(marksIn(left.text)) > 0 {
			t.Errorf("of the connection there is still something in\n%s", left.text)
		}
		again := made(t, in, left, "web", web)
		if !strings.Contains(again.text, `PB_A: "it's $$x"`) {
			t.Errorf("again it is\n%s", again.text)
		}
	}
	for _, odd := range []string{
		"services: {web: {environment: {THEIRS: x}}}\n", "services:\n  web:\n    environment: [THEIRS=x]\n", "services:\n    web:\n        environment:\n            THEIRS: x\n",
		"services:\n  web: &a\n    environment:\n      THEIRS: x\n", "services:\n  web:\n    environment:\n      <<: x\n",
	} {
		f := file{true, header + odd}
		r, err := in.split(f, "web")
		if err == nil {
			_, err = in.put(f, "web", r.apply(web, "web"))
		}
		if patchbay.CodeOf(err) != patchbay.SettingsUnwritable {
			t.Errorf("%q is changed: %v", odd, err)
		}
	}
}

func FuzzYAMLText(f *testing.F) {
	for _, seed := range hardValues {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c := change("u1", "PB_A", value)
		if strings.Contains(value, "\x00") || strings.ToValidUTF8(value, "") != value {
			t.Skip()
		}
		for _, in := range []form{override{}, dotenv{}} {
			next := made(t, in, file{}, "web", c)
			r, err := in.split(next, "web")
			if got := valuesOf(r.items()); err != nil || len(got) != 1 || got["PB_A"] != value {
				t.Errorf("%q is read as %q, %v", value, got, err)
			}
		}
	})
}

var hardValues = []string{"", "$", "$$", "$$$", "\u0085\u2028\ufeff\x7f", "a\\n\n", `\"`, `\\"`, "\ufffe", "\U000e0001", "'", "\t"}
