package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/audit"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/storetest"
)

// disclosing are the requests that show secrets.
var disclosing = []struct{ action, path, body string }{
	{"Microsoft.ServiceLinker/linkers/listConfigurations/action", linkerDBPath + "/listConfigurations?api-version=2024-04-01", ""},
	{"Microsoft.ServiceLinker/linkers/generateConfigurations/action", linkerDBPath + "/generateConfigurations?api-version=2024-04-01", ""},
	{"Microsoft.ServiceLinker/locations/connectors/generateConfigurations/action", sampleLocation + "/connectors/db/generateConfigurations?api-version=2024-04-01", ""},
	{"Patchbay.Connector/sources/environment/action", testWeb + "/providers/Patchbay.Connector/environment?api-version=2026-11-01", ""},
	{"Microsoft.Web/sites/config/list/action", testWeb + "/config/appsettings/list?api-version=2022-03-01", ""},
}

const linkerDBPath = testWeb + "/providers/Microsoft.ServiceLinker/linkers/db"

// failingAudit is an audit log on a full disk.
type failingAudit struct{}

func (failingAudit) AppendAudit(context.Context, patchbay.AuditEntry) error {
	return errors.New("no space left on device")
}

// A secret that is shown has its line; without the line it isn't shown.
func TestASecretIsShownOnlyWhenItsLineIsWritten(t *testing.T) {
	for _, d := range disclosing {
		t.Run(strings.ReplaceAll(d.action, "/", "."), func(t *testing.T) {
			records := storetest.NewMemory()
			b := newBench(t, func(o *Options) { o.Audit = audit.New(records, store.NewChain(nil)) })
			settle(t, b)
			open := b.send("POST", d.path, d.body)
			if open.Code != http.StatusOK {
				t.Fatalf("%d %s", open.Code, open.Body)
			}
			lines, err := records.AuditEntries(t.Context(), store.AuditFilter{Action: d.action}, 0, 10)
			if err != nil || len(lines) != 1 || lines[0].Result != patchbay.AuditSucceeded || lines[0].Caller != "admin" || lines[0].Resource == "" || lines[0].Address == "" {
				t.Errorf("the lines are %+v (%v)", lines, err)
			}

			b = newBench(t, func(o *Options) { o.Audit = failingAudit{} })
			settle(t, b)
			shut := b.send("POST", d.path, d.body)
			if shut.Code != http.StatusServiceUnavailable || strings.Contains(shut.Body.String(), "value\":") {
				t.Errorf("%d %s", shut.Code, shut.Body)
			}
			for _, line := range lines {
				if text, err := json.Marshal(line); err != nil || strings.Contains(string(text), "hunter") {
					t.Errorf("a secret is in the line %s (%v)", text, err)
				}
			}
		})
	}
}

// The table above has every action that shows secrets: what is no read and
// changes nothing.
func TestEveryRouteThatShowsSecretsIsAmongThoseThatAreTested(t *testing.T) {
	b := newBench(t)
	for name, e := range b.routes.byName {
		for key, r := range e.methods {
			shows := strings.HasSuffix(r.action, "onfigurations/action") || strings.HasSuffix(r.action, "/environment/action") || strings.HasSuffix(r.action, "/list/action")
			if shows && !slices.ContainsFunc(disclosing, func(d struct{ action, path, body string }) bool { return d.action == r.action }) {
				t.Errorf("%s %s: %s is not in the table", key, name, r.action)
			}
		}
	}
}

