// Package storetest is the suite that every store passes: what its records and
// its journal of operations have to do. Memory, the suite's model of that
// contract, also serves tests that need a store and no disk.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Store is all that a store has: the journal, and the records.
type Store interface {
	saga.Store
	store.Records
	store.Directory
	store.Roles
	store.Dryruns
	store.Audit
	store.Counter
	store.Verdicts
	store.Outbox
}

// sharer is a [Store] that several processes may have open at a time; of
// another, every other life is over by definition.
type sharer interface{ Shared() bool }

const (
	group  = patchbay.ID("/subscriptions/S1/resourceGroups/G1")
	source = group + "/providers/Microsoft.Web/sites/Web"
	server = group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/Orders"
	target = server + "/databases/shop"
)

var (
	me     = saga.Life{ID: "me", Kinds: []patchbay.OperationKind{patchbay.OpCreate, patchbay.OpUpdate, patchbay.OpValidate}}
	plenty = saga.Limits{Queued: 64, Target: 1000}
	three  = saga.Limits{Queued: 3, Target: 1000}
	second = saga.Life{ID: "second", Kinds: me.Kinds}
	start  = time.Date(2026, 11, 1, 12, 0, 0, 123456789, time.UTC)
)

// Run runs the suite, each test on a store of its own from open, which closes
// it when the test ends.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Store)
	}{
		{"ASubmittedOperationReadsBackAsItWas", submitReadsBack},
		{"TheSameSubmissionTwiceIsOneOperation", submitTwice},
		{"OneChangePerConnection", oneChange},
		{"IfMatchIsCheckedWithTheSubmission", ifMatch},
		{"ASourceRunsOneOperationAtATimeInOrder", fifo},
		{"TooManyWaitingIsRefused", queueLimit},
		{"AnAdvanceReplacesTheWholeRow", advanceReadsBack},
		{"AStaleAdvanceChangesNothing", stale},
		{"TheEndAndItsRecordsAreOneWrite", endIsAtomic},
		{"AnUnknownKindIsNotPromoted", unknownKind},
		{"OrphansAreClaimedOnceAndTheirOldOwnerIsFenced", claim},
		{"ADeathIsCountedWhereAnAttemptMayHaveBeen", deaths},
		{"AQueueThatWasForgottenIsPromoted", promoteForgotten},
		{"WhatCannotBePromotedIsInNobodysWay", promoteOthers},
		{"MineIsWhatIsActive", mine},
		{"OldOperationsAreRetiredInBatches", retire},
		{"AHundredWritersEachGetTheirOwnAnswer", writers},
		{"ACanceledCallerGetsAnAnswer", canceledCaller},
		{"ConnectionsAreFoundInAnyCase", connectionCase},
		{"ConnectionsPage", connectionPages},
		{"ConnectionsOfAResource", connectionsOf},
		{"ResourcesAreWrittenUnderTheirETag", resources},
		{"ResourcesPageAndScope", resourcePages},
		{"AResourceInUseStays", resourceInUse},
		{"ConnectionsAndResourcesAreCounted", counts},
		{"SubscriptionsAndGroups", groups},
		{"OperationsPageNewestFirst", operationPages},
		{"Leftovers", leftovers},
		{"Verdicts", verdicts},
		{"HostileNamesAreOnlyNames", hostile},
		{"Principals", principals},
		{"RoleDefinitionsAndAssignments", roleDefinitions},
		{"RolesGoWithWhatTheyAreAbout", rolesGoWithWhatTheyAreAbout},
		{"Dryruns", dryruns},
		{"ASubmissionNeedsBothItsEndsAndRoom", needs},
		{"NoRoleOutlivesWhatItIsAboutInARace", rolesRace},
		{"NothingIsMadeOfWhatIsBeingRemoved", endsRace},
		{"TooManyAtOneTargetIsRefused", targetLimit},
		{"OneTenantLeavesRoomAtATarget", targetShare},
		{"EveryWriteLeavesItsLinesAndARefusedOneNone", everyWriteIsTold},
		{"SigningKeysAreTheServersOwn", signingKeysAreTheServers},
		{"OperationsAreToldAtTheirBeginAndEnd", operationsAreTold},
		{"TheAuditChainHoldsUnderManyWriters", theChainHolds},
		{"AuditFilters", auditFilters},
		{"EventsWaitInTheOrderOfTheirSubject", eventOrder},
		{"AnEventIsPutOnce", eventOnce},
		{"WhoWaitsForEventsIsWoken", eventAdded},
		{"TooManyEventsMakeTheOldestOfTheirSubjectGiveWay", eventRoom},
		{"OldEventsAreDropped", eventAge},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func linker(source patchbay.ID, name string) patchbay.ID { return source.Linker(name) }

func connection(id patchbay.ID, etag string) patchbay.Connection {
	of, name, _ := id.LinkerSource()
	return patchbay.Connection{
		ID: id, UID: "x7k2m9q4", Source: of, Name: name, Location: "here", ETag: etag, State: patchbay.Succeeded,
		Spec:   patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: target}, Client: "go"},
		Keys:   []string{"PGHOST"},
		Sealed: patchbay.Sealed("\x00sealed\xff"), Generation: 2, Created: start, Modified: start,
	}
}

func submission(id string, c patchbay.ID) saga.Submission {
	of, _, _ := c.LinkerSource()
	return saga.Submission{
		ID: id, RequestHash: []byte("hash of " + id), Kind: patchbay.OpCreate, Connection: c, Source: of,
		Plan: []string{"plan", "principal", "settings"}, Input: []byte(`{"a":1}`), Sealed: patchbay.Sealed("\x01secret\x00"), By: "ann",
		Share: []string{"tenant of " + id, "a \"target\""},
	}
}

