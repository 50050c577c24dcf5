package arm

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

func TestOperationStatus(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	base := patchbay.Operation{ID: "0f", Connection: patchbay.ID(web).Linker("db"), Source: web, Created: at}
	unreachable := &patchbay.Error{Code: patchbay.TargetUnreachable, Message: "no route"}
	for _, c := range []struct {
		name   string
		change func(*patchbay.Operation)
		code   int
		status string
		why    patchbay.Code
	}{
		{"a create waits", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpCreate, patchbay.Queued }, 200, "Accepted", ""},
		{"an update runs", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpUpdate, patchbay.Running }, 200, "Accepted", ""},
		{"an update goes back", func(o *patchbay.Operation) {
			o.Kind, o.State, o.Error = patchbay.OpUpdate, patchbay.Undoing, unreachable
		}, 200, "Accepted", ""},
		{"a delete runs", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpDelete, patchbay.Running }, 202, "Deleting", ""},
		{"a validation runs", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpValidate, patchbay.Running }, 202, "Accepted", ""},
		{"a rotation runs", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpRotate, patchbay.Running }, 202, "Accepted", ""},
		{"done", func(o *patchbay.Operation) { o.Kind, o.State, o.Ended = patchbay.OpDelete, patchbay.Done, at }, 200, "Succeeded", ""},
		{"done although somebody would have canceled it", func(o *patchbay.Operation) { o.Kind, o.State, o.Cancel = patchbay.OpCreate, patchbay.Done, true }, 200, "Succeeded", ""},
		{"failed", func(o *patchbay.Operation) {
			o.Kind, o.State, o.Error = patchbay.OpCreate, patchbay.Undone, unreachable
		}, 200, "Failed", patchbay.TargetUnreachable},
		{"failed, then canceled", func(o *patchbay.Operation) {
			o.Kind, o.State, o.Error, o.Cancel = patchbay.OpCreate, patchbay.Undone, unreachable, true
		}, 200, "Failed", patchbay.TargetUnreachable},
		{"canceled", func(o *patchbay.Operation) { o.Kind, o.State, o.Cancel = patchbay.OpCreate, patchbay.Undone, true }, 200, "Canceled", patchbay.Canceled},
		{"abandoned", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpDelete, patchbay.Abandoned }, 200, "Failed", patchbay.Canceled},
		{"failed, nobody knows why", func(o *patchbay.Operation) { o.Kind, o.State = patchbay.OpDelete, patchbay.Undone }, 200, "Failed", patchbay.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			op := base
			c.change(&op)
			if got := StatusCode(op); got != c.code {
				t.Errorf("%d", got)
			}
			path := StatusPath(op, "West Europe")
			text, err := Marshal(OperationStatus(op, path))
			if err != nil {
				t.Fatal(err)
			}
			var body struct {
				ID, Name, ResourceID, Status, StartTime string
				Error                                   *struct{ Code, Message string }
			}
			if err := json.Unmarshal(text, &body); err != nil {
				t.Fatal(err)
			}
			if body.Status != c.status || body.ResourceID != string(op.Connection) || !strings.HasSuffix(body.ID, "/"+body.Name) || body.StartTime != "2026-11-23T12:00:00.1234567Z" {
				t.Errorf("%s", text)
			}
			if (body.Error == nil) != (c.why == "") || body.Error != nil && (body.Error.Code != string(c.why) || body.Error.Message == "") {
				t.Errorf("%s", text)
			}
		})
	}
}

func TestStatusPathsAreBoundToTheirSubscription(t *testing.T) {
	op := patchbay.Operation{ID: "0f", Source: web}
	path, query, _ := strings.Cut(StatusPath(op, ""), "?")
	if !strings.Contains(path, "/locations/GLOBAL/operationStatuses/0f*") || query != "api-version="+statusVersion {
		t.Errorf("%s ? %s", path, query)
	}
	var r Router
	if err := r.Add("status", "{subscription}/providers/Microsoft.ServiceLinker/locations/{location}/operationStatuses/{status}"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		code int
	}{
		{path, 0}, {strings.ToUpper(path[:14]) + path[14:], 0},
		{strings.Replace(path, "/s1/", "/s2/", 1), http.StatusNotFound},
		{strings.Replace(path, "0f*", "0e*", 1), http.StatusNotFound},
		{path[:len(path)-1], http.StatusNotFound},
		{path[:strings.IndexByte(path, '*')], http.StatusNotFound},
		{path[:strings.IndexByte(path, '*')+1], http.StatusNotFound},
	} {
		p, err := r.Parse(c.path)
		if c.code == 0 && (err != nil || p.Name != "0f") || c.code != 0 && (err == nil || Status(patchbay.CodeOf(err)) != c.code) {
			t.Errorf("%s: %+v %v", c.path, p, err)
		}
	}
}

func TestAnUncheckedItemIsNeverASuccess(t *testing.T) {
	op := patchbay.Operation{
		ID: "0f", Kind: patchbay.OpValidate, State: patchbay.Done, Connection: patchbay.ID(web).Linker("db"), Source: web,
		Result: &patchbay.Report{Connection: patchbay.ID(web).Linker("db"), Checks: []patchbay.Check{{Name: "n", Result: patchbay.NotChecked, Message: "no right to look", Fix: "do x"}}},
	}
	text, err := Marshal(OperationStatus(op, StatusPath(op, "l")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"isConnectionAvailable":true`, `"result":"warning"`, `"description":"Not checked: no right to look. Fix: do x"`, `"errorCode":"NotChecked"`, `"linkerName":"db"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	var status struct{ Properties struct{ Message string } }
	var message struct {
		ConnectionName        string
		IsConnectionAvailable bool
		ValidationDetail      []struct {
			Name, Description string
			Result            int
		}
		AuthType *int
	}
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(status.Properties.Message), &message); err != nil {
		t.Fatalf("the message is no JSON: %v: %q", err, status.Properties.Message)
	}
	if message.ConnectionName != "db" || !message.IsConnectionAvailable || len(message.ValidationDetail) != 1 || message.ValidationDetail[0].Name != "n" ||
		message.ValidationDetail[0].Description != "Not checked: no right to look. Fix: do x" || message.ValidationDetail[0].Result != 2 || message.AuthType != nil {
		t.Errorf("the message is %+v", message)
	}
	op.Result = nil
	if text, err = Marshal(OperationStatus(op, StatusPath(op, "l"))); err != nil || !strings.Contains(string(text), `"isConnectionAvailable":false`) || !strings.Contains(string(text), `"validationDetail":[]`) {
		t.Errorf("without a report nothing is available: %v %s", err, text)
	}
}

func TestVersions(t *testing.T) {
	for _, v := range Versions() {
		if got, err := ParseVersion(strings.ToUpper(string(v))); err != nil || got != v {
			t.Errorf("%s: %s %v", v, got, err)
		}
	}
	for s, code := range map[string]patchbay.Code{"": MissingAPIVersion, "2021-11-01-preview": InvalidAPIVersion, "latest": InvalidAPIVersion, strings.Repeat("9", 500): InvalidAPIVersion} {
		_, err := ParseVersion(s)
		if patchbay.CodeOf(err) != code || !strings.Contains(err.Error(), "2022-05-01") || len(err.Error()) > 400 {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}
