package envfile

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// FuzzValues: what is written is what is read, and nothing around it changes.
func FuzzValues(f *testing.F) {
	for _, value := range append(multiLine, "", "x", "it's", `a\`, `\\`, `"`, "$A", "a#b", " x ", "`", "'\"$A\\") {
		for i := range dialectNames {
			f.Add(uint8(i), uint8(0), value)
			f.Add(uint8(i), uint8(1+i), value)
		}
	}
	f.Fuzz(func(t *testing.T, which, whose uint8, value string) {
		d := dialects[dialectNames[int(which)%len(dialectNames)]]
		client := clients[int(whose)%len(clients)]
		setting := patchbay.Setting{Name: "K", Value: patchbay.NewSecret(value)}
		if checkSetting(d, setting, client) != nil {
			return
		}
		written, _ := d.encode(value, client)
		for _, end := range []string{"\n", "\r\n"} {
			text := "A=1" + end + "K=" + written + end + "Z=2" + end
			doc, err := parse(d, text)
			if err != nil {
				t.Fatalf("%s writes %q for %q, and refuses it: %v", d.name(), written, value, err)
			}
			want := map[string]string{"A": "1", "K": value, "Z": "2"}
			if got := doc.values(); !maps.Equal(got, want) {
				t.Fatalf("%s reads %q from %q, want %q", d.name(), got, text, want)
			}
		}
	})
}

// clients are client types whose readers differ; "" is of earlier releases.
var clients = []patchbay.ClientType{"", "none", "go", "python", "nodejs", "php", "ruby", "springBoot", "dotnet"}

var dialectNames = slices.Sorted(maps.Keys(dialects))

// FuzzChanges: on any file, a change applied twice is one, a change taken back
// leaves the original bytes, so does a later one of the same connection, and
// what is not named stays byte for byte.
func FuzzChanges(f *testing.F) {
	for i := range dialectNames {
		for _, text := range []string{
			"", "A=1", "A=1\n", "A=1\r\nB=2\r\n", "\uFEFFA=1\n", "export A=1\nA=2\nA=3", "A='x' # c\n", "A=\"x\ny\"#c\nB=2",
			"A: 1\nB:2\n", "# c\n\n;c\n  B = 2  \n", "A=x\\\ny\nB='a' \"b\" c\n", "A=`x`\n", "A=\nB", "=x\n", "A\n",
			newMark("web", driver.Change{Name: "orders", Mark: driver.Mark{UID: "u1"}, Set: []patchbay.Setting{{Name: "A"}, {Name: "D"}}}).line() + "\nA=1\nD=2\nC=3\n",
			"# patchbay: web/orders (u1, generation 1), do not edit by hand: A\n# patchbay: web/orders (u1, generation 1), do not edit by hand: A\nA=1\nA=2\n",
		} {
			f.Add(uint8(i), text, "one", "it's \"two\"\n", uint8(i*37+1))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, before, x, y string, shape uint8) {
		d := dialects[dialectNames[int(which)%len(dialectNames)]]
		set := func(bits uint8, value string) []patchbay.Setting {
			var list []patchbay.Setting
			for i, name := range []string{"A", "B", "C", "D"} {
				if bits&(1<<i) != 0 {
					list = append(list, patchbay.Setting{Name: name, Value: patchbay.NewSecret(value)})
				}
			}
			return list
		}
		first := driver.Change{Name: "orders", Mark: driver.Mark{UID: "u1", Generation: 1}, Set: set(shape&15, x)}
		second := driver.Change{Name: "orders", Mark: driver.Mark{UID: "u1", Generation: 2}, Set: set(shape>>4, y)}
		second.Had = first.Set
		for _, s := range append(first.Set, second.Set...) {
			if checkSetting(d, s, "") != nil {
				return
			}
		}
		doc, err := parse(d, before)
		if err != nil {
			return
		}
		var all strings.Builder
		for _, s := range doc.statements {
			all.WriteString(s.text)
		}
		if all.String() != before {
			t.Fatalf("the statements of %q are %q", before, all.String())
		}
		s := &source{id: testID, dialect: d, path: "/env"}
		old := state{exists: true, text: before}
		one, err := s.after(old, first)
		if err != nil {
			return
		}
		check(t, d, before, one.text, first)
		s.mustRestore(t, one, old, first)
		two, err := s.after(one, second)
		if err != nil {
			t.Fatalf("a change can be made to %q, the next one not: %v", one.text, err)
		}
		check(t, d, one.text, two.text, second)
		s.mustRestore(t, two, one, second)
		// What before had of these names and marks is not what first found free.
		if doc.block(first).at < 0 && !slices.ContainsFunc(append(first.Set, second.Set...), func(s patchbay.Setting) bool { return doc.last(s.Name) >= 0 }) {
			for c, was := range map[*driver.Change]state{&first: one, &second: two} {
				end, err := s.after(was, driver.Change{Name: c.Name, Mark: c.Mark, Had: c.Set})
				if err != nil || !end.exists || end.text != before {
					t.Fatalf("%s: a delete leaves\n%q, %v, want\n%q; it was\n%q", d.name(), end.text, err, before, was.text)
				}
			}
		}
		edited(t, d, before, one.text, first)
	})
}

