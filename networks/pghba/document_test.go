package pghba

import (
	"net/netip"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
)

func TestTheBlockStandsBeforeTheFirstLineThatLetsIn(t *testing.T) {
	const in, out = "local all postgres peer\n", "host all all 10.9.0.0/16 reject\n"
	for name, test := range map[string]struct {
		before, after string
		rejects       []int
	}{
		"nothing":                     {"", "", nil},
		"comments of it":              {"", "# one\n\n# two\n" + in, nil},
		"what refuses stays in front": {"# out\n" + out, "\n# in\n" + in, []int{2}},
		"one behind is not in front":  {"", in + out, []int{2}},
		"an included file":            {out, "include other.conf\n" + in, []int{1}},
		"nobody is let in":            {"# out\n" + out, "", []int{2}},
		"without an end":              {"", "# out\nhost all all 10.9.0.0/16 reject", []int{2}},
		"a line that goes on":         {"host all all \\\n10.9.0.0/16 reject\n", in, []int{1}},
		"a comment that goes on":      {"", "# this \\\n# goes on\n" + in, nil},
		"refusal that goes on":        {"", "host all all 10.9.0.0/16 reject \\\n# and this\n" + in, []int{1}},
		"CRLF":                        {"host all all 10.9.0.0/16 reject\r\n", "# in\r\nlocal all postgres peer\r\n", []int{1}},
	} {
		rejects := map[int]bool{}
		for _, n := range test.rejects {
			rejects[n] = true
		}
		c, err := parseConf(test.before + test.after)
		if err != nil {
			t.Fatal(err)
		}
		at := c.place(rejects)
		if got := c.rest[:at]; got != test.before {
			t.Errorf("%s: before the block stands %q, want %q", name, got, test.before)
		}
	}
}

func TestABlockWithoutAnEndIsNotGuessed(t *testing.T) {
	if _, err := parseConf("a\n" + blockBegin + "b\n"); err == nil {
		t.Error("a block without an end is taken")
	}
	// An end alone is a comment of somebody's; a copy of the block goes with it.
	c, err := parseConf(blockEnd + "a\n" + blockBegin + "b\n" + blockEnd + "c\n" + blockBegin + "b\n" + blockEnd)
	if err != nil || c.rest != blockEnd+"a\nc\n" || c.block != "b\nb\n" || c.first != 3 || c.last != 5 {
		t.Errorf("parseConf = %+v, %v", c, err)
	}
}

func FuzzOthersLinesStayAsTheyAre(f *testing.F) {
	f.Add("# one\n\nlocal all all peer\n", uint8(1))
	f.Add("host a b 1.2.3.4/5 reject \\\r\n# x", uint8(0))
	f.Fuzz(func(t *testing.T, text string, reject uint8) {
		c, err := parseConf(text)
		if err != nil || c.at >= 0 {
			return
		}
		const block = "include_if_exists \"x\"\n"
		whole := c.with(block, c.place(map[int]bool{int(reject): true}))
		again, err := parseConf(whole)
		if err != nil || again.rest != text || again.block != block || again.with("", 0) != text {
			t.Errorf("%q becomes %q, and that %+v, %v", text, whole, again, err)
		}
	})
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	for _, version := range []int{15, 18} {
		var d document
		for _, name := range []string{"pb_x_g1", "all", `a"b`, "/x.y", "a b,c#d", "+x", "@x", "é"} {
			d = d.with(newRule(driver.Rule{
				Mark: driver.Mark{UID: "x", Generation: 3, Connection: "/a\nb\\"}, Name: "n" + name, Login: name, Sub: name,
				From: []netip.Prefix{netip.MustParsePrefix("10.1.4.1/30"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.1.4.0/30")},
			}, version == 18))
		}
		text := d.text(version)
		read := parse(text, version)
		if read.text(version) != text || len(read) != len(d) {
			t.Errorf("version %d: what is read again is\n%s\nwant\n%s", version, read.text(version), text)
		}
		for _, r := range read {
			if r.found != r.text(version) || len(r.lines) != 2 || r.Connection != "/a\nb\\" {
				t.Errorf("%s is read as %+v", r.Name, r)
			}
		}
		for l := range strings.Lines(text) {
			if strings.HasSuffix(l, "\\\n") || !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "host") && !strings.HasPrefix(l, "local") {
				t.Errorf("version %d: a line is %q", version, l)
			}
		}
	}
}
