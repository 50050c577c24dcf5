package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/audit"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/storetest"
)

// stuck is an API whose expensive calls take until they are let go on, unless
// their caller is the calm one.
type stuck struct {
	*fake
	begun, goOn chan struct{}
}

func (s stuck) hold(ctx context.Context) {
	if patchbay.ActOf(ctx).Caller == "calm" || patchbay.ActOf(ctx).Caller == operator.Name {
		return
	}
	s.begun <- struct{}{}
	<-s.goOn
}

func (s stuck) Preview(ctx context.Context, r connector.PutRequest) (connector.Preview, error) {
	s.hold(ctx)
	return s.fake.Preview(ctx, r)
}

func (s stuck) List(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	s.hold(ctx)
	return s.fake.List(ctx, source, after, limit)
}

func (s stuck) Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error) {
	s.hold(ctx)
	return s.fake.Operation(ctx, id)
}

// flood is what one tenant sends again and again, and others send once.
var flood = map[string]struct {
	cost                  cost
	method, path, version string
	line                  int
}{
	"previews": {dials, "POST", "/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/db/providers/Patchbay.Connector/preview", "2026-11-01", inLine},
	"lists":    {lists, "GET", "/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers", "2024-04-01", inLine},
}

// While one tenant holds all that it may hold, and as many of its requests wait
// as may, another tenant's request is answered, and so is the operator's.
func TestWhileOneTenantHoldsItsShareOthersAreAnswered(t *testing.T) {
	for name, f := range flood {
		t.Run(name, func(t *testing.T) {
			b, p := withPeople(t, func(o *Options) { o.Limits = unlimited })
			settle(t, b)
			api := stuck{b.fake, make(chan struct{}), make(chan struct{})}
			b.api = api
			p.give(p.caller("busy", testTenant), access.Owner, "/")
			p.give(p.caller("calm", otherTenant), access.Owner, "/")
			at := func(rg string) string { return rg + f.path + "?api-version=" + f.version }
			pool := b.shares[f.cost]
			answers := make(chan *httptest.ResponseRecorder, inLine+dialsAtOnce)
			sent := 0
			more := func() { sent++; go func() { answers <- b.as("busy", f.method, at(testRG), putDB) }() }
			for more(); pool.Waiting() == 0; { // one more holds a place, or it waits
				select {
				case <-api.begun:
					more()
				default:
					runtime.Gosched()
				}
			}
			held := pool.Held(testTenant)
			for pool.Waiting() < f.line {
				before := pool.Waiting()
				for more(); pool.Waiting() == before; {
					runtime.Gosched()
				}
			}
			w := b.as("busy", f.method, at(testRG), putDB)
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "own tenant") {
				t.Errorf("one more than may wait: %d %s", w.Code, w.Body)
			}
			if w := b.as("calm", f.method, at(otherRG), putDB); w.Code != http.StatusOK {
				t.Errorf("another tenant's: %d %s", w.Code, w.Body)
			}
			if w := b.send(f.method, at(otherRG), putDB); w.Code != http.StatusOK {
				t.Errorf("the operator's: %d %s", w.Code, w.Body)
			}
			if pool.Held(testTenant) != held || pool.Held() != held {
				t.Errorf("%d of %d places are held, %d in all", pool.Held(testTenant), held, pool.Held())
			}
			close(api.goOn)
			for range sent - held {
				<-api.begun
			}
			for range sent {
				if w := <-answers; w.Code != http.StatusOK {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
			if pool.Held() != 0 || pool.Waiting() != 0 {
				t.Errorf("%d are held, %d wait", pool.Held(), pool.Waiting())
			}
		})
	}
}

// Who waits for an operation while its tenant waits as often as it may is told
// to come back, or answered without the wait.
func TestWhoMayNotWaitIsAnsweredAtOnce(t *testing.T) {
	b, p := withPeople(t, func(o *Options) { o.Grace = time.Hour })
	p.give(p.caller("busy", testTenant), access.Owner, "/")
	x := &exchange{server: b.Server, ctx: t.Context(), caller: caller{subject: patchbay.Subject{Tenant: testTenant, ID: "another"}}}
	held := 0
	for ; held <= waitsAtOnce; held++ {
		if _, ok := x.wait(); !ok {
			break
		}
	}
	if held > waitsAtOnce/2 {
		t.Fatalf("one caller waits %d times", held)
	}
	for i := 0; ; i++ {
		x.caller.subject.ID = strings.Repeat("x", i)
		if _, ok := x.wait(); !ok {
			break
		}
		for ok := true; ok; {
			_, ok = x.wait()
		}
	}
	w := b.as("busy", "PUT", linkerDB, putDB)
	if w.Code != http.StatusCreated || w.Header().Get("Azure-AsyncOperation") == "" {
		t.Errorf("a write: %d %s", w.Code, w.Body)
	}
	w = b.as("busy", "GET", "/providers/Patchbay.Connector/operations/op-1?api-version=2026-11-01&wait=30&version=9", "")
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("a wait: %d %s", w.Code, w.Body)
	}
	if held, waiting := b.shares[waits].Held(testTenant), b.shares[waits].Waiting(); held > waitsAtOnce/2 || waiting != 0 {
		t.Errorf("%d wait, %d in line", held, waiting)
	}
}

