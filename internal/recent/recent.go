// Package recent remembers what was used last, so many of each group: who fills
// the memory of one group makes nobody else forgotten.
package recent

import "container/list"

// Map has values by group and key. Make one with [New]; it locks nothing.
type Map[V any] struct {
	each   int
	groups map[string]*group
}

type group struct {
	byKey map[string]*list.Element
	order *list.List // the last used in front
}

type entry[V any] struct {
	key   string
	value V
}

// New makes a map that keeps so many of each group. How many groups there are,
// its user bounds.
func New[V any](each int) *Map[V] {
	return &Map[V]{each: max(each, 1), groups: map[string]*group{}}
}

// Get finds a value, which then was used last.
func (m *Map[V]) Get(of, key string) (v V, ok bool) {
	g := m.groups[of]
	if g == nil || g.byKey[key] == nil {
		return v, false
	}
	at := g.byKey[key]
	g.order.MoveToFront(at)
	return at.Value.(entry[V]).value, true
}

// Put keeps a value, in place of the one that was used longest ago when the
// group is full.
func (m *Map[V]) Put(of, key string, v V) {
	g := m.groups[of]
	if g == nil {
		g = &group{byKey: map[string]*list.Element{}, order: list.New()}
		m.groups[of] = g
	}
	if at := g.byKey[key]; at != nil {
		at.Value = entry[V]{key, v}
		g.order.MoveToFront(at)
		return
	}
	if g.order.Len() >= m.each {
		last := g.order.Remove(g.order.Back()).(entry[V])
		delete(g.byKey, last.key)
	}
	g.byKey[key] = g.order.PushFront(entry[V]{key, v})
}

// Delete forgets a value.
func (m *Map[V]) Delete(of, key string) {
	g := m.groups[of]
	if g == nil || g.byKey[key] == nil {
		return
	}
	g.order.Remove(g.byKey[key])
	if delete(g.byKey, key); len(g.byKey) == 0 {
		delete(m.groups, of)
	}
}

// Len is how many there are of a group.
func (m *Map[V]) Len(of string) int {
	if g := m.groups[of]; g != nil {
		return len(g.byKey)
	}
	return 0
}
