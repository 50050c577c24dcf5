package drivertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// describes checks that what a driver says of itself is whole, and that it is what
// the driver takes: open is its Open, and c a registration that it opens.
func describes(t *testing.T, d patchbay.Driver, c driver.Config, open func(context.Context, driver.Config) error) {
	for what, text := range map[string]string{"name": d.Name, "title": d.Title, "noun": d.Noun, "about": d.About, "endpoint": d.Endpoint.About} {
		if strings.TrimSpace(text) == "" {
			t.Errorf("it has no %s", what)
		}
	}
	if len(d.Types) == 0 {
		t.Error("it serves no type")
	}
	names, flags := map[string]bool{}, map[string]bool{}
	endpoint := d.Endpoint.Field
	endpoint.Name = "endpoint"
	for _, f := range append(append([]patchbay.Field{endpoint}, d.Properties...), d.Admin...) {
		switch {
		case f.Name == "" || f.About == "" || f.Type == "":
			t.Errorf("a field has no name, type or words: %+v", f)
		case names[f.Name]:
			t.Errorf("two fields are called %s", f.Name)
		case flags[f.Word()]:
			t.Errorf("two fields have the flag --%s", f.Word())
		case strings.Contains(f.About, "\n"):
			t.Errorf("what is said of %s is more than a line", f.Name)
		case f.Default != "" && f.Required:
			t.Errorf("%s is required, and has a default", f.Name)
		}
		names[f.Name], flags[f.Word()] = true, true
	}
	for _, f := range d.Properties {
		if f.Secret {
			t.Errorf("the property %s is a secret: those are parts of the admin credential", f.Name)
		}
	}
	for _, form := range d.AdminForms {
		for _, name := range form {
			if _, ok := fieldOf(d.Admin, name); !ok {
				t.Errorf("the admin credential has no part %s", name)
			}
		}
	}

	refused := func(what string, c driver.Config) {
		if err := open(t.Context(), c); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("it opens with %s: %v", what, err)
		}
	}
	refused("an unknown property", with(t, c, "nobody's", "x"))
	for _, f := range d.Properties {
		wrong := any(true)
		if f.Type == patchbay.BoolField {
			wrong = "true"
		}
		refused("the property "+f.Name+" of another type", with(t, c, f.Name, wrong))
		switch {
		case len(f.Words) > 0:
			refused("a word that "+f.Name+" has not", with(t, c, f.Name, "nobody's"))
		case f.Required:
			refused("no "+f.Name, with(t, c, f.Name, nil))
		}
		// What is described is read: another error than that nobody knows it.
		value := map[patchbay.FieldType]any{
			patchbay.BoolField: false, patchbay.ListField: []string{}, patchbay.MapField: map[string]string{},
		}[f.Type]
		if value == nil {
			value = ""
		}
		if err := open(t.Context(), with(t, c, f.Name, value)); err != nil && strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%s is described, and nothing reads it: %v", f.Name, err)
		}
	}
	unknown := c
	unknown.Admin = driver.Secrets{"nobodys": patchbay.NewSecret("x")}
	refused("an unknown part of an admin credential", unknown)
	if len(d.AdminForms) > 0 {
		none := c
		none.Admin = nil
		refused("no admin credential", none)
	}
}

func fieldOf(fields []patchbay.Field, name string) (patchbay.Field, bool) {
	for _, f := range fields {
		if f.Name == name {
			return f, true
		}
	}
	return patchbay.Field{}, false
}

// with is c with a property set; nil takes it out.
func with(t *testing.T, c driver.Config, name string, value any) driver.Config {
	t.Helper()
	properties := map[string]any{}
	if len(c.Properties) > 0 {
		if err := json.Unmarshal(c.Properties, &properties); err != nil {
			t.Fatal(err)
		}
	}
	in := properties
	for object, rest, ok := strings.Cut(name, "."); ok; object, rest, ok = strings.Cut(name, ".") {
		inner, _ := in[object].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
		}
		in[object], in, name = inner, inner, rest
	}
	if in[name] = value; value == nil {
		delete(in, name)
	}
	var err error
	if c.Properties, err = json.Marshal(properties); err != nil {
		t.Fatal(err)
	}
	return c
}