// crowded is a server all of whose places for previews are held by others of the
// caller's tenant, and a request of the caller that waits for one.
func crowded(t *testing.T) (b *bench, answer chan *httptest.ResponseRecorder) {
	t.Helper()
	b, p := withPeople(t, func(o *Options) { o.Limits = unlimited })
	settle(t, b)
	p.give(p.caller("late", testTenant), access.Owner, "/")
	for i := 0; ; i++ {
		now, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.shares[dials].Acquire(now, testTenant, strings.Repeat("x", i)); err != nil {
			break
		}
	}
	f := flood["previews"]
	answer = make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- b.as("late", f.method, testRG+f.path+"?api-version="+f.version, putDB) }()
	return b, answer
}

func TestARequestWaitsForItsShareSoLongAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, answer := crowded(t)
		synctest.Wait()
		begun := time.Now()
		if n := b.shares[dials].Waiting(); n != 1 {
			t.Fatalf("%d wait", n)
		}
		w := <-answer
		if w.Code != http.StatusTooManyRequests || time.Since(begun) != maxLine || b.shares[dials].Waiting() != 0 {
			t.Errorf("%d after %s: %s", w.Code, time.Since(begun), w.Body)
		}
		b.stop()
	})
}

func TestAStopSendsThoseInLineAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, answer := crowded(t)
		synctest.Wait()
		begun := time.Now()
		b.stop()
		if w := <-answer; w.Code != http.StatusServiceUnavailable || time.Since(begun) != 0 {
			t.Errorf("%d after %s: %s", w.Code, time.Since(begun), w.Body)
		}
	})
}

// A body that comes slowly takes nobody's place.
func TestASlowBodyHoldsNoPlace(t *testing.T) {
	b := newBench(t)
	settle(t, b)
	f := flood["previews"]
	body := &slowBody{Reader: strings.NewReader(putDB), held: func() int { return b.shares[f.cost].Held() }}
	r := httptest.NewRequest(f.method, "https://patchbay.test"+testRG+f.path+"?api-version="+f.version, body)
	r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != http.StatusOK || body.reads == 0 || body.seen != 0 {
		t.Errorf("%d, %d places were held while the body came", w.Code, body.seen)
	}
}

type slowBody struct {
	io.Reader
	held        func() int
	seen, reads int
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.reads++
	b.seen = max(b.seen, b.held())
	return b.Reader.Read(p)
}

// priced is an API that looks, in every call that is expensive, whether the
// request holds a place for it.
type priced struct {
	connector.API
	t      *testing.T
	shares shares
	calls  map[string]int
	asked  string // the request that is under way
}

func (p *priced) want(what string, c cost) {
	p.calls[what]++
	if p.shares[c].Held() != 1 {
		p.t.Errorf("%s calls %s and has no place for it", p.asked, what)
	}
}

func (p *priced) List(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	p.want("List", lists)
	return p.API.List(ctx, source, after, limit)
}

func (p *priced) Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	p.want("Dryruns", lists)
	return p.API.Dryruns(ctx, source, after, limit)
}

func (p *priced) Operations(ctx context.Context, f store.OperationFilter, after string, limit int) ([]patchbay.Operation, string, error) {
	p.want("Operations", lists)
	return p.API.Operations(ctx, f, after, limit)
}

func (p *priced) Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	p.want("Leftovers", lists)
	return p.API.Leftovers(ctx, after, limit)
}

func (p *priced) Resources(ctx context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	p.want("Resources", lists)
	return p.API.Resources(ctx, scope, after, limit)
}

func (p *priced) ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	p.want("ResourceGroups", lists)
	return p.API.ResourceGroups(ctx, subscription)
}

func (p *priced) Generate(ctx context.Context, id patchbay.ID, info *patchbay.ConfigurationInfo, c connector.Caller) ([]patchbay.Setting, error) {
	p.want("Generate", dials)
	return p.API.Generate(ctx, id, info, c)
}

