package nats

import "testing"

func TestMergeKeepsWhatBothChanged(t *testing.T) {
	for _, c := range []struct{ name, base, theirs, mine, want string }{
		{"nothing", `{"a":1}`, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		{"theirs alone", `{"a":1}`, `{"a":2,"b":3}`, `{"a":1}`, `{"a":2,"b":3}`},
		{"mine alone", `{"a":1}`, `{"a":1}`, `{"b":3}`, `{"b":3}`},
		{"two places", `{"a":1,"b":{"c":1,"d":1}}`, `{"a":1,"b":{"c":2,"d":1}}`, `{"a":1,"b":{"c":1},"e":5}`, `{"a":1,"b":{"c":2},"e":5}`},
		{"the same place", `{"a":1}`, `{"a":2}`, `{"a":3}`, `{"a":2}`},
		{"removed by them, changed by us", `{"a":1}`, `{}`, `{"a":3}`, `{}`},
		{"added by both", `{}`, `{"a":{"x":1}}`, `{"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`},
		{"members of a set", `{"s":["a","b"]}`, `{"s":["b","c"]}`, `{"s":["a","b","d"]}`, `{"s":["b","c","d"]}`},
		{"order is nothing", `{"s":["a","b"]}`, `{"s":["b","a"]}`, `{"s":["a","b","c"]}`, `{"s":["a","b","c"]}`},
		{"signing keys", `{"s":[{"key":"A","role":"r"}]}`, `{"s":[{"key":"A","role":"q"}]}`, `{"s":[{"key":"A","role":"r"},{"key":"B"}]}`, `{"s":[{"key":"A","role":"q"},{"key":"B"}]}`},
		{"every digit", `{"n":9007199254740993}`, `{"n":9007199254740993,"a":1e3}`, `{"n":9007199254740993,"b":2.50}`, `{"n":9007199254740993,"a":1e3,"b":2.50}`},
		{"another kind", `{"a":{"b":1}}`, `{"a":[1]}`, `{"a":{"b":2}}`, `{"a":[1]}`},
		{"null is a value", `{"a":1}`, `{"a":null}`, `{"a":1,"b":null}`, `{"a":null,"b":null}`},
	} {
		read := func(text string) tree {
			v, err := parseTree([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		got := merge(read(c.base), read(c.theirs), read(c.mine))
		if d := distance(got, read(c.want)); d != 0 {
			t.Errorf("%s: %s, want %s", c.name, canonical(got), c.want)
		}
	}
}

func TestDistanceCountsPlaces(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{`{"a":1,"b":[1,2]}`, `{"b":[2,1],"a":1}`, 0},
		{`{"a":1}`, `{"a":2}`, 1},
		{`{"a":1}`, `{}`, 1},
		{`{"s":["a","b"]}`, `{"s":["b","c"]}`, 2},
		{`{"s":[{"key":"A","x":1,"y":1}]}`, `{"s":[{"key":"A","x":2,"y":2}]}`, 2},
		{`{"a":null}`, `{}`, 1},
	} {
		a, err1 := parseTree([]byte(c.a))
		b, err2 := parseTree([]byte(c.b))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := distance(a, b); got != c.want || distance(b, a) != c.want {
			t.Errorf("distance(%s, %s) = %d and %d, want %d", c.a, c.b, got, distance(b, a), c.want)
		}
	}
}
