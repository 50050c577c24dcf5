package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// verdicts: the last one stands beside the record, those that say the same are one, and
// all go with the connection.
func verdicts(t *testing.T, s Store) {
	ctx := t.Context()
	c := connection(linker(source, "db"), `"1"`)
	put(t, s, c)
	stored := func() patchbay.Connection {
		t.Helper()
		c, err := s.Connection(ctx, c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if stored().Health != nil {
		t.Error("a new connection has been looked at")
	}
	made := time.Now().Add(time.Hour) // it counts as looked at when it is made
	if all, err := s.Unseen(ctx, made, 10); err != nil || len(all) != 1 || all[0].ID != c.ID || all[0].Source != c.Source || !all[0].Target.Equal(c.Spec.Target.ID) {
		t.Errorf("Unseen = %+v, %v", all, err)
	}
	at := made.Add(time.Hour).UTC().Truncate(time.Second)
	verdict := func(health patchbay.Health, why string) patchbay.Verdict {
		at = at.Add(time.Minute)
		v := patchbay.Verdict{Connection: c.ID, UID: c.UID, Health: health, Cause: patchbay.CauseSchedule, Last: at, Took: time.Second}
		if why != "" {
			v.Checks = []patchbay.Check{{Group: patchbay.CheckNetwork, Result: patchbay.Failure, Message: why}}
		}
		return v
	}
	record := func(v patchbay.Verdict) {
		t.Helper()
		if err := s.PutVerdict(ctx, v); err != nil {
			t.Fatal(err)
		}
	}
	first := verdict(patchbay.Healthy, "")
	record(first)
	record(verdict(patchbay.Healthy, ""))
	record(verdict(patchbay.Unhealthy, "refused"))
	unsure := verdict(patchbay.Unsure, "")
	record(unsure)
	all, err := s.Verdicts(ctx, c.ID)
	if err != nil || len(all) != 3 {
		t.Fatalf("Verdicts = %+v, %v", all, err)
	}
	if v := all[2]; v.Health != patchbay.Healthy || v.Times != 2 || !v.First.Equal(first.Last) || !v.Since.Equal(first.Last) || !v.Last.Equal(first.Last.Add(time.Minute)) {
		t.Errorf("two that say the same are %+v", v)
	}
	if v := all[0]; v.Health != patchbay.Unsure || v.Known != patchbay.Unhealthy || !v.Since.Equal(unsure.Last) {
		t.Errorf("the last is %+v", v)
	}
	if c := stored(); c.Health == nil || !reflect.DeepEqual(*c.Health, all[0]) || c.ETag != `"1"` {
		t.Errorf("beside the record stands %+v", c.Health)
	}
	if page, _, err := s.Connections(ctx, c.Source, "", 10); err != nil || len(page) != 1 || page[0].Health == nil {
		t.Errorf("a list has %+v, %v", page, err)
	}
	if counts, err := s.CountHealth(ctx); err != nil || !reflect.DeepEqual(counts, map[patchbay.Health]int{patchbay.Unsure: 1}) {
		t.Errorf("CountHealth = %v, %v", counts, err)
	}
	if all, err := s.Unseen(ctx, at, 10); err != nil || len(all) != 0 {
		t.Errorf("Unseen since the last look = %+v, %v", all, err)
	}
	for i := range store.MaxVerdicts + 5 {
		record(verdict(patchbay.Unhealthy, fmt.Sprint(i)))
	}
	if all, err = s.Verdicts(ctx, c.ID); err != nil || len(all) != store.MaxVerdicts || all[0].Checks[0].Message != fmt.Sprint(store.MaxVerdicts+4) {
		t.Errorf("of many there are %d, %v", len(all), err)
	}

	// A change of the connection keeps them, and an operation may bring one with its end.
	c.ETag = `"2"`
	sub := submission("update", c.ID)
	sub.Kind = patchbay.OpUpdate
	op := submit(t, s, sub)
	last := verdict(patchbay.Healthy, "")
	end(t, s, op, saga.Commit{PutConnection: &c, Verdict: &last})
	if c := stored(); c.ETag != `"2"` || c.Health == nil || c.Health.Health != patchbay.Healthy || !c.Health.Since.Equal(last.Last) {
		t.Errorf("after an operation there is %+v", c.Health)
	}
	other := verdict(patchbay.Unhealthy, "")
	other.UID = "another"
	if err := s.PutVerdict(ctx, other); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("a verdict of a connection that was there before: %v", err)
	}

	sub = submission("delete", c.ID)
	sub.Kind = patchbay.OpDelete
	end(t, s, submit(t, s, sub), saga.Commit{DeleteConnection: c.ID})
	if all, err := s.Verdicts(ctx, c.ID); err != nil || len(all) != 0 {
		t.Errorf("of a connection that is gone there are %+v, %v", all, err)
	}
	if err := s.PutVerdict(ctx, last); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("a verdict of a connection that is gone: %v", err)
	}
	again := connection(c.ID, `"3"`)
	again.UID = "y"
	put(t, s, again)
	if stored().Health != nil {
		t.Error("a new one of the name has the health of the old one")
	}
}
