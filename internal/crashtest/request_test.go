package crashtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	principals = "/providers/Patchbay.Connector/principals"
	reader     = "acdd72a7-3385-48ef-bd42-f606fba81ae7" // the role of Azure's name
	assignment = "/providers/Microsoft.Authorization/roleAssignments/0b1f6471-1bf0-4dda-aec3-111122223333"
	definition = "/providers/Microsoft.Authorization/roleDefinitions/0b1f6471-1bf0-4dda-aec3-444455556666"
)

// request is one that is done when it is answered, without an operation.
type request struct {
	name   string
	action string // of its audit line
	send   func(s *server, v *visit) (status int)
}

// visit is what requests are made on: a world with a principal, and a role
// assigned to it where the request needs one.
type visit struct {
	*world
	principal string
}

func (s *server) status(method, path string, body any) int {
	status, _ := s.call(method, path, own, body)
	return status
}

func (v *visit) assign(s *server) int {
	return s.status("PUT", v.group+assignment, map[string]any{"properties": map[string]any{
		"roleDefinitionId": reader, "principalId": v.principal, "principalType": "ServicePrincipal",
	}})
}

// requests are in an order in which each can follow the one before.
var requests = []request{
	{"create a principal", "Patchbay.Connector/principals/write", func(s *server, _ *visit) int {
		return s.status("POST", principals, map[string]any{"name": "another"})
	}},
	{"disable a principal", "Patchbay.Connector/principals/write", func(s *server, v *visit) int {
		return s.status("PATCH", principals+"/"+v.principal, map[string]any{"disabled": true})
	}},
	{"reset a secret", "Patchbay.Connector/principals/resetSecret/action", func(s *server, v *visit) int {
		return s.status("POST", principals+"/"+v.principal+"/resetSecret", map[string]any{})
	}},
	{"assign a role", "Microsoft.Authorization/roleAssignments/write", func(s *server, v *visit) int { return v.assign(s) }},
	{"take a role away", "Microsoft.Authorization/roleAssignments/delete", func(s *server, v *visit) int {
		return s.status("DELETE", v.group+assignment, nil)
	}},
	{"define a role", "Microsoft.Authorization/roleDefinitions/write", func(s *server, v *visit) int {
		return s.status("PUT", v.group+definition, map[string]any{"properties": map[string]any{
			"roleName": "rotates", "permissions": []any{map[string]any{"actions": []string{"Patchbay.Connector/linkers/rotate/action"}}},
			"assignableScopes": []string{v.group},
		}})
	}},
	{"delete a principal", "Patchbay.Connector/principals/delete", func(s *server, v *visit) int {
		return s.status("DELETE", principals+"/"+v.principal, nil)
	}},
	{"register a resource", "Patchbay.Connector/resources/write", func(s *server, v *visit) int {
		return s.status("PUT", v.group+"/providers/Microsoft.Web/sites/web", map[string]any{"properties": map[string]any{
			"driver": "envfile", "endpoint": v.source.(*envFile).path, "dialect": "dotenv",
		}})
	}},
	{"make a tenant", "Patchbay.Connector/tenants/write", func(s *server, _ *visit) int {
		return s.status("PUT", "/providers/Patchbay.Connector/tenants/0b1f6471-1bf0-4dda-aec3-777788889999", map[string]any{"displayName": "other"})
	}},
}

// records is everything that the requests write.
func (v *visit) records(s *server) string {
	v.t.Helper()
	var all []any
	for _, path := range []string{
		principals, v.group + "/providers/Microsoft.Authorization/roleAssignments", v.group + "/providers/Microsoft.Authorization/roleDefinitions",
		"/providers/Patchbay.Connector/resources", "/providers/Patchbay.Connector/tenants",
	} {
		status, answer := s.call("GET", path, own, nil)
		if status != 200 {
			v.t.Errorf("GET %s = %d %v", path, status, answer)
		}
		all = append(all, answer)
	}
	text, err := json.Marshal(all)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(text)
}

// A request that is done when it is answered has written its record and its
// audit line together, or neither.
func TestAKillDuringARequestLeavesRecordAndLineOrNeither(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program many times")
	}
	n, killed := 0, 0
	for _, r := range requests {
		for _, kept := range []bool{false, true} {
			when := map[bool]string{false: "before", true: "after"}[kept]
			if n++; (n-1)%min(*every, 7) != 0 {
				continue
			}
			killed++
			at := "store/" + r.action + "/succeeded/" + when + "-commit"
			t.Run(r.name+" "+when, func(t *testing.T) { newVisit(t, r).killed(r, at, kept) })
		}
	}
	t.Logf("%d of %d instants of requests were tried", killed, n)
}

