package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// audit answers a log of three lines. A check with an expectation that is not
// its end finds it wrong.
func (f *fake) audit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if strings.HasSuffix(r.URL.Path, "/verify") {
		problems := []map[string]any{}
		if e := q.Get("expect"); e != "" && e != "3:cc" {
			problems = append(problems, map[string]any{"kind": "differs", "seq": 3, "message": "line 3 is not the one that was noted"})
		}
		f.ok(w, 200, map[string]any{"lines": 3, "first": 1, "last": 3, "head": map[string]any{"seq": 3, "hash": "cc"}, "problems": problems})
		return
	}
	lines := []patchbay.AuditEntry{
		{Seq: 1, Time: fakeStart, Action: "Patchbay.Connector/audit/begin", Result: patchbay.AuditSucceeded, Caller: "patchbay", Hash: "aa"},
		{Seq: 2, Time: fakeStart.Add(time.Second), Tenant: "t", Action: "Microsoft.ServiceLinker/linkers/write", Resource: webID + "/providers/Microsoft.ServiceLinker/linkers/db",
			Result: patchbay.AuditFailed, Code: patchbay.TargetUnreachable, Caller: "ann", Address: "10.0.0.9", Detail: "create", Hash: "bb"},
		{Seq: 3, Time: fakeStart.Add(time.Hour), Action: "Patchbay.Connector/signIn/action", Result: patchbay.AuditRefused, Caller: "evil\x1b]0;pwned\x07", Hash: "cc"},
	}
	if q.Get("caller") == "ann" { // shows what it was asked
		lines = []patchbay.AuditEntry{{Seq: 1, Time: fakeStart, Detail: q.Encode()}}
	}
	if q.Get("format") != "jsonl" {
		f.ok(w, 200, list(lines))
		return
	}
	enc := json.NewEncoder(w)
	for i, e := range lines {
		if i == 2 && q.Get("caller") == "broken" {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		if err := enc.Encode(e); err != nil {
			f.t.Errorf("answer: %v", err)
		}
	}
}
