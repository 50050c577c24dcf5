package driver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// maxProperty bounds one text of a resource's properties, in bytes.
const maxProperty = 64 << 10

// DecodeProperties checks the properties of a resource by what its driver
// describes, and then reads them into a struct of the driver's. What is not
// described is an error, and so is what has another type or is not one of a
// field's words: InvalidArgument, and the message says what there is.
func DecodeProperties(d patchbay.Driver, properties json.RawMessage, into any) error {
	if len(bytes.TrimSpace(properties)) == 0 {
		properties = json.RawMessage("{}")
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(properties, &all); err != nil || all == nil {
		return invalid(d, "the properties of %s are not one JSON object", article(d.Noun))
	}
	if err := checkMembers(d, "", all); err != nil {
		return err
	}
	for _, f := range d.Properties {
		if f.Required && !strings.Contains(f.Name, ".") && empty(all[f.Name]) {
			return invalid(d, "%s needs the property %s: %s", article(d.Noun), f.Name, f.About)
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(properties))
	decoder.DisallowUnknownFields() // of what is described and the struct has not, too
	if err := decoder.Decode(into); err != nil {
		return invalid(d, "the properties of %s can't be read: %v", article(d.Noun), err)
	}
	return nil
}

func empty(value json.RawMessage) bool {
	return len(value) == 0 || slices.Contains([]string{"null", `""`, "[]", "{}"}, string(value))
}

// checkMembers checks the members of an object; prefix is "" or the object's own
// name with a dot.
func checkMembers(d patchbay.Driver, prefix string, members map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, full := members[name], prefix+name
		if at := slices.IndexFunc(d.Properties, func(f patchbay.Field) bool { return f.Name == full }); at >= 0 {
			if err := checkField(d, d.Properties[at], value); err != nil {
				return err
			}
			continue
		}
		inside := slices.ContainsFunc(d.Properties, func(f patchbay.Field) bool { return strings.HasPrefix(f.Name, full+".") })
		var object map[string]json.RawMessage
		switch {
		case !inside:
			return invalid(d, "%s has no property %.60q; %s", article(d.Noun), full, described(d.Properties))
		case json.Unmarshal(value, &object) != nil:
			return invalid(d, "the property %s of %s is an object", full, article(d.Noun))
		}
		if err := checkMembers(d, full+".", object); err != nil {
			return err
		}
	}
	return nil
}

func described(fields []patchbay.Field) string {
	if len(fields) == 0 {
		return "there are none"
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return "there are " + strings.Join(names, ", ")
}

func checkField(d patchbay.Driver, f patchbay.Field, value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	var texts []string
	var err error
	switch f.Type {
	case patchbay.BoolField:
		var b bool
		err = json.Unmarshal(value, &b)
	case patchbay.ListField:
		err = json.Unmarshal(value, &texts)
	case patchbay.MapField:
		var m map[string]string
		err = json.Unmarshal(value, &m)
		texts = slices.Collect(maps.Values(m))
	default:
		var text string
		err = json.Unmarshal(value, &text)
		texts = []string{text}
	}
	if err != nil {
		return invalid(d, "the property %s of %s is %s", f.Name, article(d.Noun), typeInWords(f.Type))
	}
	for _, text := range texts {
		switch {
		case len(text) > maxProperty:
			return invalid(d, "the property %s of %s is longer than %d bytes", f.Name, article(d.Noun), maxProperty)
		case strings.ContainsRune(text, 0):
			return invalid(d, "the property %s of %s has a zero byte", f.Name, article(d.Noun))
		case text != "" && len(f.Words) > 0 && !slices.Contains(f.Words, text):
			return invalid(d, "the property %s of %s is %.60q, and can be %s", f.Name, article(d.Noun), text, strings.Join(f.Words, ", "))
		}
	}
	return nil
}

func typeInWords(t patchbay.FieldType) string {
	switch t {
	case patchbay.BoolField:
		return "true or false"
	case patchbay.ListField:
		return "a list of texts"
	case patchbay.MapField:
		return "an object of texts"
	}
	return "a text"
}

// CheckAdmin checks an admin credential by what the driver describes: unknown
// parts, empty ones, and that one of its forms is there. Its errors show no
// value.
func CheckAdmin(d patchbay.Driver, admin Secrets) error {
	for _, name := range slices.Sorted(maps.Keys(admin)) {
		switch {
		case !slices.ContainsFunc(d.Admin, func(f patchbay.Field) bool { return f.Name == name }):
			return invalid(d, "the admin credential of %s has an unknown part %.60q; %s", article(d.Noun), name, described(d.Admin))
		case admin[name].IsZero():
			return invalid(d, "the admin credential's %s is empty", name)
		case strings.ContainsRune(admin[name].Reveal(), 0):
			return invalid(d, "the admin credential's %s has a zero byte", name)
		}
	}
	if len(d.AdminForms) == 0 {
		return nil
	}
	var forms []string
	for _, form := range d.AdminForms {
		if !slices.ContainsFunc(form, func(name string) bool { return admin[name].IsZero() }) {
			return nil
		}
		forms = append(forms, strings.Join(form, " and "))
	}
	return invalid(d, "the admin credential of %s needs %s", article(d.Noun), strings.Join(forms, ", or "))
}

// Words are a type's words as a [patchbay.Field] has them.
func Words[T ~string](all []T) []string {
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = string(one)
	}
	return words
}

// article is a noun with its article.
func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeioAEIO", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func invalid(d patchbay.Driver, format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, "%s", fmt.Sprintf(format, args...)).
		WithFix("patchbay driver show %s", d.Name)
}