func (p *priced) Preview(ctx context.Context, r connector.PutRequest) (connector.Preview, error) {
	p.want("Preview", dials)
	return p.API.Preview(ctx, r)
}

func (p *priced) PutDryrun(ctx context.Context, r connector.DryrunRequest) (patchbay.Dryrun, bool, error) {
	p.want("PutDryrun", dials)
	return p.API.PutDryrun(ctx, r)
}

func (p *priced) PutResource(ctx context.Context, r connector.ResourceRequest) (patchbay.Resource, bool, []string, error) {
	p.want("PutResource", dials)
	return p.API.PutResource(ctx, r)
}

func (p *priced) Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error) {
	if strings.Count(id.Type(), "/") > 1 {
		p.want("Resource in a target", dials)
	}
	return p.API.Resource(ctx, id)
}

func (p *priced) Process(ctx context.Context, source patchbay.ID, c connector.Caller) (map[string]patchbay.Secret, error) {
	p.want("Process", dials)
	return p.API.Process(ctx, source, c)
}

// Every route that reads by the page, or speaks to a target or a source, says
// so in the table of routes.
func TestWhatCostsMuchHasItsPlace(t *testing.T) {
	b, _, _ := withIssuer(t, func(o *Options) {
		o.Limits, o.Audit = unlimited, audit.New(storetest.NewMemory(), store.NewChain(nil))
	})
	settle(t, b)
	p := &priced{API: b.fake, t: t, shares: b.shares, calls: map[string]int{}}
	b.api = p
	listed := 0
	ask := func(method, path, version string) (list bool) {
		p.asked = method + " " + path
		body := "{}"
		switch {
		case strings.HasSuffix(path, "/preview"):
			body = putDB
		case strings.Contains(path, "/dryruns/"):
			body = strings.Replace(putDB, `{"properties":{`, `{"properties":{"parameters":{"actionName":"createOrUpdate",`, 1) + "}"
		}
		w := b.send(method, path+"?api-version="+version, body)
		var answer struct {
			Value []json.RawMessage `json:"value"`
		}
		return json.Unmarshal(w.Body.Bytes(), &answer) == nil && answer.Value != nil
	}
	for _, a := range everyRoute(t, b) {
		if !ask(a.method, a.path, a.version()) {
			continue
		}
		listed++
		// A list that connector.API isn't asked for has to say so too.
		if a.rule.takes != lists && !shortLists[a.route] {
			t.Errorf("%s lists and costs nothing", a.name)
		}
	}
	ask("GET", testPG+"/databases/app", "2026-11-01")
	for _, what := range []string{"List", "Dryruns", "Operations", "Leftovers", "Resources", "ResourceGroups", "Generate", "Preview", "PutDryrun", "PutResource", "Resource in a target", "Process"} {
		if p.calls[what] == 0 {
			t.Errorf("nothing calls %s: the test sees less than it did", what)
		}
	}
	if listed < 20 {
		t.Errorf("only %d lists were seen", listed)
	}
	for c, pool := range b.shares {
		if pool.Held() != 0 || pool.Waiting() != 0 {
			t.Errorf("cost %d: %d are held, %d wait", c, pool.Held(), pool.Waiting())
		}
	}
}

// shortLists are as long as the operator makes them, or the program.
var shortLists = map[arm.Route]bool{
	"Patchbay.Connector/tenants": true, "tenants": true, "daprConfigurations": true,
	"Microsoft.ServiceLinker/operations": true, "Patchbay.Connector/settings": true, "Patchbay.Connector/check": true,
}

// The place is given back before the answer is sent: a reader who takes long
// holds nobody up.
func TestASlowReaderHoldsNoPlace(t *testing.T) {
	b := newBench(t)
	settle(t, b)
	for name, f := range flood {
		w := &slowReader{ResponseRecorder: httptest.NewRecorder(), held: func() int { return b.shares[f.cost].Held() }}
		r := httptest.NewRequest(f.method, "https://patchbay.test"+testRG+f.path+"?api-version="+f.version, strings.NewReader(putDB))
		r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
		b.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.seen != 0 || w.writes == 0 {
			t.Errorf("%s: %d, %d places were held while the answer was sent", name, w.Code, w.seen)
		}
	}
}

type slowReader struct {
	*httptest.ResponseRecorder
	held         func() int
	seen, writes int
}

func (w *slowReader) Write(p []byte) (int, error) {
	w.writes++
	w.seen = max(w.seen, w.held())
	return w.ResponseRecorder.Write(p)
}
