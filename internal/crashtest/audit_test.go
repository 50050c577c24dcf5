package crashtest

import (
	"fmt"
	"slices"
)

// lines reads the audit log.
func (s *server) lines() []map[string]any {
	s.t.Helper()
	return s.all("/providers/Patchbay.Connector/audit")
}

// verified has the server check its audit log.
func (s *server) verified() {
	s.t.Helper()
	status, report := s.call("POST", "/providers/Patchbay.Connector/audit/verify", own, nil)
	problems, listed := report["problems"].([]any)
	if status != 200 || !listed && report["problems"] != nil || len(problems) > 0 {
		s.t.Errorf("I11: the audit log: %d %v", status, report)
	}
}

// audited holds the audit log against the operations: each has one line of its
// begin and one of its end, both of the same caller.
func (w *world) audited(s *server) {
	t := w.t
	t.Helper()
	s.verified()
	of := map[string][]map[string]any{}
	for _, line := range s.lines() {
		if id, _ := line["operation"].(string); id != "" {
			of[id] = append(of[id], line)
		}
	}
	_, list := s.call("GET", "/providers/Patchbay.Connector/operations", own, nil)
	operations, _ := list["value"].([]any)
	if len(operations) == 0 && len(of) > 0 {
		t.Errorf("I11: no operation is on record, and the audit log has %d", len(of))
	}
	for _, item := range operations {
		op, _ := item.(map[string]any)
		lines := of[fmt.Sprint(op["id"])]
		delete(of, fmt.Sprint(op["id"]))
		ends := map[any][]any{"done": {"succeeded"}, "undone": {"failed", "canceled"}}[op["state"]]
		if len(lines) != 2 || lines[0]["result"] != "accepted" || !slices.Contains(ends, lines[1]["result"]) {
			t.Errorf("I11: the operation %v %v has the lines %v", op["kind"], op["state"], lines)
			continue
		}
		for _, field := range []string{"caller", "callerId", "action", "resource", "tenant", "address", "request"} {
			if lines[0][field] != lines[1][field] {
				t.Errorf("I11: the %s of the operation's begin is %v, of its end %v", field, lines[0][field], lines[1][field])
			}
		}
	}
	for id, lines := range of {
		t.Errorf("I11: there is no operation %s, and there are lines of it: %v", id, lines)
	}
}