func (s *source) mustRestore(t *testing.T, now, old state, c driver.Change) {
	t.Helper()
	if exists, text, err := s.textBefore(now, old, c); err != nil || !exists || text != old.text {
		t.Fatalf("%s: taking the change back leaves\n%q, %v, want\n%q; it was\n%q", s.dialect.name(), text, err, old.text, now.text)
	}
}

// check looks at what a change made of before.
func check(t *testing.T, d dialect, before, after string, c driver.Change) {
	t.Helper()
	_, again, err := applyChange(d, testID.Name(), true, after, c)
	if err != nil || again != after {
		t.Fatalf("%s: applied again, the change makes\n%q, %v of\n%q", d.name(), again, err, after)
	}
	named := map[string]bool{}
	for _, s := range c.Set {
		named[s.Name] = true
	}
	for _, s := range c.Had {
		named[s.Name] = true
	}
	theirs := func(text string) (lines []string) {
		doc, err := parse(d, text)
		if err != nil {
			t.Fatalf("%s: %q: %v", d.name(), text, err)
		}
		for _, s := range doc.statements {
			m, ours := parseMark(s.text)
			if s.kind == assignment && named[s.name] || ours && s.kind == comment && m.uid == c.Mark.UID {
				continue
			}
			lines = append(lines, strings.TrimRight(s.text, "\r\n"))
		}
		return lines
	}
	was, is := theirs(before), theirs(after)
	// What an earlier mark of ours lists may go, too.
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Fatalf("%s: %q is not in\n%q, of which came\n%q", d.name(), line, before, after)
		}
	}
	doc, _ := parse(d, before)
	if doc.block(c).at < 0 && !slices.Equal(was, is) {
		t.Fatalf("%s: of the lines %q\nthe change made %q", d.name(), was, is)
	}
	doc, _ = parse(d, after)
	values := doc.values()
	for _, s := range c.Set {
		if values[s.Name] != s.Value.Reveal() {
			t.Fatalf("%s: %s is read as %q from %q", d.name(), s.Name, values[s.Name], after)
		}
	}
}

// edited takes a change back after somebody else has appended a line.
func edited(t *testing.T, d dialect, before, after string, c driver.Change) {
	t.Helper()
	after += "THEIRS=1\n"
	doc, err := parse(d, after)
	if err != nil || doc.values()["THEIRS"] != "1" {
		return // the line became part of another
	}
	_, left, err := takeBack(d, state{exists: true, text: after}, state{exists: true, text: before}, c)
	if err != nil {
		t.Fatalf("%s: takeBack of %q: %v", d.name(), after, err)
	}
	doc, err = parse(d, left)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := parse(d, before)
	want := old.values()
	want["THEIRS"] = "1"
	if got := doc.values(); old.block(c).at < 0 && !maps.Equal(got, want) {
		t.Fatalf("%s: taken back from\n%q:\n%q reads %q, want %q", d.name(), after, left, got, want)
	}
}
