package connector

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// A scope names a part of the source. Where the type has no parts nobody would read
// it, so it is refused, by whatever asks for it.
func TestAScopeThatNothingReadsIsRefused(t *testing.T) {
	w := newWorld(t)
	local := w.group.Location("local").Local("dev")
	spec := w.spec()
	spec.Scope = "sidecar"
	for id, says := range map[patchbay.ID]string{w.linker: "web has no parts", local: "a local connection has no source"} {
		_, err := w.Put(t.Context(), PutRequest{ID: id, Spec: spec, Caller: w.caller})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("PUT of %s = %v", id, err)
		}
		p, err := w.Preview(t.Context(), PutRequest{ID: id, Spec: spec, Caller: w.caller})
		if err != nil || len(p.Problems) != 1 || p.Problems[0].Code != patchbay.InvalidArgument {
			t.Errorf("preview of %s = %+v, %v", id, p, err)
		}
	}
	if _, err := w.Get(t.Context(), w.linker); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("GET = %v", err)
	}
}

// Azure's clients send a scope for the types that Azure divides; az update repeats
// the one of its GET.
func TestAScopeOfATypeThatHasPartsIsKept(t *testing.T) {
	w := newWorld(t)
	for typ, scope := range map[string]string{"Microsoft.App/containerApps": "sidecar", "microsoft.containerservice/managedclusters": "default"} {
		id := w.group.Child("providers/"+typ, "parted")
		w.register(patchbay.Resource{ID: id, Driver: "memoryApp"}, nil)
		w.linker = id.Linker("orders")
		spec := w.spec()
		spec.Scope = scope
		for range 2 {
			w.want(w.put(spec), patchbay.Done, "")
		}
		if c := mustGet(t, w); c.Spec.Scope != scope || !strings.Contains(c.Message, "the part "+scope+" on parted was not looked at") {
			t.Errorf("%s: %+v", typ, c)
		}
		for _, bad := range []string{"Side Car", "a\nb", strings.Repeat("x", 64)} {
			spec.Scope = bad
			if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
				t.Errorf("PUT with scope %q = %v", bad, err)
			}
		}
	}
}

// az update of a cluster's connection says default where its user said nothing: the
// connection stays where it is, and does not move for another namespace either.
func TestTheNamespaceOfAClustersConnectionStays(t *testing.T) {
	for _, part := range []string{"", "namespace"} {
		w := newWorld(t)
		w.part = part
		w.restart()
		id := w.group.Child("providers/Microsoft.ContainerService/managedClusters", "fleet")
		w.register(patchbay.Resource{ID: id, Driver: "memoryApp"}, nil)
		w.linker = id.Linker("orders")
		spec := w.spec()
		spec.Scope = "shop"
		w.want(w.put(spec), patchbay.Done, "")
		spec.Scope, spec.Access = "default", patchbay.Reader
		w.want(w.put(spec), patchbay.Done, "")
		if c := mustGet(t, w); c.Spec.Scope != "shop" || c.Spec.Access != patchbay.Reader {
			t.Errorf("part %q: after an update %+v", part, c.Spec)
		}
	}
}

// An earlier release took any scope: what it made can still be changed, rotated and
// repaired.
func TestAConnectionThatHasAScopeKeepsIt(t *testing.T) {
	w := newWorld(t)
	w.planned = func(op *saga.Op, output []byte) []byte {
		p := w.whole(op, output)
		p.Spec.Scope = "sidecar"
		output, err := w.sealPlan(op, p)
		if err != nil {
			t.Error(err)
		}
		return output
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.planned = nil
	spec := mustGet(t, w).Spec
	spec.Access = patchbay.Reader
	w.want(w.put(spec), patchbay.Done, "")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	if c := mustGet(t, w); c.Spec.Scope != "sidecar" || !w.validated(true).Available() {
		t.Errorf("%+v", c)
	}
	spec.Scope = ""
	w.want(w.put(spec), patchbay.Done, "")
	if c := mustGet(t, w); c.Spec.Scope != "" || c.Message != "" {
		t.Errorf("%+v", c)
	}
}

func TestAPreviewNamesThePartThatItIsOf(t *testing.T) {
	w := newWorld(t)
	w.part = "container"
	w.restart()
	spec := w.spec()
	spec.Scope = "sidecar"
	p, err := w.Preview(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
	if err != nil || len(p.Problems) > 0 {
		t.Fatalf("%+v, %v", p.Problems, err)
	}
	for _, s := range p.Steps {
		if s.Name == stepSettings && strings.HasSuffix(s.Text, "to the container sidecar of web") {
			return
		}
	}
	t.Errorf("%+v", p.Steps)
}
