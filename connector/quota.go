package connector

import (
	"cmp"
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Limits are how many of each kind of thing there may be. 0 is the default, a
// negative number no limit. Dryruns and resources that are made together may pass
// theirs by a few: it bounds what a script gone wild can do, not a bill.
type Limits struct {
	ConnectionsPerSource       int // of a location, for local connections; default 100
	ConnectionsPerSubscription int // default 5,000
	DryrunsPerSource           int // of a location, too; default 100
	ResourcesPerSubscription   int // default 10,000
}

func (l Limits) withDefaults() Limits {
	return Limits{
		ConnectionsPerSource:       cmp.Or(l.ConnectionsPerSource, 100),
		ConnectionsPerSubscription: cmp.Or(l.ConnectionsPerSubscription, 5_000),
		DryrunsPerSource:           cmp.Or(l.DryrunsPerSource, 100),
		ResourcesPerSubscription:   cmp.Or(l.ResourcesPerSubscription, 10_000),
	}
}

// roomForConnection fails with QuotaExceeded when its source or subscription
// has as many connections as it may have.
func (s *Service) roomForConnection(ctx context.Context, id patchbay.ID) error {
	of, _, _ := id.ConnectionSource()
	err := room(s.limits.ConnectionsPerSource, "connections", of.Name(), pages(func(after string, limit int) (int, string, error) {
		page, next, err := s.records.Connections(ctx, of, after, limit)
		return len(page), next, err
	}))
	if err != nil {
		return err
	}
	return room(s.limits.ConnectionsPerSubscription, "connections", "subscription "+id.Subscription(), counted(ctx, subscriptionOf(id), s.records.CountConnections))
}

// rooms are the same limits as they are looked at once more in the write:
// requests that arrive together pass none.
func (s *Service) rooms(id patchbay.ID) []saga.Room {
	var rooms []saga.Room
	for _, r := range []saga.Room{
		{Below: id[:len(id)-len(id.Name())-1], Most: s.limits.ConnectionsPerSource},
		{Below: subscriptionOf(id), Most: s.limits.ConnectionsPerSubscription},
	} {
		if r.Most >= 0 {
			rooms = append(rooms, r)
		}
	}
	return rooms
}

// roomForDryrun fails with QuotaExceeded when its source has as many dryruns as
// it may have.
func (s *Service) roomForDryrun(ctx context.Context, id patchbay.ID) error {
	of, _, _ := id.DryrunSource()
	return room(s.limits.DryrunsPerSource, "dryruns", of.Name(), pages(func(after string, limit int) (int, string, error) {
		page, next, err := s.records.Dryruns(ctx, of, after, limit)
		return len(page), next, err
	}))
}

// roomForResource fails with QuotaExceeded when its subscription has as many
// resources as it may have.
func (s *Service) roomForResource(ctx context.Context, id patchbay.ID) error {
	return room(s.limits.ResourcesPerSubscription, "resources", "subscription "+id.Subscription(), counted(ctx, subscriptionOf(id), s.records.CountResources))
}

func subscriptionOf(id patchbay.ID) patchbay.ID {
	return patchbay.ID("/subscriptions/" + id.Subscription())
}

// room fails when there are limit things already; count may stop counting at
// most.
func room(limit int, what, where string, count func(most int) (int, error)) error {
	if limit < 0 {
		return nil
	}
	n, err := count(limit)
	if err != nil || n < limit {
		return err
	}
	return patchbay.Errorf(patchbay.QuotaExceeded, "%s has %d %s, the most that it may have", where, n, what).
		WithFix("delete what is not needed any more, or have the server's limit raised")
}

// counted asks the records how many there are below scope.
func counted(ctx context.Context, scope patchbay.ID, count func(context.Context, patchbay.ID) (int, error)) func(int) (int, error) {
	return func(int) (int, error) { return count(ctx, scope) }
}

// pages counts what is listed.
func pages(list func(after string, limit int) (n int, next string, err error)) func(most int) (int, error) {
	return func(most int) (int, error) {
		total := 0
		for after := ""; total < most; {
			n, next, err := list(after, min(most-total, store.MaxPage))
			if total += n; err != nil || next == "" {
				return total, err
			}
			after = next
		}
		return total, nil
	}
}
