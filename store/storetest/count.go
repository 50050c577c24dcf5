package storetest

import (
	"context"
	"fmt"
	"testing"

	"patchbay.dev/patchbay"
)

// CountConnections implements [store.Counter].
func (m *Memory) CountConnections(_ context.Context, scope patchbay.ID) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return countBelow(m.connections, scope), nil
}

// CountResources implements [store.Counter].
func (m *Memory) CountResources(_ context.Context, scope patchbay.ID) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return countBelow(m.resources, scope), nil
}

func countBelow[T any](all map[string]T, scope patchbay.ID) (n int) {
	for key := range all {
		if isOrBelow(key, scope.Key()) {
			n++
		}
	}
	return n
}

func counts(t *testing.T, s Store) {
	settle(t, s, group)
	for i := range 3 {
		put(t, s, connection(linker(source, fmt.Sprint(i)), "e"))
		put(t, s, connection(group.Location("here").Local(fmt.Sprint(i)), "e"))
		if err := s.PutResource(t.Context(), patchbay.Resource{ID: group + patchbay.ID(fmt.Sprintf("/providers/A.B/c/n%d", i)), ETag: "e"}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for scope, want := range map[patchbay.ID][2]int{"/subscriptions/s1": {6, 3}, "/SUBSCRIPTIONS/S1": {6, 3}, "/subscriptions/s": {0, 0}, "/subscriptions/s10": {0, 0}} {
		connections, err := s.CountConnections(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		resources, err := s.CountResources(t.Context(), scope)
		if err != nil || connections != want[0] || resources != want[1] {
			t.Errorf("%s: %d connections, %d resources, %v; want %v", scope, connections, resources, err, want)
		}
	}
}
