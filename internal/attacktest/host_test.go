package attacktest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// A source on somebody else's machine would be written there with that somebody's key:
// whoever may not use a host is told no more of it than of one that is not there.
func TestAHostOfAnotherTenantIsNotThere(t *testing.T) {
	s := start(t)
	ours, theirs := s.tenant("ours"), s.tenant("theirs")
	theirHost, _ := theirs.source("theirs") // any resource: what it is, is not to be learned either
	ourHost, _ := ours.source("ours")
	source := ours.group + "/providers/Microsoft.Web/sites/web"
	register := func(c caller, host string) (int, string) {
		status, answer := s.call(c.token, "PUT", source, own, map[string]any{"properties": map[string]any{
			"driver": "envfile", "endpoint": filepath.Join(t.TempDir(), "web.env"), "host": host,
		}})
		return status, fmt.Sprint(answer)
	}
	owner, contributor := ours.with("Owner", ""), ours.with("Contributor", "")
	status, said := register(owner, theirHost)
	absentStatus, absent := register(owner, theirHost+"x")
	if status != http.StatusNotFound || status != absentStatus || strings.ReplaceAll(absent, theirHost+"x", theirHost) != said {
		t.Errorf("another tenant's host is answered %d %s, and one that is not there %d %s", status, said, absentStatus, absent)
	}
	if status, said := register(contributor, ourHost); status != http.StatusForbidden || !strings.Contains(said, "Patchbay.Connector/hosts/use/action") {
		t.Errorf("who may not use a host is answered %d %s", status, said)
	}
	if status, _ := s.call(owner.token, "GET", source, own, nil); status != http.StatusNotFound {
		t.Errorf("the source is registered all the same: %d", status)
	}
	for c, want := range map[caller]int{owner: http.StatusNotFound, contributor: http.StatusNotFound} {
		if status, answer := s.call(c.token, "POST", theirHost+"/providers/Patchbay.Connector/check", own, nil); status != want {
			t.Errorf("a check of another tenant's is answered %d %v", status, answer)
		}
	}
	if status, answer := s.call(contributor.token, "POST", ourHost+"/providers/Patchbay.Connector/check", own, nil); status != http.StatusForbidden {
		t.Errorf("a check by who may not use the host is answered %d %v", status, answer)
	}
}
