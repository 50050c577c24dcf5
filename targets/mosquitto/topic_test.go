package mosquitto

import (
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestWhatMayBeAskedFor(t *testing.T) {
	c := config{topics: []string{"$SYS/broker/#", "orders/#", "rooms/+/light"}}
	for _, x := range []struct {
		access             patchbay.Access
		options            map[string]string
		subscribe, publish string // "!": refused
	}{
		{patchbay.Reader, nil, "$SYS/broker/# orders/# rooms/+/light", ""},
		{patchbay.Reader, map[string]string{"topics": "orders/new , orders/new"}, "orders/new", ""},
		{patchbay.Writer, map[string]string{"topics": "orders/+/eu"}, "orders/+/eu", "orders/+/eu"},
		{patchbay.Writer, map[string]string{"publish": "rooms/kitchen/light"}, "", "rooms/kitchen/light"},
		{patchbay.Writer, map[string]string{"publish": "orders/a", "subscribe": "orders/b,$SYS/broker/uptime"}, "$SYS/broker/uptime orders/b", "orders/a"},
		{patchbay.Writer, map[string]string{"subscribe": "orders/b"}, "!", ""},
		{patchbay.Writer, nil, "!", ""}, // nobody publishes to $SYS
		{patchbay.Reader, map[string]string{"publish": "orders/a"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "orders"}, "orders", ""}, // as MQTT has it
		{patchbay.Reader, map[string]string{"topics": "#"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "+/new"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "rooms/#"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "payroll/new"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "orders/new", "shares": "a b"}, "!", ""},
		{patchbay.Reader, map[string]string{"topics": "orders/new", "shares": "a/#"}, "!", ""},
		{patchbay.Reader, map[string]string{"topic": "orders/new"}, "!", ""},
		{patchbay.Owner, map[string]string{"topics": "orders/new"}, "!", ""},
	} {
		s, err := c.scopeOf(x.access, x.options)
		if x.subscribe == "!" {
			if patchbay.CodeOf(err) != patchbay.InvalidArgument {
				t.Errorf("%s %v: %v, %v", x.access, x.options, s, err)
			}
			continue
		}
		if err != nil || strings.Join(s.subscribe, " ") != x.subscribe || strings.Join(s.publish, " ") != x.publish {
			t.Errorf("%s %v: %q, %v", x.access, x.options, s, err)
		}
	}
	if _, err := (config{}).scopeOf(patchbay.Reader, nil); patchbay.CodeOf(err) != patchbay.InvalidArgument || patchbay.AsError(err).Fix == "" {
		t.Errorf("no topics at all: %v", err)
	}
}

func TestWhatIsNoTopic(t *testing.T) {
	for _, f := range []string{"", "#/a", "a/#/b", "a#", "a/b+", "+a", "$CONTROL/#", "$share/g/a", "$x", "a\x00b", "a\nb", "\xff", "a\u0085", "\ufeff", strings.Repeat("a", 256)} {
		if wrong(f) == "" {
			t.Errorf("%q is taken", f)
		}
	}
	for _, f := range []string{"#", "+", "/", "//", "a/+/#", "$SYS/#", "größe/°C", "it's \"a\" topic", "a b"} {
		if why := wrong(f); why != "" {
			t.Errorf("%q %s", f, why)
		}
	}
}

// matches is MQTT's rule, told another way: of a topic's levels.
func matches(filter, topic []string) bool {
	switch {
	case len(filter) == 1 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(topic) == 0:
		return len(filter) == len(topic)
	}
	return (filter[0] == "+" || filter[0] == topic[0]) && matches(filter[1:], topic[1:])
}

// TestCoversIsWhatMatchingSays compares it with all topics of up to three levels.
func TestCoversIsWhatMatchingSays(t *testing.T) {
	var grow func(words []string, depth int) []string
	grow = func(words []string, depth int) []string {
		if depth == 1 {
			return words
		}
		all := slices.Clone(words)
		for _, w := range words {
			if w != "#" {
				for _, rest := range grow(words, depth-1) {
					all = append(all, w+"/"+rest)
				}
			}
		}
		return all
	}
	topics := grow([]string{"a", "b", "c", ""}, 4)
	filters := grow([]string{"a", "b", "+", "#"}, 3)
	split := func(s string) []string { return strings.Split(s, "/") }
	for _, wide := range filters {
		for _, narrow := range filters {
			all := true
			for _, topic := range topics {
				if matches(split(narrow), split(topic)) && !matches(split(wide), split(topic)) {
					all = false
				}
			}
			// All topics are a level and what is below it, too: that is not asked for.
			if got := covers(wide, narrow); got && !all || !got && all && narrow != "#" {
				t.Errorf("%s covers %s: %t", wide, narrow, got)
			}
		}
	}
	if covers("#", "$SYS/x") || covers("+/x", "$SYS/x") || !covers("$SYS/#", "$SYS/x") {
		t.Error("no wildcard is for the broker's own")
	}
}

func TestWhatIsNotGivenIsDenied(t *testing.T) {
	for name, s := range map[string]scope{
		"one topic":     {subscribe: []string{"a"}},
		"everything":    {subscribe: []string{"#"}, publish: []string{"#"}},
		"the broker's":  {subscribe: []string{"$SYS/#"}},
		"shared topics": {subscribe: []string{"a/#"}, shares: []string{"w"}},
	} {
		seen := map[acl]bool{}
		denied := map[string]bool{} // or given: all is decided
		for _, a := range s.acls() {
			key := acl{Type: a.Type, Topic: a.Topic}
			if seen[key] {
				t.Errorf("%s: two entries of %v", name, key)
			}
			seen[key] = true
			if a.Topic == "#" {
				denied[a.Type] = true
			}
		}
		for _, typ := range []string{aclReceive, aclSend, aclSubscribe} {
			if !denied[typ] {
				t.Errorf("%s: %s is for the broker's defaults to decide", name, typ)
			}
		}
		missing, excess := compare(s.acls(), s.acls())
		if len(missing)+len(excess) > 0 {
			t.Errorf("%s: %v, %v", name, missing, excess)
		}
	}
}