func submit(t *testing.T, s Store, sub saga.Submission) saga.Op {
	t.Helper()
	op, fresh, err := s.Submit(t.Context(), me, sub, plenty, start)
	if err != nil || !fresh {
		t.Fatalf("Submit %s: fresh %v, error %v", sub.ID, fresh, err)
	}
	return op
}

// put stores a connection, by an operation that makes it and ends.
func put(t *testing.T, s Store, c patchbay.Connection) {
	t.Helper()
	sub := submission("put "+c.ID.Key()+" "+c.ETag, c.ID)
	sub.Source = c.Source
	sub.Begin.PutConnection = &c
	end(t, s, submit(t, s, sub), saga.Commit{})
}

func end(t *testing.T, s Store, op saga.Op, c saga.Commit) (promoted string) {
	t.Helper()
	op.State, op.Ended = patchbay.Done, start.Add(time.Second)
	promoted, err := s.Advance(t.Context(), me, saga.Advance{Op: op, Commit: c})
	if err != nil {
		t.Fatalf("end of %s: %v", op.ID, err)
	}
	return promoted
}

func load(t *testing.T, s Store, id string) saga.Op {
	t.Helper()
	op, err := s.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func wantCode(t *testing.T, err error, code patchbay.Code) {
	t.Helper()
	if patchbay.CodeOf(err) != code {
		t.Fatalf("got error %v, want code %s", err, code)
	}
}

func wantError(t *testing.T, err error, code patchbay.Code) *patchbay.Error {
	t.Helper()
	wantCode(t, err, code)
	return patchbay.AsError(err)
}

func same(t *testing.T, got, want any) {
	t.Helper()
	opts := []cmp.Option{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(patchbay.Error{}, "Err"), cmp.Comparer(func(a, b patchbay.Secret) bool { return a == b })}
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Fatalf("not the same (-want +got):\n%s", d)
	}
}

func submitReadsBack(t *testing.T, s Store) {
	sub := submission("one", linker(source, "db"))
	c := connection(sub.Connection, "e1")
	c.State = patchbay.Accepted
	sub.Begin = saga.Commit{PutConnection: &c, Leftovers: []patchbay.Leftover{{ID: "l1", What: "principal"}}}
	op := submit(t, s, sub)
	if op.State != patchbay.Running || op.Owner != me.ID || op.Version != 1 {
		t.Fatalf("state %s of %q, version %d", op.State, op.Owner, op.Version)
	}
	same(t, load(t, s, "one"), op)
	got, err := s.Connection(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, c)
	asRecord, err := s.Operation(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	same(t, asRecord, op.Operation)
	left, _, err := s.Leftovers(t.Context(), "", 0)
	if err != nil || len(left) != 1 || left[0].ID != "l1" {
		t.Fatalf("leftovers %v, %v", left, err)
	}
	_, err = s.Load(t.Context(), "two")
	wantCode(t, err, patchbay.ResourceNotFound)
}

func submitTwice(t *testing.T, s Store) {
	sub := submission("one", linker(source, "db"))
	first := submit(t, s, sub)
	first.Step = 1
	if _, err := s.Advance(t.Context(), me, saga.Advance{Op: first}); err != nil {
		t.Fatal(err)
	}
	c := connection(sub.Connection, "never")
	sub.Begin.PutConnection = &c
	op, fresh, err := s.Submit(t.Context(), second, sub, plenty, start)
	if err != nil || fresh || op.Step != 1 || op.Owner != me.ID {
		t.Fatalf("again: fresh %v, step %d of %q, error %v", fresh, op.Step, op.Owner, err)
	}
	_, err = s.Connection(t.Context(), c.ID)
	wantCode(t, err, patchbay.ResourceNotFound)
	sub.RequestHash = []byte("another")
	_, _, err = s.Submit(t.Context(), me, sub, plenty, start)
	wantCode(t, err, patchbay.Conflict)
}

func oneChange(t *testing.T, s Store) {
	id := linker(source, "db")
	first := submit(t, s, submission("one", id))
	other := submission("two", patchbay.ID(strings.ToUpper(string(id))))
	other.Source = source
	_, _, err := s.Submit(t.Context(), me, other, plenty, start)
	if e := wantError(t, err, patchbay.OperationInProgress); e.Subject != "one" {
		t.Fatalf("the subject is %q, want the running operation", e.Subject)
	}
	validate := submission("check", id)
	validate.Kind = patchbay.OpValidate
	if op := submit(t, s, validate); op.State != patchbay.Queued {
		t.Fatalf("a validation beside it is %s", op.State)
	}
	if promoted := end(t, s, first, saga.Commit{}); promoted != "check" {
		t.Fatalf("promoted %q", promoted)
	}
	// A validation does not keep a change out; it only waits its turn.
	if op := submit(t, s, submission("three", id)); op.State != patchbay.Queued {
		t.Fatalf("a change behind a validation is %s", op.State)
	}
}

func ifMatch(t *testing.T, s Store) {
	id := linker(source, "db")
	sub := submission("none", id)
	sub.IfMatch = "*"
	_, _, err := s.Submit(t.Context(), me, sub, plenty, start)
	wantCode(t, err, patchbay.PreconditionFailed)
	sub.ID, sub.IfMatch = "makes it", saga.Absent
	c := connection(id, "e1")
	sub.Begin.PutConnection = &c
	end(t, s, submit(t, s, sub), saga.Commit{})
	for i, c := range []struct {
		match string
		ok    bool
	}{{"e2", false}, {saga.Absent, false}, {"e1", true}, {"*", true}, {"", true}} {
		sub := submission(fmt.Sprint("try ", i), id)
		sub.IfMatch = c.match
		op, _, err := s.Submit(t.Context(), me, sub, plenty, start)
		if !c.ok {
			wantCode(t, err, patchbay.PreconditionFailed)
			_, err = s.Load(t.Context(), sub.ID)
			wantCode(t, err, patchbay.ResourceNotFound)
			continue
		}
		if err != nil {
			t.Fatalf("If-Match %q: %v", c.match, err)
		}
		end(t, s, op, saga.Commit{})
	}
}

func fifo(t *testing.T, s Store) {
	var ops []saga.Op
	for i := range 5 {
		sub := submission(fmt.Sprint("op ", 9-i), linker(source, fmt.Sprint("c", i)))
		if i%2 == 1 { // the source's case does not matter
			sub.Source = patchbay.ID(strings.ToLower(string(sub.Source)))
		}
		ops = append(ops, submit(t, s, sub)) // all at the same instant: the order is that of submission
	}
	for i, op := range ops {
		if want := i == 0; (op.State == patchbay.Running) != want || (op.Owner == me.ID) != want {
			t.Fatalf("operation %d is %s of %q", i, op.State, op.Owner)
		}
	}
	elsewhere := submit(t, s, submission("elsewhere", linker(source+"2", "c")))
	if elsewhere.State != patchbay.Running {
		t.Fatalf("another source's is %s", elsewhere.State)
	}
	for i := range ops {
		promoted := end(t, s, load(t, s, ops[i].ID), saga.Commit{})
		if i+1 == len(ops) {
			if promoted != "" {
				t.Fatalf("promoted %q of an empty queue", promoted)
			}
			break
		}
		next := load(t, s, ops[i+1].ID)
		if promoted != next.ID || next.State != patchbay.Running || next.Owner != me.ID || next.Version != 2 {
			t.Fatalf("after %d: promoted %q; the next is %s of %q, version %d", i, promoted, next.State, next.Owner, next.Version)
		}
	}
}

func queueLimit(t *testing.T, s Store) {
	first := submit(t, s, submission("0", linker(source, "c0")))
	for i := 1; i <= 4; i++ {
		_, _, err := s.Submit(t.Context(), me, submission(fmt.Sprint(i), linker(source, fmt.Sprint("c", i))), three, start)
		if i <= 3 && err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			wantCode(t, err, patchbay.TooManyRequests)
		}
	}
	n, err := s.Waiting(t.Context())
	if err != nil || n != 3 {
		t.Fatalf("%d wait, %v", n, err)
	}
	end(t, s, first, saga.Commit{})
	if _, _, err := s.Submit(t.Context(), me, submission("4", linker(source, "c4")), three, start); err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
}

