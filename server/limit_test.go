package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/store"
)

func TestACallerIsLimitedAndOthersAreNot(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b, p := withPeople(t, func(o *Options) {
		o.Limits = Limits{Reads: 2, Writes: 1, TenantReads: 100, TenantWrites: 100}
		o.Clock = func() time.Time { return now }
	})
	busy, calm := p.caller("busy", testTenant), p.caller("calm", testTenant)
	for _, who := range []patchbay.Subject{busy, calm} {
		p.give(who, access.Owner, "/")
	}
	for i := range 20 {
		w := b.as("busy", "GET", "/subscriptions", "")
		if w.Code != 200 || w.Header().Get("x-ms-ratelimit-remaining-subscription-reads") != strconv.Itoa(19-i) {
			t.Fatalf("request %d: %d %v", i, w.Code, w.Header())
		}
	}
	for range 5 {
		w := b.as("busy", "GET", "/subscriptions", "")
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"TooManyRequests"`) {
			t.Errorf("%d %s %s", w.Code, w.Header(), w.Body)
		}
	}
	if lines := p.heard(); len(lines) != 1 || lines[0].Code != patchbay.TooManyRequests || lines[0].CallerID != busy.ID {
		t.Errorf("%+v", lines)
	}
	// Writes are counted apart, other callers too, and the operator not at all.
	if w := b.as("busy", "PUT", testRG+"?api-version=2021-04-01", `{"location":"local"}`); w.Code != 200 || w.Header().Get("x-ms-ratelimit-remaining-subscription-writes") != "9" {
		t.Errorf("%d %s", w.Code, w.Header())
	}
	if w := b.as("calm", "GET", "/subscriptions", ""); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	if w := b.as("calm", "HEAD", testRG, ""); w.Header().Get("x-ms-ratelimit-remaining-subscription-reads") != "18" {
		t.Errorf("HEAD is no read: %v", w.Header())
	}
	for range 100 {
		if w := b.send("GET", "/subscriptions", ""); w.Code != 200 || w.Header().Get("x-ms-ratelimit-remaining-subscription-reads") != "" {
			t.Fatalf("%d", w.Code)
		}
	}
	now = now.Add(500 * time.Millisecond)
	if w := b.as("busy", "GET", "/subscriptions", ""); w.Code != 200 {
		t.Errorf("after half a second at two a second: %d", w.Code)
	}
}

func TestATenantIsLimitedAsAWhole(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b, p := withPeople(t, func(o *Options) {
		o.Limits = Limits{Reads: 100, TenantReads: 2}
		o.Clock = func() time.Time { return now }
	})
	for i := range 4 {
		p.give(p.caller(fmt.Sprint("c", i), testTenant), access.Reader, "/")
	}
	p.give(p.caller("other", otherTenant), access.Reader, "/")
	refused := 0
	for i := range 24 {
		if w := b.as(fmt.Sprint("c", i%4), "GET", "/subscriptions", ""); w.Code == http.StatusTooManyRequests {
			refused++
			if !strings.Contains(w.Body.String(), "tenant") {
				t.Errorf("%s", w.Body)
			}
		}
	}
	if refused != 4 {
		t.Errorf("%d of 24 are refused, with 20 in the bucket", refused)
	}
	if w := b.as("other", "GET", "/subscriptions", ""); w.Code != 200 {
		t.Errorf("another tenant pays for it: %d", w.Code)
	}
}

// A list that reads a lot is as many reads, whatever its reader may see.
func TestAListCountsAsWhatItReads(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b, p := withPeople(t, func(o *Options) {
		o.Limits = Limits{Reads: 2, TenantReads: 100}
		o.Clock = func() time.Time { return now }
	})
	for i := range 1000 {
		id := patchbay.ID(fmt.Sprintf("%s/providers/Microsoft.Cache/redis/r%d", otherRG, i))
		b.fake.resources[id.Key()] = patchbay.Resource{ID: id}
	}
	p.give(p.caller("curious", testTenant), access.Reader, testRG)
	const path = "/providers/Patchbay.Connector/resources?api-version=2026-11-01&$top=1000"
	if w := b.as("curious", "GET", path, ""); w.Code != 200 || strings.Contains(w.Body.String(), "/r0") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	left := func() string {
		return b.as("curious", "GET", "/subscriptions", "").Header().Get("x-ms-ratelimit-remaining-subscription-reads")
	}
	if got := left(); got != "8" { // of 20: the request, a read for every hundred records, and this one
		t.Errorf("%s reads are left", got)
	}
	b.as("curious", "GET", path, "")
	if w := b.as("curious", "GET", path, ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	// Of its tenant's thousand as well: three lists, three reads, and this one.
	p.give(p.caller("calm", testTenant), access.Reader, testRG)
	b.limiter.limits.Reads = 1000 // so that the tenant has less left
	if got := b.as("calm", "GET", "/subscriptions", "").Header().Get("x-ms-ratelimit-remaining-subscription-reads"); got != "976" {
		t.Errorf("the tenant has %s reads left", got)
	}
}

// Looking for what is named costs what it reads, whether or not it is found.
func TestALookupCountsAsWhatItReads(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	issuer, records := issuing(t)
	b, p := withPeople(t, func(o *Options) {
		o.Issuer, o.Limits = issuer, Limits{Reads: 2, TenantReads: 100}
		o.Clock = func() time.Time { return now }
	})
	for i := range 200 {
		who := patchbay.Principal{ID: fmt.Sprintf("50000000-0000-0000-0000-%012x", i), Tenant: otherTenant, Name: fmt.Sprint("p", i), Kind: patchbay.GroupPrincipal}
		if err := records.PutPrincipal(t.Context(), who, store.Absent); err != nil {
			t.Fatal(err)
		}
	}
	p.give(p.caller("curious", otherTenant), access.Owner, "/")
	left := func() string {
		return b.as("curious", "GET", "/subscriptions", "").Header().Get("x-ms-ratelimit-remaining-subscription-reads")
	}
	b.as("curious", "GET", "/v1.0/servicePrincipals", "")
	if got := left(); got != "16" { // of 20: one for the search, two for the principals, and this one
		t.Errorf("%s reads are left after a search", got)
	}
}

func TestStrangersAreLimitedByAddressAndNotLookedAt(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b, p := withPeople(t, func(o *Options) {
		o.Limits = Limits{Strangers: 1}
		o.Clock = func() time.Time { return now }
		o.TrustForwarded = true
	})
	from := func(address string) int {
		return b.send("GET", "/subscriptions", "", "Authorization", "Bearer guess", "X-Forwarded-For", "1.2.3.4, "+address).Code
	}
	for range 10 {
		if code := from("10.0.0.1"); code != 401 {
			t.Fatalf("%d", code)
		}
	}
	before := p.verified
	for range 50 {
		if code := from("10.0.0.1"); code != 429 {
			t.Fatalf("%d", code)
		}
	}
	if p.verified != before {
		t.Error("the tokens of a flood are looked at")
	}
	if code := from("10.0.0.2"); code != 401 {
		t.Errorf("another address: %d", code)
	}
	// The operator of the server is never locked out by others behind the same address.
	if w := b.send("GET", "/subscriptions", "", "X-Forwarded-For", "10.0.0.1"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	now = now.Add(time.Second)
	if code := from("10.0.0.1"); code != 401 {
		t.Errorf("a second later: %d", code)
	}
	// Who has one address of IPv6 has the 2^64 beside it.
	for i := range 11 {
		if code, want := from(fmt.Sprintf("2001:db8::%x", i+1)), 401; i < 10 && code != want || i == 10 && code != 429 {
			t.Errorf("address %d: %d", i, code)
		}
	}
}

func TestTheLimiterRemembersSoManyAndNoMore(t *testing.T) {
	l := newLimiter(Limits{})
	now := time.Now()
	for range 20 {
		l.take(testTenant, "busy", 1, now)
	}
	for i := range maxBuckets + 100 {
		l.take(strangers, fmt.Sprint(i), 1, now)
		l.take(otherTenant, fmt.Sprint(i), 1, now)
	}
	if n := l.buckets.Len(strangers); n != maxBuckets {
		t.Errorf("%d strangers are remembered", n)
	}
	// It would have all that it may send once more.
	if _, _, ok := l.take(testTenant, "busy", 1, now); ok {
		t.Error("a flood of others made a tenant's caller forgotten")
	}
}

func TestRefusalsAreWrittenAndFloodsAreSummedUp(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b, p := withPeople(t, func(o *Options) {
		o.Limits = unlimited
		o.Clock = func() time.Time { return now }
	})
	who := p.caller("curious", testTenant)
	p.give(who, access.Reader, "/")
	b.as("curious", "PUT", testPG+"?api-version=2026-11-01", "{}")
	lines := p.heard()
	if len(lines) != 1 {
		t.Fatalf("%+v", lines)
	}
	e := lines[0]
	if e.Caller != "curious" || e.CallerID != who.ID || e.Action != "Patchbay.Connector/resources/write" || e.Resource != testPG || e.Result != patchbay.AuditRefused ||
		e.Code != patchbay.Forbidden || e.Tenant != testTenant || e.Address != "192.0.2.1" || e.Request == "" || e.Time.IsZero() || e.Kind != patchbay.ServicePrincipal {
		t.Errorf("%+v", e)
	}
	b.as("curious", "GET", otherPG+"?api-version=2026-11-01", "")
	if lines := p.heard(); len(lines) != 1 || lines[0].Tenant != testTenant || lines[0].Detail != "answered as absent" || lines[0].Code != patchbay.Forbidden {
		t.Errorf("%+v", lines)
	}
	// A flood of tokens that are not good is ten lines, and one that counts the rest.
	for range 500 {
		b.send("GET", "/subscriptions", "", "Authorization", "Bearer guess")
	}
	if lines := p.heard(); len(lines) != strangerLines || lines[0].Code != patchbay.Unauthenticated || lines[0].Tenant != "" || lines[0].Caller != "unknown" {
		t.Errorf("%d lines: %+v", len(lines), lines[0])
	}
	now = now.Add(refusalWindow)
	b.send("GET", "/subscriptions", "", "Authorization", "Bearer guess")
	if lines := p.heard(); len(lines) != 2 || !strings.HasPrefix(lines[0].Detail, "490 more refusals like it") || lines[1].Detail != "" {
		t.Errorf("%+v", lines)
	}
	for range strangerLines + 4 {
		b.send("GET", "/subscriptions", "", "Authorization", "Bearer guess")
	}
	p.heard()
	b.flushRefusals(t.Context())
	if lines := p.heard(); len(lines) != 1 || !strings.HasPrefix(lines[0].Detail, "5 more") {
		t.Errorf("at a stop: %+v", lines)
	}
}

// obedient is an audit log that writes nothing for who has gone.
type obedient struct{ *people }

func (o obedient) AppendAudit(ctx context.Context, e patchbay.AuditEntry) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return o.people.AppendAudit(ctx, e)
}

func TestARefusalOfWhoHangsUpIsInTheLog(t *testing.T) {
	b, p := withPeople(t)
	b.opts.Audit = obedient{p}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://patchbay.test/subscriptions", nil).WithContext(ctx))
	if lines := p.heard(); len(lines) != 1 {
		t.Errorf("%+v", lines)
	}
}

func TestRefusalsOfATenantAreBoundedAndHideNoOthers(t *testing.T) {
	var f refusals
	now := time.Now()
	lines := 0
	for i := range 100 * groupTallies {
		lines += len(f.add(testTenant, fmt.Sprint(i%5000), callerLines, patchbay.AuditEntry{Time: now}))
	}
	if n := len(f.groups[testTenant].tallies); n > groupTallies+1 || lines > groupLines {
		t.Errorf("%d tallies, %d lines", n, lines)
	}
	for range callerLines {
		if len(f.add(otherTenant, "calm", callerLines, patchbay.AuditEntry{Time: now})) != 1 {
			t.Fatal("a refusal in another tenant is not told")
		}
	}
}

func TestAddressesByTheThousandFillNoLog(t *testing.T) {
	var f refusals
	now := time.Now()
	for range 2 { // the second minute is as the first
		lines := 0
		for i := range 100 * groupTallies {
			lines += len(f.add(strangers, fmt.Sprint("address ", i%5000), strangerLines, patchbay.AuditEntry{Time: now}))
		}
		lines += len(f.add(testTenant, "caller", callerLines, patchbay.AuditEntry{Time: now, Caller: "ann"}))
		now = now.Add(refusalWindow)
		sums := f.over(now)
		if most := groupLines + groupTallies + 2; lines+len(sums) > most {
			t.Errorf("%d lines in a minute, more than %d", lines+len(sums), most)
		}
		if len(f.groups) != 0 {
			t.Errorf("%d groups are left", len(f.groups))
		}
		n := 0
		for _, l := range sums {
			var more int
			if _, err := fmt.Sscanf(l.Detail, "%d more", &more); err != nil {
				t.Fatal(l.Detail)
			}
			n += more
		}
		if want := 100*groupTallies + 1; lines+n != want {
			t.Errorf("%d refusals are told of, want %d", lines+n, want)
		}
	}
}
