package external

import (
	"context"
	"net/http"
	"net/url"
	"sort"
	"strings"
)

const storageVersion = "2021-08-06"

// probeStorage lists at most one container, queue or share of the account.
func probeStorage(ctx context.Context, s *session) error {
	key, err := s.rawKey()
	if err != nil {
		return err
	}
	r, err := s.request(ctx, http.MethodGet, s.facts["endpoint"], "/?comp=list&maxresults=1", nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-Ms-Date", httpDate())
	r.Header.Set("X-Ms-Version", storageVersion)
	account := s.facts["account"]
	// Eleven headers that a request without a body and conditions does not have.
	text := "GET" + strings.Repeat("\n", 12) +
		"x-ms-date:" + r.Header.Get("X-Ms-Date") + "\nx-ms-version:" + storageVersion + "\n" + canonical(account, r.URL)
	r.Header.Set("Authorization", "SharedKey "+account+":"+sum(key, text))
	return s.get(r, true)
}

// probeTable lists at most one table of the account.
func probeTable(ctx context.Context, s *session) error {
	key, err := s.rawKey()
	if err != nil {
		return err
	}
	base := s.facts["tableEndpoint"]
	if base == "" {
		base = s.facts["endpoint"]
	}
	r, err := s.request(ctx, http.MethodGet, base, "/Tables?$top=1", nil)
	if err != nil {
		return err
	}
	account := s.facts["account"]
	r.Header.Set("X-Ms-Date", httpDate())
	r.Header.Set("X-Ms-Version", storageVersion)
	r.Header.Set("Accept", "application/json;odata=nometadata")
	text := r.Header.Get("X-Ms-Date") + "\n/" + account + r.URL.EscapedPath()
	r.Header.Set("Authorization", "SharedKeyLite "+account+":"+sum(key, text))
	return s.get(r, true)
}

// canonical is a resource as a signature has it.
func canonical(account string, u *url.URL) string {
	text := "/" + account + u.EscapedPath()
	query := u.Query()
	var lines []string
	for name, values := range query {
		lines = append(lines, "\n"+strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	sort.Strings(lines)
	return text + strings.Join(lines, "")
}