func advanceReadsBack(t *testing.T, s Store) {
	op := submit(t, s, submission("one", linker(source, "db")))
	failure := &patchbay.Error{Code: patchbay.TargetUnreachable, Op: "connect", Subject: "db", Message: "no route", Fix: "open it", Transient: true}
	op.State, op.Step, op.Attempt = patchbay.Undoing, 2, 4
	op.Cancel, op.Abandon, op.Attention = true, true, true
	op.Deaths, op.Trial = 2, saga.Alone
	op.Outputs = [][]byte{[]byte("\x00a\xff"), nil, []byte("c")}
	op.Trail = []patchbay.StepRun{{Name: "plan", Started: start, Ended: start.Add(time.Millisecond), Attempts: 1},
		{Name: "principal", Undo: true, Started: start, Ended: start, Attempts: 8, Parked: true, Error: failure}}
	op.Error, op.Reason, op.Message = failure, &patchbay.Error{Code: patchbay.Canceled, Message: "it was canceled"}, "a warning"
	op.Result = &patchbay.Report{Checks: []patchbay.Check{{Group: patchbay.CheckNetwork, Result: patchbay.Failure, Fix: "x"}}, Started: start, Ended: start}
	op.Swept = &patchbay.Sweep{Removed: []patchbay.Leftover{{ID: "l", Created: start, NextTry: start}}, Left: []patchbay.Leftover{}, MoreLeft: 3}
	op.Updated = start.Add(3 * time.Nanosecond)
	if _, err := s.Advance(t.Context(), me, saga.Advance{Op: op}); err != nil {
		t.Fatal(err)
	}
	op.Version = 2
	same(t, load(t, s, "one"), op)
	op.State, op.Sealed, op.Outputs, op.Ended = patchbay.Undone, nil, nil, op.Updated
	if _, err := s.Advance(t.Context(), me, saga.Advance{Op: op}); err != nil {
		t.Fatal(err)
	}
	op.Version = 3
	same(t, load(t, s, "one"), op)
}

func stale(t *testing.T, s Store) {
	op := submit(t, s, submission("one", linker(source, "db")))
	put := connection(op.Connection, "never")
	for name, spoil := range map[string]func(*saga.Op){
		"version": func(o *saga.Op) { o.Version = 7 },
		"owner":   func(o *saga.Op) { o.Owner = "nobody" },
		"id":      func(o *saga.Op) { o.ID = "two" },
	} {
		o := op.Clone()
		o.Step, o.State = 2, patchbay.Done
		spoil(&o)
		_, err := s.Advance(t.Context(), me, saga.Advance{Op: o, Commit: saga.Commit{PutConnection: &put}})
		if !errors.Is(err, saga.ErrStale) {
			t.Fatalf("another %s: %v", name, err)
		}
	}
	same(t, load(t, s, "one"), op)
	_, err := s.Connection(t.Context(), put.ID)
	wantCode(t, err, patchbay.ResourceNotFound)
}