// logged is a server with an audit log that has a line of each tenant and one
// of the operator's.
func logged(t *testing.T) (*bench, *people, *storetest.Memory) {
	records := storetest.NewMemory()
	b, p := withPeople(t, func(o *Options) { o.Audit = audit.New(records, store.NewChain(nil)) })
	for _, tenant := range []string{testTenant, otherTenant, ""} {
		e := patchbay.AuditEntry{Tenant: tenant, Action: "Test/things/write", Caller: "somebody of " + tenant, Result: patchbay.AuditSucceeded}
		if err := records.AppendAudit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	p.give(p.caller("ours", testTenant), access.Owner, "/")
	p.give(p.caller("reader", testTenant), access.Reader, testRG)
	return b, p, records
}

func TestTheAuditLogOfATenantIsItsOwn(t *testing.T) {
	b, _, _ := logged(t)
	const path = "/providers/Patchbay.Connector/audit?api-version=2026-11-01&action=Test/things/write"
	read := func(as string, query string) []string {
		t.Helper()
		w := b.as(as, "GET", path+query, "")
		if as == "admin" {
			w = b.send("GET", path+query, "")
		}
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", as, w.Code, w.Body)
		}
		var callers []string
		if strings.Contains(query, "jsonl") {
			for in := bufio.NewScanner(w.Body); in.Scan(); {
				var e patchbay.AuditEntry
				if err := json.Unmarshal(in.Bytes(), &e); err != nil {
					t.Fatal(err)
				}
				callers = append(callers, e.Caller)
			}
			return callers
		}
		var page struct{ Value []patchbay.AuditEntry }
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Value {
			callers = append(callers, e.Caller)
		}
		return callers
	}
	own := []string{"somebody of " + testTenant}
	for _, query := range []string{"", "&format=jsonl", "&tenant=" + otherTenant, "&tenant=" + otherTenant + "&format=jsonl"} {
		if got := read("ours", query); !slices.Equal(got, own) {
			t.Errorf("with %q an owner of the tenant reads lines of %q", query, got)
		}
	}
	if got := read("admin", ""); len(got) != 3 {
		t.Errorf("the operator reads lines of %q", got)
	}
	if got := read("admin", "&tenant="+otherTenant); !slices.Equal(got, []string{"somebody of " + otherTenant}) {
		t.Errorf("the operator reads of one tenant lines of %q", got)
	}
	// A role below the tenant is not one at it.
	if w := b.as("reader", "GET", path, ""); w.Code != http.StatusNotFound {
		t.Errorf("a reader of a resource group: %d %s", w.Code, w.Body)
	}
}

