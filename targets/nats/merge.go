package nats

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
)

// A tree is JSON as package encoding/json reads it, with numbers kept as they
// are written. Trees are shared between accounts and never changed in place.
type tree = map[string]any

// absent stands for a value that is not there.
type absent struct{}

// distance counts the places in which two values differ. An array is a set:
// the product sorts or hashes all that an account has.
func distance(a, b any) int {
	if reflect.DeepEqual(a, b) {
		return 0
	}
	if one, other, ok := both[tree](a, b); ok {
		n := 0
		for _, key := range union(one, other) {
			n += distance(at(one, key), at(other, key))
		}
		return n
	}
	if one, other, ok := both[[]any](a, b); ok {
		return distance(elements(one), elements(other))
	}
	if canonical(a) == canonical(b) {
		return 0
	}
	return 1
}

// merge is mine with what theirs changed of base. Where both changed the same
// thing, theirs stands: it is somebody's who looked.
func merge(base, theirs, mine any) any {
	switch {
	case distance(base, theirs) == 0:
		return mine
	case distance(base, mine) == 0:
		return theirs
	}
	if their, my, ok := both[tree](theirs, mine); ok {
		was, _ := base.(tree)
		merged := tree{}
		for _, key := range union(was, their, my) {
			if v := merge(at(was, key), at(their, key), at(my, key)); !isAbsent(v) {
				merged[key] = v
			}
		}
		return merged
	}
	if their, my, ok := both[[]any](theirs, mine); ok {
		was, _ := base.([]any)
		merged, _ := merge(elements(was), elements(their), elements(my)).(tree)
		list := []any{}
		for _, key := range slices.Sorted(maps.Keys(merged)) {
			list = append(list, merged[key])
		}
		return list
	}
	return theirs
}

// elements are an array's, under what tells one from another: the key of a
// signing key, and of anything else all of it.
func elements(list []any) tree {
	t := tree{}
	for _, v := range list {
		if o, ok := v.(tree); ok {
			if key, ok := o["key"].(string); ok {
				t[key] = v
				continue
			}
		}
		t[canonical(v)] = v
	}
	return t
}

func both[T any](a, b any) (one, other T, ok bool) {
	one, ok1 := a.(T)
	other, ok2 := b.(T)
	return one, other, ok1 && ok2
}

func at(t tree, key string) any {
	if v, ok := t[key]; ok {
		return v
	}
	return absent{}
}

func union(trees ...tree) []string {
	all := map[string]bool{}
	for _, t := range trees {
		for key := range t {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func isAbsent(v any) bool {
	_, ok := v.(absent)
	return ok
}

func canonical(v any) string {
	if isAbsent(v) {
		return ""
	}
	text, _ := json.Marshal(v) // what was JSON
	return string(text)
}
