package connector

import (
	"testing"

	"patchbay.dev/patchbay"
)

// What was set, and what was only taken away, was written; what was so before was not.
func TestAWriteIsSeenByWhatItSetAndByWhatItTookAway(t *testing.T) {
	named := func(name, value string) []setting {
		return []setting{{Setting: patchbay.Setting{Name: name}, Plain: value}}
	}
	for _, c := range []struct {
		name     string
		set, had []setting
		was, now map[string]string
		want     bool
	}{
		{"set", named("A", "new"), nil, nil, map[string]string{"A": "new"}, true},
		{"replaced", named("A", "new"), named("A", "old"), map[string]string{"A": "old"}, map[string]string{"A": "new"}, true},
		{"not set yet", named("A", "new"), nil, nil, nil, false},
		{"so before", named("A", "new"), nil, map[string]string{"A": "new"}, map[string]string{"A": "new"}, false},
		{"somebody's since", named("A", "new"), nil, nil, map[string]string{"A": "theirs"}, false},
		{"taken away", nil, named("A", "old"), map[string]string{"A": "old"}, nil, true},
		{"not taken away yet", nil, named("A", "old"), map[string]string{"A": "old"}, map[string]string{"A": "old"}, false},
		{"gone before", nil, named("A", "old"), nil, nil, false},
		{"renamed, in part", named("B", "new"), named("A", "old"), map[string]string{"A": "old"}, nil, true},
	} {
		w := written{Change: change{Set: c.set, Had: c.had}, Before: snapshot{Settings: c.was}}
		now := snapshot{Settings: c.now}
		if got := w.isIn(now.open()); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		// An earlier release kept the names alone of what it took away.
		if c.had != nil && c.set == nil {
			w.Change.Had, w.Change.Remove = nil, []string{"A"}
			if got := w.isIn(now.open()); got != c.want {
				t.Errorf("%s, by name: %v", c.name, got)
			}
		}
	}
}

func TestANameOfTwoIsNobodysAlone(t *testing.T) {
	o := owners{"A": {"one", "two"}, "B": {"one"}}
	for _, uid := range []string{"one", "two"} {
		if o.only(uid, "A") || o.only(uid, "B") != (uid == "one") {
			t.Errorf("%s: %v", uid, o)
		}
	}
}

func TestAChangeThatSetsNothingIsNotKept(t *testing.T) {
	w := &written{Change: change{Had: []setting{{Plain: "old"}}}}
	if w.kept() != nil {
		t.Errorf("%+v is kept", w.kept())
	}
}