func TestPagesOfTheAuditLogAreWholeAndInOrder(t *testing.T) {
	b, _, records := logged(t)
	for range 25 {
		if err := records.AppendAudit(t.Context(), patchbay.AuditEntry{Tenant: testTenant, Action: "Test/more/read", Caller: "x", Result: patchbay.AuditSucceeded}); err != nil {
			t.Fatal(err)
		}
	}
	var seqs []int64
	next := "/providers/Patchbay.Connector/audit?api-version=2026-11-01&$top=10&action=test/MORE/read"
	for next != "" {
		w := b.as("ours", "GET", next, "")
		var page struct {
			Value    []patchbay.AuditEntry
			NextLink string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s (%v)", w.Code, w.Body, err)
		}
		for _, e := range page.Value {
			seqs = append(seqs, e.Seq)
		}
		_, next, _ = strings.Cut(page.NextLink, "https://patchbay.test")
	}
	if len(seqs) != 25 || !slices.IsSorted(seqs) {
		t.Errorf("%d lines: %v", len(seqs), seqs)
	}
	for _, bad := range []string{"&$skipToken=x", "&since=yesterday", "&result=fine", "&$top=0"} {
		if w := b.as("ours", "GET", "/providers/Patchbay.Connector/audit?api-version=2026-11-01"+bad, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestAnExportIsALineAndAnInspectionIsNone(t *testing.T) {
	b, _, records := logged(t)
	exports := func() int {
		lines, err := records.AuditEntries(t.Context(), store.AuditFilter{Action: "Patchbay.Connector/audit/export/action"}, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(lines)
	}
	const path = "/providers/Patchbay.Connector/audit?api-version=2026-11-01"
	b.as("ours", "GET", path, "")
	if n := exports(); n != 0 {
		t.Errorf("a read left %d lines", n)
	}
	b.as("ours", "GET", path, "", "Accept", "application/x-ndjson")
	if n := exports(); n != 1 {
		t.Errorf("an export left %d lines", n)
	}
}

// broken is an audit log that can't be read to its end.
type broken struct{ *audit.Log }

func (broken) Export(_ context.Context, _ store.AuditFilter, w io.Writer) (int64, error) {
	n, _ := io.WriteString(w, "{}\n")
	return int64(n), errors.New("the disk is gone")
}

// Its status is sent already: only a connection that breaks says that it is not
// whole.
func TestAnExportThatBreaksOffDoesNotLookWhole(t *testing.T) {
	b, _, records := logged(t)
	b.opts.Audit = broken{audit.New(records, store.NewChain(nil))}
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("it ends with %v", err)
		}
	}()
	b.as("ours", "GET", "/providers/Patchbay.Connector/audit?api-version=2026-11-01&format=jsonl", "")
}

func TestVerifyOverTheWireSaysWhatIsWrong(t *testing.T) {
	b, _, records := logged(t)
	const path = "/providers/Patchbay.Connector/audit/verify?api-version=2026-11-01"
	var report struct {
		Lines    int64
		Problems []struct{ Kind string }
	}
	ask := func(query string, status int) {
		t.Helper()
		w := b.send("POST", path+query, "")
		if w.Code != status {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		report.Problems = nil
		if err := json.Unmarshal(w.Body.Bytes(), &report); status == http.StatusOK && err != nil {
			t.Fatal(err)
		}
	}
	ask("", http.StatusOK)
	head, err := records.AuditHead(t.Context())
	if err != nil || report.Lines != head.Seq || len(report.Problems) != 0 {
		t.Errorf("%+v (%v)", report, err)
	}
	ask("&expect="+audit.Mark{Seq: head.Seq, Hash: head.Hash}.String(), http.StatusOK)
	if len(report.Problems) != 0 {
		t.Errorf("the head is not in the log: %+v", report.Problems)
	}
	ask("&expect="+audit.Mark{Seq: head.Seq, Hash: strings.Repeat("0", len(head.Hash))}.String(), http.StatusOK)
	if len(report.Problems) == 0 {
		t.Error("another head was not missed")
	}
	ask("&expect=nonsense", http.StatusBadRequest)
}

func TestATenantsLogTellsThatTheOperatorRenamedIt(t *testing.T) {
	b, _ := withPeople(t)
	if w := b.send("PUT", "/providers/Patchbay.Connector/tenants/"+otherTenant+"?api-version=2026-11-01", `{"displayName":"fabrikam"}`); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !slices.Equal(b.fake.told, []string{otherTenant}) {
		t.Errorf("told to %v", b.fake.told)
	}
}

// slowLog is an audit log whose check takes until it is let go on.
type slowLog struct {
	*audit.Log
	begun, goOn chan struct{}
}

func (l slowLog) Verify(context.Context, audit.Mark) (audit.Report, error) {
	l.begun <- struct{}{}
	<-l.goOn
	return audit.Report{}, nil
}

func TestAFewChecksOfTheAuditLogAtATime(t *testing.T) {
	log := slowLog{audit.New(storetest.NewMemory(), store.NewChain(nil)), make(chan struct{}), make(chan struct{})}
	b, p := withPeople(t, func(o *Options) { o.Audit = log })
	p.give(p.caller("calm", otherTenant), access.Owner, "/")
	const path = "/providers/Patchbay.Connector/audit/verify?api-version=2026-11-01"
	first, second := b.sent("POST", path, ""), b.sent("POST", path, "")
	<-log.begun
	<-log.begun
	// More of the operator's wait, and then no more do.
	gone, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	for range logLine {
		before := b.shares[wholeLog].Waiting()
		ended.Go(func() { _, _ = b.shares[wholeLog].Acquire(gone, "operator") })
		for b.shares[wholeLog].Waiting() == before {
			runtime.Gosched()
		}
	}
	if w := b.send("POST", path, ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	calm := make(chan *httptest.ResponseRecorder, 1)
	go func() { calm <- b.as("calm", "POST", path, "") }()
	<-log.begun // another tenant's
	stop()
	ended.Wait()
	close(log.goOn)
	for _, answer := range []<-chan *httptest.ResponseRecorder{first, second, calm} {
		if w := <-answer; w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// A preview is a write to the rates, and its line is there before anything is
// asked, in the tenants of whoever took part; without it nothing is asked.
func TestAPreviewThatOpensConnectionsHasALineAndCountsAsAWrite(t *testing.T) {
	const path = linkerDBPath + "/providers/Patchbay.Connector/preview?api-version=2026-11-01"
	body := `{"properties":{"targetService":{"type":"AzureResource","id":"` + testPG + `"},"authInfo":{"authType":"secret"}}}`
	b, p := withPeople(t, func(o *Options) { o.Limits = Limits{Writes: 0.2, TenantWrites: 100} })
	p.give(p.caller("ann", testTenant), access.Owner, "/")
	if w := b.as("ann", "POST", path, body); w.Code != http.StatusOK || w.Header().Get("x-ms-ratelimit-remaining-subscription-writes") != "1" {
		t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	lines := p.heard()
	if len(lines) != 1 || lines[0].Action != connector.ActionConnect || lines[0].Result != patchbay.AuditSucceeded || lines[0].Caller != "ann" ||
		lines[0].Tenant != testTenant || !lines[0].Resource.Equal(linkerDBPath) || !strings.HasPrefix(lines[0].Detail, "a preview asks ") {
		t.Errorf("%+v", lines)
	}
	b.as("ann", "POST", path, body)
	if w := b.as("ann", "POST", path, body); w.Code != http.StatusTooManyRequests {
		t.Errorf("the third of two: %d", w.Code)
	}
	shut := newBench(t, func(o *Options) { o.Audit = failingAudit{} })
	if w := shut.send("POST", path, body); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
