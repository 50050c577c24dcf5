package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// PutVerdict implements [store.Verdicts].
func (m *Memory) PutVerdict(ctx context.Context, v patchbay.Verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.putVerdict(v)
}

func (m *Memory) putVerdict(v patchbay.Verdict) error {
	key := v.Connection.Key()
	c, ok := m.connections[key]
	if !ok || c.UID != v.UID {
		return missing(string(v.Connection), "connection")
	}
	v, another := v.Behind(c.Health)
	all := slices.Clone(m.verdicts[key])
	if !another {
		all = all[1:]
	}
	all = slices.Insert(all, 0, v)
	m.verdicts[key] = all[:min(len(all), store.MaxVerdicts)]
	c.Health, m.seen[key] = &v, v.Last
	m.connections[key] = c
	return nil
}

// Verdicts implements [store.Verdicts].
func (m *Memory) Verdicts(_ context.Context, connection patchbay.ID) ([]patchbay.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.verdicts[connection.Key()]), nil
}

// Unseen implements [store.Verdicts].
func (m *Memory) Unseen(_ context.Context, since time.Time, limit int) (all []store.Glance, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, c := range m.connections {
		if m.seen[key].Before(since) {
			all = append(all, store.Glance{ID: c.ID, Source: c.Source, Target: patchbay.ID(c.Spec.Target.ID.Key()), Last: m.seen[key]})
		}
	}
	slices.SortFunc(all, func(a, b store.Glance) int {
		if n := a.Last.Compare(b.Last); n != 0 {
			return n
		}
		return strings.Compare(a.ID.Key(), b.ID.Key())
	})
	return all[:min(len(all), limit)], nil
}

// CountHealth implements [store.Verdicts].
func (m *Memory) CountHealth(context.Context) (map[patchbay.Health]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := map[patchbay.Health]int{}
	for _, c := range m.connections {
		health := patchbay.Unsure
		if c.Health != nil {
			health = c.Health.Health
		}
		counts[health]++
	}
	return counts, nil
}
