package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// ann is who asks, in two tenants' sight.
var ann = patchbay.Act{
	Caller: "ann", ID: "0a", Kind: patchbay.UserPrincipal, Tenant: "t1", Address: "10.0.0.9", Request: "r1",
	Action: "A.B/c/write", Tenants: []string{"t1", "t2"},
}

func auditLines(t *testing.T, s Store, f store.AuditFilter, after int64) []patchbay.AuditEntry {
	t.Helper()
	lines, err := s.AuditEntries(t.Context(), f, after, 0)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func auditEnd(t *testing.T, s Store) store.AuditHead {
	t.Helper()
	head, err := s.AuditHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// told runs a write and wants it to leave a line about resource in each of the
// act's tenants, or none when the write is refused.
func told(t *testing.T, s Store, what string, resource patchbay.ID, write func(ctx context.Context) error) {
	t.Helper()
	before := auditEnd(t, s)
	err := write(patchbay.WithAct(t.Context(), ann))
	lines := auditLines(t, s, store.AuditFilter{}, before.Seq)
	if resource == "" {
		if err == nil || len(lines) > 0 || auditEnd(t, s) != before {
			t.Errorf("%s: %v, %d lines of what was refused", what, err, len(lines))
		}
		return
	}
	if err != nil || len(lines) != 2 {
		t.Errorf("%s: %v, %d lines", what, err, len(lines))
		return
	}
	for i, e := range lines {
		from := ""
		if i == 1 {
			from = "t1"
		}
		if e.Tenant != ann.Tenants[i] || e.From != from || e.Caller != "ann" || e.CallerID != "0a" || e.Kind != ann.Kind || e.Address != ann.Address ||
			e.Request != "r1" || e.Action != ann.Action || !e.Resource.Equal(resource) || e.Result != patchbay.AuditSucceeded || e.Time.IsZero() {
			t.Errorf("%s: the line is %+v", what, e)
		}
	}
}

func everyWriteIsTold(t *testing.T, s Store) {
	resource := patchbay.Resource{ID: server, ETag: "e1"}
	person := patchbay.Principal{ID: "P1", AppID: "A1", Tenant: "t1", Name: "app", Kind: patchbay.ServicePrincipal, ETag: "e1"}
	role := patchbay.RoleDefinition{ID: "R1", Tenant: "t1", Name: "Own", Scopes: []patchbay.ID{group}, ETag: "e1"}
	given := patchbay.RoleAssignment{ID: "G1", Tenant: "t1", Scope: group, Role: "R1", Principal: "P1"}
	dryrun := patchbay.Dryrun{ID: patchbay.ID(string(store.DryrunsOf(source)) + "d1"), ETag: "e1"}
	refused := patchbay.ID("")
	settle(t, s, group)
	if err := s.PutResource(t.Context(), patchbay.Resource{ID: source}, ""); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		what     string
		resource patchbay.ID
		write    func(ctx context.Context) error
	}{
		{"PutResource", server, func(ctx context.Context) error { return s.PutResource(ctx, resource, "") }},
		{"PutResource, without its group", refused, func(ctx context.Context) error {
			return s.PutResource(ctx, patchbay.Resource{ID: group + "2/providers/Microsoft.Web/sites/x"}, "")
		}},
		{"PutResource, refused", refused, func(ctx context.Context) error { return s.PutResource(ctx, resource, "e0") }},
		{"DeleteResource, refused", refused, func(ctx context.Context) error { return s.DeleteResource(ctx, server, "e0") }},
		{"DeleteResource", server, func(ctx context.Context) error { return s.DeleteResource(ctx, server, "e1") }},
		{"DeleteResource, absent", refused, func(ctx context.Context) error { return s.DeleteResource(ctx, server, "") }},
		{"PutSubscription", "/subscriptions/S1", func(ctx context.Context) error { return s.PutSubscription(ctx, patchbay.Subscription{ID: "S1"}) }},
		{"PutResourceGroup", group + "2", func(ctx context.Context) error {
			return s.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: group + "2"})
		}},
		{"DeleteResourceGroup, not empty", refused, func(ctx context.Context) error { return s.DeleteResourceGroup(ctx, group) }},
		{"DeleteResourceGroup", group + "2", func(ctx context.Context) error { return s.DeleteResourceGroup(ctx, group+"2") }},
		{"DeleteResourceGroup, absent", refused, func(ctx context.Context) error { return s.DeleteResourceGroup(ctx, group+"2") }},
		{"PutTenant", store.TenantID("t1"), func(ctx context.Context) error { return s.PutTenant(ctx, patchbay.Tenant{ID: "t1"}) }},
		{"PutPrincipal", store.PrincipalID("P1"), func(ctx context.Context) error { return s.PutPrincipal(ctx, person, store.Absent) }},
		{"PutPrincipal, there", refused, func(ctx context.Context) error { return s.PutPrincipal(ctx, person, store.Absent) }},
		{"PutPrincipal, taken", refused, func(ctx context.Context) error {
			return s.PutPrincipal(ctx, patchbay.Principal{ID: "P2", AppID: "a1"}, "")
		}},
		{"PutRoleDefinition", store.RoleDefinitionID("R1"), func(ctx context.Context) error { return s.PutRoleDefinition(ctx, role, "") }},
		{"PutRoleDefinition, taken", refused, func(ctx context.Context) error {
			return s.PutRoleDefinition(ctx, patchbay.RoleDefinition{ID: "R2", Tenant: "T1", Name: "oWN"}, "")
		}},
		{"PutRoleAssignment", store.RoleAssignmentID(group, "G1"), func(ctx context.Context) error { return s.PutRoleAssignment(ctx, given, false) }},
		{"PutRoleAssignment, there", refused, func(ctx context.Context) error {
			again := given
			again.ID, again.Scope = "G2", patchbay.ID(group.Key())
			return s.PutRoleAssignment(ctx, again, false)
		}},
		{"PutRoleAssignment, at nothing", refused, func(ctx context.Context) error {
			nowhere := given
			nowhere.ID, nowhere.Scope = "G2", group+"2"
			return s.PutRoleAssignment(ctx, nowhere, true)
		}},
		{"DescribeRoleAssignment", store.RoleAssignmentID(group, "G1"), func(ctx context.Context) error { return s.DescribeRoleAssignment(ctx, "T1", "g1", "why") }},
		{"DescribeRoleAssignment, absent", refused, func(ctx context.Context) error { return s.DescribeRoleAssignment(ctx, "T1", "g2", "why") }},
		{"DeleteRoleDefinition, in use", refused, func(ctx context.Context) error { return s.DeleteRoleDefinition(ctx, "t1", "r1") }},
		{"DeleteRoleAssignment", store.RoleAssignmentID(group, "G1"), func(ctx context.Context) error { return s.DeleteRoleAssignment(ctx, "T1", "g1") }},
		{"DeleteRoleAssignment, absent", refused, func(ctx context.Context) error { return s.DeleteRoleAssignment(ctx, "T1", "g1") }},
		{"DeleteRoleDefinition", store.RoleDefinitionID("R1"), func(ctx context.Context) error { return s.DeleteRoleDefinition(ctx, "t1", "r1") }},
		{"DeletePrincipal, refused", refused, func(ctx context.Context) error { return s.DeletePrincipal(ctx, "p1", "e0") }},
		{"DeletePrincipal", store.PrincipalID("P1"), func(ctx context.Context) error { return s.DeletePrincipal(ctx, "p1", "e1") }},
		{"PutDryrun", dryrun.ID, func(ctx context.Context) error { return s.PutDryrun(ctx, dryrun, "") }},
		{"PutDryrun, refused", refused, func(ctx context.Context) error { return s.PutDryrun(ctx, dryrun, "e0") }},
		{"DeleteDryrun", dryrun.ID, func(ctx context.Context) error { return s.DeleteDryrun(ctx, dryrun.ID) }},
		{"DeleteDryrun, absent", refused, func(ctx context.Context) error { return s.DeleteDryrun(ctx, dryrun.ID) }},
	} {
		told(t, s, w.what, w.resource, w.write)
	}
	leaves := submission("leaves one", linker(source, "leaves"))
	leaves.Begin.Leftovers = []patchbay.Leftover{{ID: "l1", Connection: linker(source, "db")}}
	submit(t, s, leaves)
	told(t, s, "DeleteLeftover", linker(source, "db"), func(ctx context.Context) error { return s.DeleteLeftover(ctx, "l1") })
	told(t, s, "DeleteLeftover, absent", refused, func(ctx context.Context) error { return s.DeleteLeftover(ctx, "l1") })
}