func endIsAtomic(t *testing.T, s Store) {
	c := connection(linker(source, "db"), "e1")
	put(t, s, c)
	op := submit(t, s, submission("update", c.ID))
	c.ETag, c.State = "e2", patchbay.Failed
	end(t, s, op, saga.Commit{PutConnection: &c, Leftovers: []patchbay.Leftover{{ID: "left", Connection: c.ID, Sealed: patchbay.Sealed("how")}}})
	got, err := s.Connection(t.Context(), c.ID)
	if err != nil || got.ETag != "e2" || got.State != patchbay.Failed {
		t.Fatalf("%s %s, %v", got.ETag, got.State, err)
	}
	left, _, err := s.Leftovers(t.Context(), "", 10)
	if err != nil || len(left) != 1 || string(left[0].Sealed) != "how" {
		t.Fatalf("%v, %v", left, err)
	}
	op = submit(t, s, submission("delete", c.ID))
	end(t, s, op, saga.Commit{DeleteConnection: patchbay.ID(strings.ToUpper(string(c.ID)))})
	_, err = s.Connection(t.Context(), c.ID)
	wantCode(t, err, patchbay.ResourceNotFound)
}

func unknownKind(t *testing.T, s Store) {
	first := submit(t, s, submission("one", linker(source, "a")))
	later := submission("two", linker(source, "b"))
	later.Kind = patchbay.OpRotate // not among me.Kinds
	submit(t, s, later)
	submit(t, s, submission("three", linker(source, "c")))
	if promoted := end(t, s, first, saga.Commit{}); promoted != "" {
		t.Fatalf("promoted %q, of a kind that this process does not know or out of order", promoted)
	}
	ids, err := s.Promote(t.Context(), me, start, 10)
	if err != nil || len(ids) > 0 {
		t.Fatalf("promoted %v, %v", ids, err)
	}
	knows := saga.Life{ID: "newer", Kinds: []patchbay.OperationKind{patchbay.OpRotate}}
	if ids, err = s.Promote(t.Context(), knows, start, 10); err != nil || !slices.Equal(ids, []string{"two"}) {
		t.Fatalf("promoted %v, %v", ids, err)
	}
	if orphans, err := s.Claim(t.Context(), second, 10); err != nil || len(orphans) > 0 {
		t.Fatalf("claimed %v of a kind that the claimer does not know, %v", orphans, err)
	}
}

