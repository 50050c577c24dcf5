package server

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/connector"
)

// A sweep is of all tenants: nobody but the operator sees what it did.
func TestASweepIsSeenByTheOperatorAlone(t *testing.T) {
	b, p := withPeople(t)
	p.give(p.caller("owner", testTenant), access.Owner, patchbay.RootScope)
	w := b.send("POST", "/providers/Patchbay.Connector/sweep?api-version=2026-11-01", "")
	at := w.Header().Get("Location")
	if w.Code != http.StatusAccepted || at == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	path := strings.TrimPrefix(at, "https://patchbay.test")
	if w := b.send("GET", path, ""); w.Code != http.StatusOK {
		t.Errorf("the operator gets %d %s", w.Code, w.Body)
	}
	cancel := strings.Replace(path, "?", "/cancel?", 1)
	for method, path := range map[string]string{"GET": path, "POST": cancel} {
		if w := b.as("owner", method, path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: the owner of a tenant gets %d %s", method, w.Code, w.Body)
		}
	}
	if w := b.as("owner", "GET", "/providers/Patchbay.Connector/operations?api-version=2026-11-01", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "sweep") {
		t.Errorf("the owner's list: %d %s", w.Code, w.Body)
	}
}

// fleeting has somebody delete each group right after it is read.
type fleeting struct{ connector.API }

func (f fleeting) ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	g, err := f.API.ResourceGroup(ctx, id)
	if err == nil {
		err = f.DeleteResourceGroup(ctx, id)
	}
	return g, err
}

func TestAGroupThatIsDeletedMeanwhileStaysDeleted(t *testing.T) {
	b := newBench(t)
	b.api = fleeting{b.fake}
	w := b.send("PATCH", testRG+"?api-version=2021-04-01", `{"tags":{"a":"b"}}`)
	if _, err := b.fake.ResourceGroup(t.Context(), testRG); w.Code != http.StatusNotFound || patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("%d %s; afterwards %v", w.Code, w.Body, err)
	}
}
