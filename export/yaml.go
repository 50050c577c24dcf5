package export

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
)

// yaml is a text as a scalar: what Go escapes, YAML's double quotes read as the same
// character, and it has no other meaning.
func yaml(s string) string { return strconv.Quote(s) }

// bindingRoot is where the files of an override are mounted.
const bindingRoot = "/bindings"

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// compose is an override file. A dollar sign begins a variable everywhere in one,
// unless it is doubled.
func compose(c Connection) ([]byte, []string, error) {
	service := c.Source
	if i := strings.LastIndexByte(service, '/'); i >= 0 {
		service = service[i+1:]
	}
	if service == "" {
		service = c.Name
	}
	if !serviceName.MatchString(service) {
		return nil, nil, patchbay.Errorf(patchbay.InvalidArgument, "%q can't be the name of a service", service)
	}
	literal := func(s string) string { return yaml(strings.ReplaceAll(s, "$", "$$")) }
	variables, files := c.parts()
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  %s:\n", yaml(service))
	if len(variables) > 0 || len(files) > 0 {
		b.WriteString("    environment:\n")
	}
	for _, s := range variables {
		if s.Name == "" || strings.ContainsAny(s.Name, "=\x00$") {
			return nil, nil, refuse(s.Name, "is none that a service's environment can have")
		}
		fmt.Fprintf(&b, "      %s: %s\n", yaml(s.Name), literal(s.Value.Reveal()))
	}
	if len(files) > 0 {
		fmt.Fprintf(&b, "      %s: %s\n    configs:\n", yaml("SERVICE_BINDING_ROOT"), yaml(bindingRoot))
	}
	for _, s := range files {
		if !entryName.MatchString(s.Name) {
			return nil, nil, refuse(s.Name, "is none that a file can have")
		}
		fmt.Fprintf(&b, "      - source: %s\n        target: %s\n        mode: 0400\n", yaml(c.Name+"-"+s.Name), yaml(bindingRoot+"/"+c.Name+"/"+s.Name))
	}
	if len(files) > 0 {
		b.WriteString("configs:\n")
	}
	for _, s := range files {
		fmt.Fprintf(&b, "  %s:\n    content: %s\n", yaml(c.Name+"-"+s.Name), literal(s.Value.Reveal()))
	}
	return []byte(b.String()), nil, nil
}

// keyName is what a key of a Secret may be.
var keyName = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

const maxSecret = 1 << 20 // bytes of all values

// kubernetes is a Secret with the variables, named as Azure names one, and another
// one with the files, of the type that servicebinding.io has for it.
func kubernetes(c Connection) ([]byte, []string, error) {
	name := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(c.Name))
	if name == "" {
		return nil, nil, patchbay.Errorf(patchbay.InvalidArgument, "the connection name %q has nothing in it that a Secret's name may have", c.Name)
	}
	var b strings.Builder
	variables, files := c.parts()
	for _, secret := range []struct {
		suffix, typ string
		data        []patchbay.Setting
	}{{"secret", "Opaque", variables}, {"binding", bindingType(files), files}} {
		if len(secret.data) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: sc-%s-%s\ntype: %s\nstringData:\n", name, secret.suffix, yaml(secret.typ))
		size := 0
		for _, s := range secret.data {
			if !keyName.MatchString(s.Name) || s.Name == "." || strings.HasPrefix(s.Name, "..") {
				return nil, nil, refuse(s.Name, "is none that a key of a Secret can have: letters, digits, dots, dashes and underscores")
			}
			value := s.Value.Reveal()
			if size += len(value); size > maxSecret {
				return nil, nil, refuse(s.Name, "makes the Secret larger than the %d bytes that one may have", maxSecret)
			}
			fmt.Fprintf(&b, "  %s: %s\n", yaml(s.Name), yaml(value))
		}
	}
	return []byte(b.String()), nil, nil
}

var plainType = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?$`)

// bindingType is the type of a Secret that is a binding.
func bindingType(files []patchbay.Setting) string {
	for _, s := range files {
		if typ := s.Value.Reveal(); s.Name == "type" && plainType.MatchString(typ) {
			return "servicebinding.io/" + typ
		}
	}
	return "Opaque"
}
