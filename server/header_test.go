package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

func TestPreferences(t *testing.T) {
	for text, want := range map[string]preference{
		"":                                   {},
		"respond-async":                      {async: true},
		" Respond-Async ; x=y":               {async: true},
		"return=minimal, respond-async":      {async: true},
		"wait=5":                             {waiting: true, wait: 5 * time.Second},
		`WAIT = "7", wait=9`:                 {waiting: true, wait: 7 * time.Second},
		"respond-async, wait=10":             {async: true, waiting: true, wait: 10 * time.Second},
		"wait=99999":                         {waiting: true, wait: maxWait},
		"wait=-1":                            {},
		"wait":                               {},
		"wait=soon, respond-async=1":         {async: true},
		"xrespond-async":                     {},
		"wait=1" + strings.Repeat(",x", 999): {},
	} {
		if got := preferenceOf(http.Header{"Prefer": {text}}); got != want {
			t.Errorf("%.40q: got %+v, want %+v", text, got, want)
		}
	}
	if got := preferenceOf(http.Header{"Prefer": {"respond-async", "wait=1"}}); !got.async || got.wait != time.Second {
		t.Errorf("two headers: %+v", got)
	}
}

// FuzzHeaders: no header crashes what reads it, and what it is understood as
// stays within what the server takes.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"respond-async, wait=3", `"etag-1"`, "*", "W/\"x\"", `"a", "b"`, "wait=\"\x00\"", ",,;;==", "https, http", "\xff", strings.Repeat("a", 3000)} {
		f.Add(s, s)
	}
	s := &Server{opts: Options{TrustForwarded: true}}
	f.Fuzz(func(t *testing.T, a, b string) {
		r := httptest.NewRequest(http.MethodPut, "https://patchbay.test/", nil)
		for _, name := range []string{"Prefer", "If-Match", "X-Forwarded-Proto", "X-Forwarded-Host", "x-ms-client-request-id"} {
			r.Header[http.CanonicalHeaderKey(name)] = []string{a, b}
		}
		if p := preferenceOf(r.Header); p.wait < 0 || p.wait > maxWait || p.wait > 0 && !p.waiting {
			t.Errorf("%q %q: %+v", a, b, p)
		}
		x := &exchange{server: s, r: r}
		tag, err := x.ifMatch()
		switch {
		case err != nil && patchbay.CodeOf(err) != patchbay.InvalidArgument:
			t.Errorf("%q: %v", a, err)
		case err == nil && tag != "" && tag != "*" && (len(tag) > 202 || tag[0] != '"'):
			t.Errorf("%q is the ETag %q", a, tag)
		}
		if base := x.base(); !strings.HasPrefix(base, "https://") && !strings.HasPrefix(base, "http://") {
			t.Errorf("%q: URLs begin with %q", a, base)
		}
		if id := headerID(r, "x-ms-client-request-id"); strings.ContainsAny(id, "\r\n\x00 ") || len(id) > 128 {
			t.Errorf("%q is echoed", id)
		}
	})
}
