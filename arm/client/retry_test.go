package client

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzAnswerHeaders: whatever a server answers, the client waits a bounded time
// before it asks again, and takes no operation's id that reaches elsewhere.
func FuzzAnswerHeaders(f *testing.F) {
	for _, s := range []string{"1", "0", "-1", "3600", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT", "\x00",
		"https://h/subscriptions/s/providers/Microsoft.ServiceLinker/locations/l/operationStatuses/op-1*ABC?api-version=x", "::", "//", "%zz", "/*"} {
		f.Add(s, 503, 1)
	}
	f.Fuzz(func(t *testing.T, s string, status, try int) {
		h := http.Header{"Retry-After": {s}, "Azure-Asyncoperation": {s}, "Location": {s}}
		pause, again := retryAfter(http.MethodPut, status, h, try)
		if again && (pause > maxRetryAfter || try >= clientTries || status != 429 && status != 503) {
			t.Errorf("%q, %d, try %d: again in %s", s, status, try, pause)
		}
		if id := operationOf(h); strings.Contains(id, "/") || id != "" && !strings.Contains(mustPath(s), id) {
			t.Errorf("%q names the operation %q", s, id)
		}
	})
}

func mustPath(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Path
}