// signingKeysAreTheServers: whoever's request it is that finds one old.
func signingKeysAreTheServers(t *testing.T, s Store) {
	before := auditEnd(t, s)
	ctx := patchbay.WithAct(t.Context(), ann)
	for _, k := range []patchbay.SigningKey{
		{ID: "b", Created: start.Add(time.Hour), Sealed: patchbay.Sealed("\x00k")}, {ID: "c", Created: start}, {ID: "a", Created: start.Add(2 * time.Hour)},
	} {
		if err := s.PutSigningKey(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.SigningKeys(ctx)
	if err != nil || len(keys) != 3 || keys[0].ID != "c" || keys[1].ID != "b" || string(keys[1].Sealed) != "\x00k" || keys[2].ID != "a" {
		t.Fatalf("%v, %v", keys, err)
	}
	if err := s.DeleteSigningKey(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteSigningKey(ctx, "b"), patchbay.ResourceNotFound)
	lines := auditLines(t, s, store.AuditFilter{}, before.Seq)
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, e := range lines {
		if e.Caller != "patchbay" || e.Tenant != "" || e.CallerID != "" {
			t.Errorf("%+v", e)
		}
	}
}

func operationsAreTold(t *testing.T, s Store) {
	failure := &patchbay.Error{Code: patchbay.TargetUnreachable, Message: "no route"}
	for i, c := range []struct {
		name   string
		change func(*saga.Submission)
		end    func(*saga.Op)
		result patchbay.AuditResult // "": it leaves no line
		code   patchbay.Code
	}{
		{"done", nil, nil, patchbay.AuditSucceeded, ""},
		{"failed", nil, func(op *saga.Op) { op.State, op.Reason = patchbay.Undone, failure }, patchbay.AuditFailed, patchbay.TargetUnreachable},
		{"canceled", nil, func(op *saga.Op) {
			op.State, op.Cancel, op.Reason = patchbay.Undone, true, &patchbay.Error{Code: patchbay.Canceled}
		}, patchbay.AuditCanceled, patchbay.Canceled},
		{"abandoned", nil, func(op *saga.Op) { op.State, op.Error = patchbay.Abandoned, failure }, patchbay.AuditFailed, patchbay.TargetUnreachable},
		{"validated", func(sub *saga.Submission) { sub.Kind, sub.Silent = patchbay.OpValidate, true }, nil, "", ""},
	} {
		before := auditEnd(t, s)
		sub := submission(fmt.Sprint("op", i), linker(source, fmt.Sprint("c", i)))
		sub.Act = ann
		if c.change != nil {
			c.change(&sub)
		}
		op := submit(t, s, sub)
		if _, _, err := s.Submit(t.Context(), me, sub, plenty, start); err != nil { // again: nothing is written
			t.Fatal(err)
		}
		op.State, op.Ended = patchbay.Done, start.Add(time.Second)
		if c.end != nil {
			c.end(&op)
		}
		stale := op
		stale.Version = 9
		if _, err := s.Advance(t.Context(), me, saga.Advance{Op: stale}); err == nil {
			t.Fatal("a stale advance")
		}
		if _, err := s.Advance(t.Context(), me, saga.Advance{Op: op}); err != nil {
			t.Fatal(err)
		}
		lines := auditLines(t, s, store.AuditFilter{}, before.Seq)
		if c.result == "" {
			if len(lines) > 0 {
				t.Errorf("%s: %d lines", c.name, len(lines))
			}
			continue
		}
		if len(lines) != 4 { // begin and end, in two tenants
			t.Fatalf("%s: %d lines", c.name, len(lines))
		}
		for j, e := range lines {
			result, code := patchbay.AuditAccepted, patchbay.Code("")
			if j > 1 {
				result, code = c.result, c.code
			}
			if e.Result != result || e.Code != code || e.Operation != op.ID || e.Caller != "ann" || e.Request != "r1" || !e.Resource.Equal(op.Connection) {
				t.Errorf("%s: line %d is %+v", c.name, j, e)
			}
		}
	}
	// What somebody asks of an operation has a line of its own.
	before := auditEnd(t, s)
	op := submit(t, s, submission("asked", linker(source, "asked")))
	op.Cancel = true
	bob := patchbay.Act{Caller: "bob", Action: "cancel"}
	if _, err := s.Advance(t.Context(), me, saga.Advance{Op: op, Asked: &bob}); err != nil {
		t.Fatal(err)
	}
	lines := auditLines(t, s, store.AuditFilter{Caller: "bob"}, before.Seq)
	if len(lines) != 1 || lines[0].Action != "cancel" || lines[0].Operation != "asked" || lines[0].Result != patchbay.AuditAccepted {
		t.Errorf("%+v", lines)
	}
	// Without an act it is the context's, which is the server's own.
	if all := auditLines(t, s, store.AuditFilter{Caller: "patchbay", Resource: linker(source, "asked")}, before.Seq); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

// theChainHolds under many writers that share commits, some of them refused.
func theChainHolds(t *testing.T, s Store) {
	settle(t, s, group)
	before := auditEnd(t, s)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := range 8 {
				r := patchbay.Resource{ID: group + patchbay.ID(fmt.Sprintf("/providers/A.B/c/%d-%d", w, i)), ETag: "e"}
				if err := s.PutResource(t.Context(), r, ""); err != nil {
					t.Error(err)
				}
				if err := s.PutResource(t.Context(), r, "other"); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines := auditLines(t, s, store.AuditFilter{}, before.Seq)
	if len(lines) != 512 {
		t.Fatalf("%d lines", len(lines))
	}
	seq, hash := before.Seq, before.Hash
	for _, e := range lines {
		if e.Seq != seq+1 || e.Previous != hash || e.Hash == "" {
			t.Fatalf("line %d follows %d", e.Seq, seq)
		}
		seq, hash = e.Seq, e.Hash
	}
	if head := auditEnd(t, s); head.Seq != seq || head.Hash != hash || head.Seal == "" {
		t.Fatalf("the head is %+v, the last line %d", head, seq)
	}
}

func auditFilters(t *testing.T, s Store) {
	before := auditEnd(t, s)
	for i, e := range []patchbay.AuditEntry{
		{Tenant: "T1", Caller: "ann", CallerID: "0A", Action: "A/read", Result: patchbay.AuditSucceeded, Resource: source},
		{Tenant: "t1", Caller: "bob", Action: "A/write", Result: patchbay.AuditRefused, Resource: linker(source, "db")},
		{Tenant: "t2", Caller: "bob", Action: "a/READ", Result: patchbay.AuditSucceeded, Resource: source + "2"},
		{Tenant: "", Caller: "x' OR 1=1", Action: "A/read", Result: patchbay.AuditFailed},
	} {
		e.Time = start.Add(time.Duration(i) * time.Hour)
		if err := s.AppendAudit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	t1, operator := "t1", ""
	for _, c := range []struct {
		f    store.AuditFilter
		want []int64
	}{
		{store.AuditFilter{}, []int64{1, 2, 3, 4}},
		{store.AuditFilter{Tenant: &t1}, []int64{1, 2}},
		{store.AuditFilter{Tenant: &operator}, []int64{4}},
		{store.AuditFilter{Caller: "bob"}, []int64{2, 3}},
		{store.AuditFilter{Caller: "0a"}, []int64{1}},
		{store.AuditFilter{Caller: "x' OR 1=1"}, []int64{4}},
		{store.AuditFilter{Action: "a/read"}, []int64{1, 3, 4}},
		{store.AuditFilter{Result: patchbay.AuditRefused}, []int64{2}},
		{store.AuditFilter{Resource: patchbay.ID(source.Key())}, []int64{1, 2}},
		{store.AuditFilter{Since: start.Add(time.Hour), Until: start.Add(3 * time.Hour)}, []int64{2, 3}},
		{store.AuditFilter{Tenant: &t1, Caller: "bob", Result: patchbay.AuditSucceeded}, nil},
	} {
		for _, limit := range []int{1, 3, 0} {
			var got []int64
			for after := before.Seq; ; {
				page, err := s.AuditEntries(t.Context(), c.f, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				for _, e := range page {
					got = append(got, e.Seq-before.Seq)
					after = e.Seq
				}
			}
			same(t, got, c.want)
		}
	}
}
