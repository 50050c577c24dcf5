package kubernetes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	machinery "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"patchbay.dev/patchbay"
)

// TestAWatchGoesOnWhereItWas: servers end watches after some time, and forget what was
// long ago. No server does either while a test waits, so this one says what they say.
func TestAWatchGoesOnWhereItWas(t *testing.T) {
	event := func(kind, name, version string) string {
		return fmt.Sprintf(`{"type":%q,"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":%q,"resourceVersion":%q}}}`+"\n", kind, name, version)
	}
	const gone = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}` + "\n"
	answers := []string{
		event("ADDED", "web", "5") + event("BOOKMARK", "", "9"),
		event("MODIFIED", "web", "12"),
		gone,
		event("ADDED", "web", "30"),
		"", // and without a word
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
			t.Errorf("it asks for %s", r.Header.Get("Accept"))
		}
		asked = append(asked, r.URL.Query().Get("resourceVersion"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answers[len(asked)-1]))
	}))
	defer server.Close()
	c, err := connect(&rest.Config{Host: server.URL}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	r := &reach{cluster: c}
	var told []string
	err = r.following(t.Context(), c.apps, "apps", "deployments", func(o *watched) {
		if o == nil {
			told = append(told, "all")
			return
		}
		told = append(told, o.Name+" "+o.ResourceVersion)
	})
	if patchbay.CodeOf(err) != patchbay.SettingsUnreadable || !patchbay.IsTransient(err) {
		t.Errorf("it ends with %v", err)
	}
	if want := []string{"", "9", "12", "", "30"}; !slices.Equal(asked, want) {
		t.Errorf("it asks from %q, want %q", asked, want)
	}
	if want := []string{"all", "web 5", "web 12", "all", "web 30"}; !slices.Equal(told, want) {
		t.Errorf("it tells %q, want %q", told, want)
	}
}

// TestTheRightToWatchIsNamed, together with those that a connection takes.
func TestTheRightToWatchIsNamed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"deployments.apps is forbidden: User \"patchbay\" cannot watch resource \"deployments\""}`))
	}))
	defer server.Close()
	c, err := connect(&rest.Config{Host: server.URL}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	s := &source{name: "web", kind: kinds["Deployment"]}
	s.reach = reach{cluster: c, id: "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/web", rights: s.needs()}
	err = s.Watch(t.Context(), func() { t.Error("it is told") })
	e := patchbay.AsError(err)
	if e == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Message, "watch ") || !strings.Contains(e.Fix, `"verbs":["get","patch","watch"]`) {
		t.Errorf("Watch = %v, fix %s", err, e.Fix)
	}
}

// TestWhichObjectsAreASources: by name or labels, also those that have lost them. What a
// CronJob did last is no change of it.
func TestWhichObjectsAreASources(t *testing.T) {
	object := func(uid, name string, generation int64, set map[string]string, deleted bool) watched {
		w := watched{deleted: deleted}
		w.Name, w.UID, w.Generation, w.Labels = name, machinery.UID(uid), generation, set
		return w
	}
	web := map[string]string{"part": "web"}
	for what, c := range map[string]struct {
		s    source
		seen []watched
		want []bool
	}{
		"by its name": {
			source{kind: kinds["Deployment"], name: "web"},
			[]watched{object("a", "web", 1, nil, false), object("b", "web2", 1, web, false), object("a", "web", 1, nil, false), object("a", "web", 1, nil, true)},
			[]bool{true, false, true, true},
		},
		"by labels": {
			source{kind: kinds["Deployment"], selector: "part=web"},
			[]watched{object("a", "one", 1, web, false), object("b", "two", 1, nil, false), object("a", "one", 1, nil, false), object("b", "two", 1, web, false)},
			[]bool{true, false, true, true},
		},
		"a CronJob": {
			source{kind: kinds["CronJob"], name: "web"},
			[]watched{
				object("a", "web", 1, nil, false), object("a", "web", 1, nil, false), object("a", "web", 2, nil, false),
				object("a", "web", 2, nil, true), object("c", "web", 2, nil, false),
			},
			[]bool{true, false, true, true, true},
		},
	} {
		match := c.s.workloadMatch()
		var got []bool
		for _, one := range c.seen {
			got = append(got, match(one))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
