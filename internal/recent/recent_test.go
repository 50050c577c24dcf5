package recent

import (
	"fmt"
	"testing"
)

func TestAFullGroupForgetsItsOwnAndNobodyElses(t *testing.T) {
	m := New[int](100)
	m.Put("a", "first", 1)
	m.Put("b", "first", 2)
	for i := range 1000 {
		if i%50 == 0 {
			m.Get("b", "used")
		}
		m.Put("b", fmt.Sprint(i), i)
		m.Put("b", "used", i)
	}
	if v, ok := m.Get("a", "first"); !ok || v != 1 {
		t.Error("another group's is forgotten")
	}
	if _, ok := m.Get("b", "first"); ok || m.Len("b") != 100 {
		t.Errorf("%d of 100 are kept", m.Len("b"))
	}
	if v, ok := m.Get("b", "used"); !ok || v != 999 {
		t.Error("what is used again and again is forgotten")
	}
	m.Delete("a", "first")
	m.Delete("a", "first")
	if _, ok := m.Get("a", "first"); ok || m.Len("a") != 0 || len(m.groups) != 1 {
		t.Error("what was deleted is there")
	}
}
