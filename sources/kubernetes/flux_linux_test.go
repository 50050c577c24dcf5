package kubernetes

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestFluxKeepsAConnection: with its own library, Flux sees no difference between git
// and a workload that is connected, rotated and not connected any more, and what is
// new in git does not end the connection.
func TestFluxKeepsAConnection(t *testing.T) {
	e := newEyes(t)
	flux := func(theirs, want string) {
		t.Helper()
		manifest := deployment(1, object{"env": []any{object{"name": "THEIRS", "value": theirs}}})
		manifest["metadata"].(object)["namespace"] = e.namespace
		in, err := json.Marshal(manifest)
		if err != nil {
			t.Fatal(err)
		}
		cmd := e.cluster.Command("flux")
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want+" Deployment/"+e.namespace+"/web" {
			t.Fatalf("Flux: %s%v, want %s", out, err, want)
		}
	}
	flux("1", "created")
	a := &app{eyes: e, s: e.open(nil), id: e.config(nil).ID}
	a.up()
	before, _ := a.content()
	first := a.change("aaaa", 1, "PB_A", "1", "PB_B", "2")
	a.write(first)
	a.up()
	a.release(first)
	flux("1", "unchanged")
	a.reads(1, "PB_A", "1")
	second := a.change("aaaa", 2, "PB_A", "3")
	second.Had = first.Set
	a.write(second)
	a.up()
	a.release(second)
	flux("1", "unchanged")
	flux("2", "configured")
	a.up()
	a.reads(1, "PB_A", "3")
	a.reads(1, "THEIRS", "2")
	flux("1", "configured")
	last := a.change("aaaa", 2)
	last.Had = second.Set
	a.write(last)
	a.up()
	a.release(last)
	flux("1", "unchanged")
	a.same(before, "after the connection")
}
