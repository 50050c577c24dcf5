package rabbitmq

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// Go's expressions read what we write as Erlang's do: (?s), \A, \z, (?:…|…), [^…]+ and
// escaped signs are all there is in them.
func TestAPatternMatchesItsNamesAlone(t *testing.T) {
	for _, c := range []struct {
		names   []string
		yes, no []string
	}{
		{nil, []string{"", "jobs", "\n"}, nil},
		{[]string{"*"}, []string{"", "jobs"}, nil},
		{[]string{"jobs"}, []string{"jobs"}, []string{"", "jobs2", "myjobs", "jobs\n", "Jobs", "job"}},
		{[]string{"a.b"}, []string{"a.b"}, []string{"aXb"}},
		{[]string{"orders.*"}, []string{"orders.", "orders.new", "orders.\n"}, []string{"orders", "xorders.a"}},
		{[]string{"a*b*c"}, []string{"abc", "aXbYc", "a\nb\nc"}, []string{"ab", "abcd"}},
		{[]string{`.*|^$`, "x"}, []string{`.ANY|^$`, "x"}, []string{"", "y", ".*"}},
		{[]string{`(?#)\E{}[]+?$^|`}, []string{`(?#)\E{}[]+?$^|`}, []string{""}},
		{[]string{"größe 名"}, []string{"größe 名"}, []string{"grosse"}},
		{[]string{temporary}, []string{"amq.gen-x"}, []string{"amq.genx", "amq.default"}},
	} {
		re := regexp.MustCompile(pattern(c.names))
		for _, name := range c.yes {
			if !re.MatchString(name) || !covers(c.names, name) && !slices.Contains(c.names, "*") {
				t.Errorf("%q does not match %q", c.names, name)
			}
		}
		for _, name := range c.no {
			if re.MatchString(name) || covers(c.names, name) {
				t.Errorf("%q matches %q", c.names, name)
			}
		}
	}
}

func TestRoutingKeysAreBoundAsTopicsAre(t *testing.T) {
	for topic, c := range map[string]struct{ yes, no []string }{
		"orders.new": {[]string{"orders.new"}, []string{"orders", "orders.new.eu", "ordersXnew", "orders.*", "orders.#", "#", "orders.new\n"}},
		"orders.*":   {[]string{"orders.new", "orders.*"}, []string{"orders", "orders.", "orders.new.eu", "orders.#", "#", "*.*"}},
		"orders.#":   {[]string{"orders", "orders.new", "orders.new.eu", "orders.#", "orders.*"}, []string{"ordersX", "#", "order"}},
		"#":          {[]string{"", "a", "a.b", "#"}, nil},
		"#.eu":       {[]string{"eu", "a.eu", "a.b.eu", "#.eu", "*.eu"}, []string{"xeu", "eu.a"}},
		"a.#.b":      {[]string{"a.b", "a.x.b", "a.x.y.b", "a.#.b"}, []string{"ab", "a.xb", "ax.b", "a"}},
		"a.#.#":      {[]string{"a", "a.b"}, []string{"ab"}},
		"*":          {[]string{"a", "*"}, []string{"", "a.b", "#"}},
	} {
		re := regexp.MustCompile(keyPattern([]string{topic}))
		for _, key := range c.yes {
			if !re.MatchString(key) {
				t.Errorf("%s does not match %q (%s)", topic, key, re)
			}
		}
		for _, key := range c.no {
			if re.MatchString(key) {
				t.Errorf("%s matches %q (%s)", topic, key, re)
			}
		}
	}
}

func TestOptionsThatCanNotBeAreRefused(t *testing.T) {
	many := strings.Repeat("q,", maxNames)
	for i := range maxNames + 1 {
		many += "q" + strings.Repeat("x", i) + ","
	}
	for text, c := range map[string]struct {
		options map[string]string
		says    string
	}{
		"another option":            {map[string]string{"subjects": "a"}, "has no option"},
		"an empty name":             {map[string]string{"queues": "a,,b"}, "empty"},
		"nothing":                   {map[string]string{"queues": ""}, "empty"},
		"a line's end":              {map[string]string{"queues": "a\nb"}, "no text"},
		"a long name":               {map[string]string{"queues": strings.Repeat("x", 256)}, "longer"},
		"too many":                  {map[string]string{"queues": strings.TrimSuffix(many, ",")}, "more than"},
		"the default exchange":      {map[string]string{"queues": "amq.default"}, "is an exchange"},
		"topics of no exchange":     {map[string]string{"topics": "a"}, "none is named"},
		"topics of a queue":         {map[string]string{"topics": "a", "queues": "q"}, "none is named"},
		"topics of some exchanges":  {map[string]string{"topics": "a", "exchanges": "e*"}, "in full"},
		"topics of the default one": {map[string]string{"topics": "a", "exchanges": "e,amq.default"}, "in full"},
	} {
		if _, err := scopeOf(patchbay.Writer, c.options); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := scopeOf("admin", nil); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("an access that there is not: %v", err)
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	for version, old := range map[string]bool{"3.9.29": true, "2.8": true, "3.10.0": false, "3.13.7": false, "4.1.0-rc.1": false, "5": false, "main": false} {
		if err := checkVersion(version); (patchbay.CodeOf(err) == patchbay.NotSupported) != old {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestAMarkIsReadFromANameWhereThereIsNoNote(t *testing.T) {
	for name, ours := range map[string]bool{"pb_abc_g1": true, "pb_a_g_g12": true, "pb_abc_g0": false, "pb_abc_g01": false, "pb__g1": false, "pb_abc_g": false, "pb_abc": false, "x_abc_g1": false, "pb_abc_g-1": false} {
		l := login{user: user{Name: name, Tags: tags{tag}}}
		m, _, ok := l.mark()
		if ok != ours || ok && (nameOf(m) != name || !l.isOf(m)) {
			t.Errorf("%s: %+v, %t", name, m, ok)
		}
		l.user.Tags = tags{"Patchbay"}
		if _, _, ok := l.mark(); ok {
			t.Errorf("%s without the tag is ours", name)
		}
	}
}
