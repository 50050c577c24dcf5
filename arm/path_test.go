package arm

import (
	"testing"
)

const (
	rg  = "/subscriptions/s1/resourceGroups/rg"
	web = rg + "/providers/Microsoft.Web/sites/web"
)

func TestAPatternThatIsNotUnderstoodIsRefused(t *testing.T) {
	for pattern, actions := range map[string][]string{
		"{planet}/x": nil, "{group|planet}/x": nil, "/x/{planet}": nil, // nothing is known of them
		"{source}/{name}": nil, "/{name}": nil, "/x/{role}/{name}": nil, // a name is one of a collection
		"/x/{action}": nil, "/x": {"start"}, // actions without their place, and a place without actions
	} {
		if err := new(Router).Add("x", pattern, actions...); err == nil {
			t.Errorf("%s with %q is taken", pattern, actions)
		}
	}
}

func TestWhatSaysMoreIsTriedFirst(t *testing.T) {
	var r Router
	for _, pattern := range []string{"{resource}", "{site}/config/{config}", "{id}/providers/Microsoft.Web/{config}", "{id}/providers/{namespace}/{config}"} {
		if err := r.Add(Route(pattern), pattern); err != nil {
			t.Fatal(err)
		}
	}
	for path, route := range map[string]Route{
		web + "/config/x": "{site}/config/{config}", web + "/other/x": "{resource}",
		rg + "/providers/Microsoft.Web/x": "{id}/providers/Microsoft.Web/{config}", rg + "/providers/Microsoft.Wob/x": "{id}/providers/{namespace}/{config}",
	} {
		if p, err := r.Parse(path); err != nil || p.Route != route {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
	}
}
