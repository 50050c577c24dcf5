package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"patchbay.dev/patchbay/access"
)

// pages walks a list, one record at a time, as a caller: what it is shown, and
// every token that it is given.
func (b *bench) pages(t *testing.T, as, target string) (bodies, tokens []string) {
	t.Helper()
	for range 50 {
		w := b.as(as, "GET", target, "")
		if w.Code != http.StatusOK {
			t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
		}
		bodies = append(bodies, w.Body.String())
		var list struct{ NextLink string }
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatal(err)
		}
		if list.NextLink == "" {
			return bodies, tokens
		}
		u, err := url.Parse(list.NextLink)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, u.Query().Get("$skipToken"))
		target = u.RequestURI()
	}
	t.Fatal("the list does not end")
	return nil, nil
}

func TestASkipTokenSaysNothingOfWhatIsHidden(t *testing.T) {
	b, p := withPeople(t, func(o *Options) { o.Limits = unlimited })
	settle(t, b)
	p.give(p.caller("reader", testTenant), access.Reader, testRG)
	for _, list := range []string{"/providers/Patchbay.Connector/resources", "/providers/Patchbay.Connector/operations", "/subscriptions/" + testSub + "/resources"} {
		bodies, tokens := b.pages(t, "reader", list+"?api-version=2026-11-01&$top=1")
		shown := strings.ToLower(strings.Join(bodies, "\n"))
		if len(tokens) == 0 || !strings.Contains(shown, strings.ToLower(testRG)) {
			t.Fatalf("%s: %d tokens, and %s", list, len(tokens), shown)
		}
		for _, token := range tokens {
			plain, _ := base64.RawURLEncoding.DecodeString(token)
			shown += strings.ToLower(token + string(plain))
		}
		for _, hidden := range []string{otherSub, sideRG, "op-3", "op-5"} {
			if strings.Contains(shown, strings.ToLower(hidden)) {
				t.Errorf("%s shows %s to who may not know of it: %s", list, hidden, shown)
			}
		}
	}
}

func TestASkipTokenIsItsCallersAndItsLists(t *testing.T) {
	b, p := withPeople(t, func(o *Options) { o.Limits = unlimited })
	settle(t, b)
	p.give(p.caller("one", testTenant), access.Reader, testRG)
	p.give(p.caller("two", testTenant), access.Reader, testRG)
	const resources, operations = "/providers/Patchbay.Connector/resources?api-version=2026-11-01&$top=1", "/providers/Patchbay.Connector/operations?api-version=2026-11-01&$top=1"
	const ofSub, ofGroup = "/subscriptions/" + testSub + "/resources?$top=1", testRG + "/resources?$top=1"
	// Two tenants' callers may have one id, which an issuer of each gave them.
	namesake := p.caller("namesake", otherTenant)
	p.give(namesake, access.Reader, "/")
	p.mu.Lock()
	namesake.ID = p.subjects["token-of-one"].ID
	p.subjects["token-of-namesake"] = namesake
	p.mu.Unlock()
	_, tokens := b.pages(t, "one", resources)
	good := tokens[0]
	_, tokens = b.pages(t, "one", ofSub)
	goodOfSub := tokens[0]
	for _, c := range []struct {
		as, list, token string
		code            int
	}{
		{"one", resources, good, 200},
		{"two", resources, good, 400},
		{"one", operations, good, 400},
		{"one", resources, good[:len(good)-4], 400},
		{"namesake", resources, good, 400},
		{"one", ofSub, goodOfSub, 200},
		{"one", strings.ToUpper(ofSub[:40]) + ofSub[40:], goodOfSub, 200},
		{"one", ofGroup, goodOfSub, 400}, // the same route, of another scope
		{"one", ofSub, good, 400},
		{"one", resources, "AAAA", 400},
		{"one", resources, otherPG, 400},
	} {
		if w := b.as(c.as, "GET", c.list+"&$skipToken="+url.QueryEscape(c.token), ""); w.Code != c.code {
			t.Errorf("%s on %s with %.20s: %d %s", c.as, c.list, c.token, w.Code, w.Body)
		}
	}
}
