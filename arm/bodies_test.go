package arm

import (
	"bytes"
	"encoding/json"
	"testing"

	"patchbay.dev/patchbay"
)

// FuzzBodies: no body crashes a decoder under any version; what is refused is
// the caller's fault, and no complaint repeats a secret; what is taken is
// answered as JSON that can be sent again.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`{"properties":{"targetService":{"type":"AzureResource","id":"` + pg + `"},"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":"hunter2"}}}}`,
		`{"properties":{"parameters":{"actionName":"createOrUpdate","targetService":{"type":"SelfHostedServer","endpoint":"h:1"},"clientType":"go"}}}`,
		`{"location":"local","tags":{"a":"b","c":null},"properties":{"driver":"postgres","admin":{"password":"hunter2"},"x":[1,2.50,{"y":null}]}}`,
		`{"tenantId":"t","displayName":"d"}`, `{"fix":true}`, `{"name":"n","secret":"hunter2","revokeNow":true}`,
		`{"customizedKeys":{"A":"B"},"daprProperties":{"metadata":[{"name":"n","required":"true"}]}}`, `null`, `[`, "",
	} {
		for v := range Versions() {
			f.Add(v, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, n int, body []byte) {
		all := Versions()
		v := all[(n%len(all)+len(all))%len(all)]
		check := func(what string, err error) bool {
			if err == nil {
				return true
			}
			if s := Status(patchbay.CodeOf(err)); s != 400 && s != 413 {
				t.Errorf("%s: %v is %d", what, err, s)
			}
			return false
		}
		if spec, err := DecodePut(v, body); check("put", err) {
			again(t, v, Linker(v, patchbay.Connection{ID: pg, Spec: spec}), func(b []byte) error { _, err := DecodePut(v, b); return err })
		}
		if merge, err := DecodePatch(v, body); check("patch", err) {
			check("merge", merge(&patchbay.Spec{}))
		}
		if spec, err := DecodeDryrun(v, body); check("dryrun", err) {
			again(t, v, Dryrun(v, patchbay.Dryrun{ID: pg, Spec: spec}), func(b []byte) error { _, err := DecodeDryrun(v, b); return err })
		}
		if merge, err := DecodeDryrunPatch(v, body); check("dryrun patch", err) {
			check("merge", merge(&patchbay.Spec{}))
		}
		if r, _, err := DecodeResource(pg, body); check("resource", err) {
			again(t, v, Resource(r, nil), func(b []byte) error { _, _, err := DecodeResource(pg, b); return err })
			if merge, _, err := DecodeResourcePatch(body); check("resource patch", err) {
				check("merge", merge(&r))
			}
		}
		_, err := DecodeResourceGroup(rg, body)
		check("group", err)
		_, err = DecodeSubscription("s", body)
		check("subscription", err)
		_, err = DecodeConfigurationInfo(v, body)
		check("configurationInfo", err)
		_, err = DecodeRotate(body)
		check("rotate", err)
		_, err = DecodeValidate(body)
		check("validate", err)
	})
}

// again sends back what was answered.
func again(t *testing.T, v Version, answer any, decode func([]byte) error) {
	t.Helper()
	text, err := Marshal(answer)
	if err != nil || !json.Valid(text) {
		t.Errorf("%s: %v", text, err)
		return
	}
	// A string of the largest size can grow beyond what is taken when it is
	// written again with its escapes.
	if err := decode(text); err != nil && len(text) < maxString && !bytes.Contains(text, []byte(`\\`)) {
		t.Errorf("%s: what is answered is not taken: %v\n%s", v, err, text)
	}
}

func TestSystemDataSaysWhatMadeAThing(t *testing.T) {
	c := patchbay.Connection{ID: patchbay.ID(web).Linker("a"), CreatedBy: "ci", CreatedByType: "Application", ModifiedBy: "ann"}
	for what, answer := range map[string]any{
		"linker":   Linker(V20240401, c),
		"dryrun":   Dryrun(V20240401, patchbay.Dryrun{ID: pg, CreatedBy: "ci", CreatedByType: "Application", ModifiedBy: "ann"}),
		"resource": Resource(patchbay.Resource{ID: pg, CreatedBy: "ci", CreatedByType: "Application", ModifiedBy: "ann"}, nil),
	} {
		text, err := Marshal(answer)
		var got struct {
			SystemData struct{ CreatedBy, CreatedByType, LastModifiedBy, LastModifiedByType string }
		}
		if err != nil || json.Unmarshal(text, &got) != nil {
			t.Fatal(err)
		}
		// A record from before the type was kept is a person's.
		if d := got.SystemData; d.CreatedByType != "Application" || d.LastModifiedByType != "User" || d.CreatedBy != "ci" || d.LastModifiedBy != "ann" {
			t.Errorf("%s: %+v", what, d)
		}
	}
}