func claim(t *testing.T, s Store) {
	ctx := t.Context()
	if err := s.Renew(ctx, me, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(ctx, second, time.Hour); err != nil {
		t.Fatal(err)
	}
	var ops []saga.Op
	for i := range 5 {
		ops = append(ops, submit(t, s, submission(fmt.Sprint(i), linker(source+patchbay.ID(fmt.Sprint(i)), "c"))))
	}
	submit(t, s, submission("queued", linker(source+"0", "d")))
	if ids, err := s.Claim(ctx, me, 10); err != nil || len(ids) > 0 {
		t.Fatalf("claimed %v, its own, %v", ids, err)
	}
	if sh, ok := s.(sharer); ok && sh.Shared() {
		if ids, err := s.Claim(ctx, second, 10); err != nil || len(ids) > 0 {
			t.Fatalf("claimed %v of a life that goes on, %v", ids, err)
		}
	}
	dies(s, me)
	var all []string
	for range 3 {
		orphans, err := s.Claim(ctx, second, 2)
		if err != nil || len(orphans) > 2 {
			t.Fatalf("claimed %v, %v", orphans, err)
		}
		for _, o := range orphans {
			all = append(all, o.ID)
		}
	}
	slices.Sort(all)
	if !slices.Equal(all, []string{"0", "1", "2", "3", "4"}) {
		t.Fatalf("claimed %v", all)
	}
	zombie := ops[0]
	zombie.Step = 1
	if _, err := s.Advance(ctx, me, saga.Advance{Op: zombie}); !errors.Is(err, saga.ErrStale) {
		t.Fatalf("the old owner's write: %v", err)
	}
	if op := load(t, s, "0"); op.Owner != second.ID || op.Version != 2 || op.Step != 0 {
		t.Fatalf("owner %q, version %d, step %d", op.Owner, op.Version, op.Step)
	}
}

// dies ends a life without a word.
func dies(s Store, life saga.Life) {
	if lapsing, ok := s.(interface{ Lapse(saga.Life) }); ok { // of another, every other life is over
		lapsing.Lapse(life)
	}
}

// deaths: of the first death nothing is known of the attempts; behind it one
// counts where an attempt was noted, and that of one alone ends it.
func deaths(t *testing.T, s Store) {
	ctx := t.Context()
	life := saga.Life{ID: "life 0", Kinds: me.Kinds}
	lives := 0
	next := func(end func()) {
		t.Helper()
		end()
		lives++
		life.ID = fmt.Sprint("life ", lives)
		if err := s.Renew(ctx, life, time.Hour); err != nil {
			t.Fatal(err)
		}
		if orphans, err := s.Claim(ctx, life, 10); err != nil || len(orphans) != 1 || orphans[0] != (saga.Orphan{ID: "op", Deaths: load(t, s, "op").Deaths}) {
			t.Fatalf("claimed %v, %v", orphans, err)
		}
	}
	death := func() { dies(s, life) }
	stop := func() {
		if err := s.Release(ctx, life, false); err != nil {
			t.Fatal(err)
		}
	}
	stuck := func() {
		if err := s.Release(ctx, life, true); err != nil {
			t.Fatal(err)
		}
		dies(s, life) // its lease lapses
	}
	note := func(trial saga.Trial) {
		t.Helper()
		op := load(t, s, "op")
		op.Trial = trial
		if _, err := s.Advance(ctx, life, saga.Advance{Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what string, deaths int, trial saga.Trial) {
		t.Helper()
		if op := load(t, s, "op"); op.Deaths != deaths || op.Trial != trial || op.Owner != life.ID {
			t.Fatalf("%s: %d deaths, trial %d, of %q", what, op.Deaths, op.Trial, op.Owner)
		}
	}
	if err := s.Renew(ctx, life, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Submit(ctx, life, submission("op", linker(source, "db")), plenty, start); err != nil {
		t.Fatal(err)
	}
	next(stop)
	wants("a stop in order", 0, saga.Untried)
	next(stuck)
	wants("a stop that a step outlived", 0, saga.Untried)
	next(death)
	wants("a death", 1, saga.Untried)
	next(death)
	wants("a death without an attempt", 1, saga.Untried)
	note(saga.Watched)
	next(stop)
	wants("a stop amid an attempt", 1, saga.Untried)
	note(saga.Watched)
	next(death)
	wants("a death amid an attempt", 2, saga.Untried)
	for i := range 5 {
		note(saga.Watched)
		next(death)
		wants("a death amid an attempt and others", 3+i, saga.Untried)
	}
	note(saga.Watched)
	next(death)
	wants("so many that it does not matter who was beside it", 8, saga.Convicted)
	next(death)
	next(stop)
	wants("whatever comes then", 8, saga.Convicted)

	op := load(t, s, "op")
	op.Deaths, op.Trial = 2, saga.Alone
	if _, err := s.Advance(ctx, life, saga.Advance{Op: op}); err != nil {
		t.Fatal(err)
	}
	next(death)
	wants("a death of it alone", 3, saga.Convicted)
}

func promoteForgotten(t *testing.T, s Store) {
	first := submit(t, s, submission("one", linker(source, "a")))
	submit(t, s, submission("two", linker(source, "b")))
	submit(t, s, submission("three", linker(source, "c")))
	if ids, err := s.Promote(t.Context(), me, start, 10); err != nil || len(ids) > 0 {
		t.Fatalf("promoted %v beside a running one, %v", ids, err)
	}
	// A life that knows no kind ends the first: nobody promotes.
	first.State, first.Ended = patchbay.Done, start
	if promoted, err := s.Advance(t.Context(), saga.Life{ID: me.ID}, saga.Advance{Op: first}); err != nil || promoted != "" {
		t.Fatalf("promoted %q, %v", promoted, err)
	}
	if op := submit(t, s, submission("four", linker(source, "d"))); op.State != patchbay.Queued {
		t.Fatal("a new one has overtaken the queue")
	}
	if ids, err := s.Promote(t.Context(), second, start, 10); err != nil || !slices.Equal(ids, []string{"two"}) {
		t.Fatalf("promoted %v, %v", ids, err)
	}
	if op := load(t, s, "two"); op.State != patchbay.Running || op.Owner != second.ID {
		t.Fatalf("%s of %q", op.State, op.Owner)
	}
}

// promoteOthers: however many wait that this process can't run, it finds those
// that it can.
func promoteOthers(t *testing.T, s Store) {
	unknown := saga.Life{ID: "unknown"} // knows no kind, and so promotes nothing
	for i := range 4 {
		on := source + patchbay.ID(fmt.Sprint(i))
		first := submit(t, s, submission(fmt.Sprint("first of ", i), linker(on, "a")))
		later := submission(fmt.Sprint("later of ", i), linker(on, "b"))
		if i < 3 {
			later.Kind = patchbay.OpRotate
		}
		submit(t, s, later)
		first.State, first.Ended = patchbay.Done, start
		if _, err := s.Advance(t.Context(), unknown, saga.Advance{Op: first}); err != nil {
			t.Fatal(err)
		}
	}
	if ids, err := s.Promote(t.Context(), me, start, 1); err != nil || !slices.Equal(ids, []string{"later of 3"}) {
		t.Fatalf("promoted %v, %v", ids, err)
	}
}

func mine(t *testing.T, s Store) {
	a := submit(t, s, submission("a", linker(source+"1", "c")))
	submit(t, s, submission("b", linker(source+"2", "c")))
	submit(t, s, submission("waits", linker(source+"2", "d")))
	a.State = patchbay.Undoing
	if _, err := s.Advance(t.Context(), me, saga.Advance{Op: a}); err != nil {
		t.Fatal(err)
	}
	end(t, s, submit(t, s, submission("ended", linker(source+"3", "c"))), saga.Commit{})
	got, err := s.Mine(t.Context(), me)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, map[string]int64{"a": 2, "b": 1})
	if got, err = s.Mine(t.Context(), second); err != nil || len(got) > 0 {
		t.Fatalf("another's: %v, %v", got, err)
	}
}

func retire(t *testing.T, s Store) {
	for i := range 7 {
		op := submit(t, s, submission(fmt.Sprint(i), linker(source, "c")))
		op.State, op.Ended = patchbay.Done, start.Add(time.Duration(i)*time.Hour)
		if _, err := s.Advance(t.Context(), me, saga.Advance{Op: op}); err != nil {
			t.Fatal(err)
		}
	}
	submit(t, s, submission("active", linker(source, "c")))
	for _, want := range []int{3, 2, 0} {
		n, err := s.Retire(t.Context(), start.Add(5*time.Hour), 3)
		if err != nil || n != want {
			t.Fatalf("retired %d, %v; want %d", n, err, want)
		}
	}
	left, _, err := s.Operations(t.Context(), store.OperationFilter{}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, op := range left {
		ids = append(ids, op.ID)
	}
	if !slices.Equal(ids, []string{"active", "6", "5"}) {
		t.Fatalf("left: %v", ids)
	}
}

// writers: whatever shares a commit, a write that fails fails alone.
func writers(t *testing.T, s Store) {
	const n = 100
	settle(t, s, group)
	put(t, s, connection(linker(source, "taken"), "e1"))
	submit(t, s, submission("busy", linker(source, "taken")))
	var wg sync.WaitGroup
	errs := make([]error, 3*n)
	for i := range n {
		wg.Go(func() { // is accepted
			_, _, errs[3*i] = s.Submit(t.Context(), me, submission(fmt.Sprint("op ", i), linker(source+patchbay.ID(fmt.Sprint(i)), "c")), plenty, start)
		})
		wg.Go(func() { // is refused
			_, _, errs[3*i+1] = s.Submit(t.Context(), me, submission(fmt.Sprint("refused ", i), linker(source, "taken")), plenty, start)
		})
		wg.Go(func() {
			errs[3*i+2] = s.PutResource(t.Context(), patchbay.Resource{ID: group + patchbay.ID(fmt.Sprintf("/providers/A.B/c/%03d", i)), ETag: "e"}, "")
		})
	}
	wg.Wait()
	for i, err := range errs {
		if refused := i%3 == 1; refused != (patchbay.CodeOf(err) == patchbay.OperationInProgress) || !refused && err != nil {
			t.Fatalf("writer %d: %v", i, err)
		}
	}
	for i := range n {
		if op := load(t, s, fmt.Sprint("op ", i)); op.State != patchbay.Running {
			t.Fatalf("operation %d is %s", i, op.State)
		}
		_, err := s.Load(t.Context(), fmt.Sprint("refused ", i))
		wantCode(t, err, patchbay.ResourceNotFound)
	}
	if page, _, err := s.Resources(t.Context(), group, "", 0); err != nil || len(page) != n {
		t.Fatalf("%d resources, %v", len(page), err)
	}
}

func canceledCaller(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Submit(ctx, me, submission("one", linker(source, "db")), plenty, start); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	_, err := s.Load(t.Context(), "one")
	wantCode(t, err, patchbay.ResourceNotFound)
}

func connectionCase(t *testing.T, s Store) {
	c := connection(linker(source, "DataBase"), "e1")
	put(t, s, c)
	for _, id := range []patchbay.ID{c.ID, patchbay.ID(strings.ToUpper(string(c.ID))), patchbay.ID(c.ID.Key())} {
		got, err := s.Connection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, c)
	}
	again := connection(patchbay.ID(strings.ToUpper(string(c.ID))), "e2")
	put(t, s, again)
	page, _, err := s.Connections(t.Context(), source, "", 0)
	if err != nil || len(page) != 1 || page[0].ETag != "e2" {
		t.Fatalf("%d connections, %v", len(page), err)
	}
	_, err = s.Connection(t.Context(), linker(source, "other"))
	wantCode(t, err, patchbay.ResourceNotFound)
}

func pages[T any](t *testing.T, limit int, list func(after string, limit int) ([]T, string, error), name func(T) string) (names []string) {
	t.Helper()
	after := ""
	for range 100 {
		page, next, err := list(after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit && limit > 0 || len(page) == 0 && after != "" {
			t.Fatalf("a page of %d after %q, the limit is %d", len(page), after, limit)
		}
		for _, v := range page {
			names = append(names, name(v))
		}
		if next == "" {
			return names
		}
		after = next
	}
	t.Fatal("the pages do not end")
	return nil
}

func connectionPages(t *testing.T, s Store) {
	// A source whose id begins with another's must not leak into its list, nor
	// may a child of it.
	var all []string
	for _, of := range []patchbay.ID{source, source + "2", source + "-x", source + "/slots/blue"} {
		for _, name := range []string{"a", "B", "c-d", "c.d", "c_d", "z", "É"} {
			put(t, s, connection(linker(of, name), "e"))
			all = append(all, linker(of, name).Key())
		}
	}
	slices.Sort(all)
	for _, limit := range []int{1, 2, 3, 7, 28, 0} {
		got := pages(t, limit, func(after string, limit int) ([]patchbay.Connection, string, error) {
			return s.Connections(t.Context(), patchbay.ID(strings.ToUpper(string(source))), after, limit)
		}, func(c patchbay.Connection) string { return c.Name })
		same(t, got, []string{"a", "B", "c-d", "c.d", "c_d", "z", "É"})
		got = pages(t, limit, func(after string, limit int) ([]patchbay.Connection, string, error) {
			return s.Connections(t.Context(), "", after, limit)
		}, func(c patchbay.Connection) string { return c.ID.Key() })
		same(t, got, all)
	}
	if page, next, err := s.Connections(t.Context(), source+"/none", "", 5); err != nil || len(page) > 0 || next != "" {
		t.Fatalf("of nothing: %v, %q, %v", page, next, err)
	}
}

func connectionsOf(t *testing.T, s Store) {
	put(t, s, connection(linker(source, "db"), "e")) // its target is target, a child of server
	put(t, s, connection(linker(source+"2", "db"), "e"))
	elsewhere := connection(linker(source+"3", "db"), "e")
	elsewhere.Spec.Target = patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: "10.0.0.5:5432"}
	put(t, s, elsewhere)
	for resource, want := range map[patchbay.ID]int{
		source: 1, target: 2, server: 2, server + "x": 0, source + "3": 1, group: 3,
		patchbay.ID(strings.ToUpper(string(server))): 2, target + "/x/y": 0,
	} {
		got, err := s.ConnectionsOf(t.Context(), resource, 10)
		if err != nil || len(got) != want {
			t.Fatalf("%s: %d connections, %v; want %d", resource, len(got), err, want)
		}
	}
	if got, err := s.ConnectionsOf(t.Context(), server, 1); err != nil || len(got) != 1 {
		t.Fatalf("at most one: %d, %v", len(got), err)
	}
}

func resources(t *testing.T, s Store) {
	settle(t, s, group)
	r := patchbay.Resource{
		ID: server, Location: "here", Driver: "postgres", Endpoint: "10.0.0.5:5432", ETag: "e1", Tags: map[string]string{"a": "b"},
		Properties: []byte(`{"tls":"require"}`), State: patchbay.Succeeded, Created: start, Modified: start, Admin: patchbay.Sealed("\x00\x01"),
	}
	wantCode(t, s.PutResource(t.Context(), r, "*"), patchbay.PreconditionFailed)
	if err := s.PutResource(t.Context(), r, ""); err != nil {
		t.Fatal(err)
	}
	got, err := s.Resource(t.Context(), patchbay.ID(strings.ToUpper(string(server))))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, r)
	r.ETag, r.Admin = "e2", nil
	wantCode(t, s.PutResource(t.Context(), r, "e0"), patchbay.PreconditionFailed)
	for _, match := range []string{"e1", "e2", "*", ""} {
		if err := s.PutResource(t.Context(), r, match); err != nil {
			t.Fatalf("If-Match %q: %v", match, err)
		}
	}
	if got, err = s.Resource(t.Context(), server); err != nil || got.ETag != "e2" || len(got.Admin) > 0 {
		t.Fatalf("%v, %v", got, err)
	}
	wantCode(t, s.DeleteResource(t.Context(), server, "e1"), patchbay.PreconditionFailed)
	if err := s.DeleteResource(t.Context(), server, "e2"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteResource(t.Context(), server, ""), patchbay.ResourceNotFound)
	_, err = s.Resource(t.Context(), server)
	wantCode(t, err, patchbay.ResourceNotFound)
}

func resourcePages(t *testing.T, s Store) {
	var want []string
	for _, g := range []patchbay.ID{group, group + "0", "/subscriptions/S2/resourceGroups/G1"} {
		settle(t, s, g)
		for i := range 5 {
			id := g + patchbay.ID(fmt.Sprintf("/providers/A.B/c/N%d", i))
			if err := s.PutResource(t.Context(), patchbay.Resource{ID: id, ETag: "e"}, ""); err != nil {
				t.Fatal(err)
			}
			want = append(want, string(id))
		}
	}
	for scope, n := range map[patchbay.ID][2]int{
		"": {0, 15}, group: {0, 5}, "/subscriptions/s1": {0, 10}, "/subscriptions/S2": {10, 15}, "/subscriptions/S": {0, 0},
		group + "/providers/A.B/c/n3": {3, 4},
	} {
		var ids []string
		ids = append(ids, want[n[0]:n[1]]...)
		slices.SortFunc(ids, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		for _, limit := range []int{1, 4, 0} {
			got := pages(t, limit, func(after string, limit int) ([]patchbay.Resource, string, error) {
				return s.Resources(t.Context(), scope, after, limit)
			}, func(r patchbay.Resource) string { return string(r.ID) })
			same(t, got, ids)
		}
	}
}

func resourceInUse(t *testing.T, s Store) {
	settle(t, s, group)
	for _, id := range []patchbay.ID{source, server, server + "x"} {
		if err := s.PutResource(t.Context(), patchbay.Resource{ID: id, ETag: "e"}, ""); err != nil {
			t.Fatal(err)
		}
	}
	c := connection(linker(source, "db"), "e")
	put(t, s, c)
	for _, id := range []patchbay.ID{source, server} {
		if e := wantError(t, s.DeleteResource(t.Context(), id, ""), patchbay.Conflict); e.Subject != string(c.ID) {
			t.Fatalf("the subject is %q", e.Subject)
		}
	}
	if err := s.DeleteResource(t.Context(), server+"x", ""); err != nil {
		t.Fatal(err)
	}
	end(t, s, submit(t, s, submission("delete", c.ID)), saga.Commit{DeleteConnection: c.ID})
	if err := s.DeleteResource(t.Context(), server, ""); err != nil {
		t.Fatal(err)
	}
}

func groups(t *testing.T, s Store) {
	ctx := t.Context()
	for _, id := range []string{"S2", "S1", "s1"} {
		if err := s.PutSubscription(ctx, patchbay.Subscription{ID: id, DisplayName: "name of " + id}); err != nil {
			t.Fatal(err)
		}
	}
	subs, err := s.Subscriptions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	same(t, subs, []patchbay.Subscription{{ID: "s1", DisplayName: "name of s1"}, {ID: "S2", DisplayName: "name of S2"}})
	g := patchbay.ResourceGroup{ID: group, Location: "here", Tags: map[string]string{"k": "v"}}
	other := patchbay.ResourceGroup{ID: "/subscriptions/S2/resourceGroups/G1", Location: "there"}
	for _, g := range []patchbay.ResourceGroup{other, g} {
		if err := s.PutResourceGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.ResourceGroup(ctx, patchbay.ID(group.Key()))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, g)
	list, err := s.ResourceGroups(ctx, "s1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, list, []patchbay.ResourceGroup{g})
	g.Location = "elsewhere"
	if err := s.UpdateResourceGroup(ctx, g); err != nil {
		t.Fatal(err)
	}
	if got, err = s.ResourceGroup(ctx, group); err != nil {
		t.Fatal(err)
	}
	same(t, got, g)
	if err := s.PutResource(ctx, patchbay.Resource{ID: server}, ""); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteResourceGroup(ctx, group), patchbay.Conflict)
	if err := s.DeleteResource(ctx, server, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteResourceGroup(ctx, group); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteResourceGroup(ctx, group), patchbay.ResourceNotFound)
	wantCode(t, s.UpdateResourceGroup(ctx, g), patchbay.ResourceNotFound) // it does not come back
	_, err = s.ResourceGroup(ctx, group)
	wantCode(t, err, patchbay.ResourceNotFound)
}

func operationPages(t *testing.T, s Store) {
	for i := range 9 {
		op := submit(t, s, submission(fmt.Sprint(i), linker(source+patchbay.ID(fmt.Sprint(i%2)), "c")))
		if i < 7 {
			end(t, s, op, saga.Commit{})
		}
	}
	for _, c := range []struct {
		f    store.OperationFilter
		want []string
	}{
		{store.OperationFilter{}, []string{"8", "7", "6", "5", "4", "3", "2", "1", "0"}},
		{store.OperationFilter{Source: patchbay.ID(strings.ToUpper(string(source + "0")))}, []string{"8", "6", "4", "2", "0"}},
		{store.OperationFilter{Connection: linker(source+"1", "C")}, []string{"7", "5", "3", "1"}},
		{store.OperationFilter{Active: true}, []string{"8", "7"}},
		{store.OperationFilter{Active: true, Source: source + "1"}, []string{"7"}},
		{store.OperationFilter{Source: source}, nil},
	} {
		for _, limit := range []int{1, 2, 4, 0} {
			got := pages(t, limit, func(after string, limit int) ([]patchbay.Operation, string, error) {
				return s.Operations(t.Context(), c.f, after, limit)
			}, func(op patchbay.Operation) string { return op.ID })
			same(t, got, c.want)
		}
	}
	_, _, err := s.Operations(t.Context(), store.OperationFilter{}, "'; --", 1)
	wantCode(t, err, patchbay.InvalidArgument)
}

func leftovers(t *testing.T, s Store) {
	var all []patchbay.Leftover
	for i := range 5 {
		l := patchbay.Leftover{ID: fmt.Sprint(i), Connection: linker(source, "db"), Resource: server, What: "principal", Why: "gone",
			Attempts: 8, Created: start, NextTry: start.Add(time.Hour), Sealed: patchbay.Sealed{byte(i), 0}}
		all = append(all, l)
	}
	all[4].Resource, all[4].Connection = source, linker(source, "other")
	sub := submission("leaves them", linker(source, "db"))
	sub.Begin.Leftovers = slices.Clone(all)
	submit(t, s, sub)
	all[1].Attempts, all[1].Trying, all[1].Deaths = 9, true, 2
	if err := s.UpdateLeftover(t.Context(), all[1]); err != nil {
		t.Fatal(err)
	}
	got, next, err := s.Leftovers(t.Context(), "", 3)
	if err != nil || next == "" {
		t.Fatalf("%q, %v", next, err)
	}
	more, end, err := s.Leftovers(t.Context(), next, 3)
	if err != nil || end != "" {
		t.Fatalf("%q, %v", end, err)
	}
	same(t, append(got, more...), all)
	for resource, want := range map[patchbay.ID][]patchbay.Leftover{patchbay.ID(strings.ToUpper(string(server))): all[:4], source: all[4:], server + "x": nil} {
		at, err := s.LeftoversAt(t.Context(), resource)
		if err != nil || len(at) != len(want) {
			t.Fatalf("%d leftovers at %s, %v", len(at), resource, err)
		}
		for i := range want {
			same(t, at[i], want[i])
		}
	}
	of, err := s.LeftoversOf(t.Context(), patchbay.ID(strings.ToUpper(string(linker(source, "db")))))
	if err != nil || len(of) != 4 {
		t.Fatalf("%d leftovers of a connection, %v", len(of), err)
	}
	same(t, of, all[:4])
	one, err := s.Leftover(t.Context(), "4")
	if err != nil {
		t.Fatal(err)
	}
	same(t, one, all[4])
	if err := s.DeleteLeftover(t.Context(), "3"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteLeftover(t.Context(), "3"), patchbay.ResourceNotFound)
	wantCode(t, s.UpdateLeftover(t.Context(), all[3]), patchbay.ResourceNotFound) // it does not come back
	_, err = s.Leftover(t.Context(), "3")
	wantCode(t, err, patchbay.ResourceNotFound)
	left, _, err := s.Leftovers(t.Context(), "", 0)
	if err != nil || len(left) != 4 {
		t.Fatalf("%d left, %v", len(left), err)
	}
}

func hostile(t *testing.T, s Store) {
	for i, name := range []string{`a'b`, `"; DROP TABLE connection; --`, "line\nbreak", `$(id)`, "ä😀", `%_`, strings.Repeat("n", 260), "a b"} {
		c := connection(linker(source+patchbay.ID(fmt.Sprint(i)), name), "e'"+name)
		put(t, s, c)
		got, err := s.Connection(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, c)
		page, _, err := s.Connections(t.Context(), c.Source, "", 0)
		if err != nil || len(page) != 1 {
			t.Fatalf("%q: %d connections, %v", name, len(page), err)
		}
	}
}