// newVisit is a world in which the request can be made.
func newVisit(t *testing.T, r request) *visit {
	v := &visit{world: newWorld(t, nil)}
	s := boot(t, v.dir, "", "")
	_, subs := s.call("GET", "/subscriptions", own, nil)
	v.group = fmt.Sprint("/subscriptions/", subs["value"].([]any)[0].(map[string]any)["subscriptionId"], "/resourceGroups/default")
	status, p := s.call("POST", principals, own, map[string]any{"name": "deployer"})
	if status != 201 {
		t.Fatalf("create the principal: %d %v", status, p)
	}
	v.principal = fmt.Sprint(p["id"])
	if strings.HasSuffix(r.action, "roleAssignments/delete") {
		if status := v.assign(s); status != 201 {
			t.Fatalf("assign the role: %d", status)
		}
	}
	s.kill()
	return v
}

func (v *visit) killed(r request, at string, kept bool) {
	t := v.t
	s := boot(t, v.dir, at+"=kill", "")
	before, lines := v.records(s), len(s.lines())
	if status := r.send(s, v); status != 0 {
		t.Fatalf("what should be killed is answered %d", status)
	}
	s.eventually("the program dies at "+at, s.dead)

	s = boot(t, v.dir, "", "")
	s.verified()
	added := s.lines()[lines:]
	if changed := v.records(s) != before; changed != kept {
		t.Errorf("the records have changed: %t, want %t", changed, kept)
	}
	switch {
	case !kept && len(added) > 0:
		t.Errorf("I11: nothing was kept, and there are the lines %v", added)
	case kept && (len(added) != 1 || added[0]["action"] != r.action || added[0]["result"] != "succeeded"):
		t.Errorf("I11: the change is kept, and the lines are %v", added)
	}
	// Whoever got no answer asks again.
	if status := r.send(s, v); status/100 != 2 {
		t.Errorf("asked again it is answered %d", status)
	}
	s.verified()
	s.kill()
}

// Many callers share a commit. A kill in the middle of their requests loses
// nothing that was answered, and tells of nothing that is not there.
func TestAKillAmongManyRequestsLosesNoAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	rounds := 3
	if *every == 1 {
		rounds = 40
	}
	w := newWorld(t, nil)
	answered, had := map[string]bool{}, 0
	for round := range rounds {
		s := boot(t, w.dir, "", "")
		for id := range crowd(s, round, 1+7*round%50) {
			answered[id] = true
		}
		<-s.exited

		s = boot(t, w.dir, "", "")
		s.verified()
		lines := map[string]int{}
		for _, line := range s.lines() {
			if line["action"] == "Patchbay.Connector/principals/write" {
				id := fmt.Sprint(line["resource"])
				lines[id[strings.LastIndex(id, "/")+1:]]++
			}
		}
		had = 0
		for _, p := range s.all(principals) {
			id := fmt.Sprint(p["id"])
			if lines[id] != 1 {
				t.Errorf("I11: the principal %s has %d lines", p["name"], lines[id])
			}
			delete(lines, id)
			delete(answered, id)
			had++
		}
		if len(answered) > 0 {
			t.Errorf("answered with success, and not there: %v", answered)
		}
		if len(lines) > 0 {
			t.Errorf("I11: lines of what is not there: %v", lines)
		}
		s.kill()
	}
	t.Logf("%d kills, %d principals", rounds, had)
}

// crowd makes principals from many sides until enough are answered, then kills
// the server. It gives the ids that were answered.
func crowd(s *server, round, enough int) map[string]bool {
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		ids = map[string]bool{}
		got atomic.Int64
	)
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				status, p := s.call("POST", principals, own, map[string]any{"name": fmt.Sprintf("caller-%d-%d-%d", round, i, n)})
				if status == 0 {
					return
				}
				if status != 201 {
					continue // too many at once
				}
				mu.Lock()
				ids[fmt.Sprint(p["id"])] = true
				mu.Unlock()
				if got.Add(1) == int64(enough) {
					s.kill()
					return
				}
			}
		})
	}
	wg.Wait()
	return ids
}

// all reads every page of a list.
func (s *server) all(path string) []map[string]any {
	s.t.Helper()
	var items []map[string]any
	for path != "" {
		status, page := s.call("GET", path, own, nil)
		if status != 200 {
			s.t.Fatalf("GET %s = %d %v", path, status, page)
		}
		value, _ := page["value"].([]any)
		for _, v := range value {
			item, _ := v.(map[string]any)
			items = append(items, item)
		}
		next, _ := page["nextLink"].(string)
		path = strings.TrimPrefix(next, s.url)
	}
	return items
}
