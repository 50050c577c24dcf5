package settings

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
)

// Service is what is known of a service that runs somewhere.
type Service struct {
	Kind  string // "" when no kind is for it
	Title string
	By    string // what it was known by: image postgres
	Port  uint16 // what it answers on, unless it says otherwise
	// Admin are the sets of parts of an administrator's credential, and Login of one
	// that is handed out as it is, by the names that drivers have for them.
	Admin, Login []Kept
	endpoint     string
}

// Kept is a credential, as an image keeps it.
type Kept map[string]KeptPart

// KeptPart says where a part is: the first of the variables that is there, a file that
// one names, or a value otherwise.
type KeptPart struct {
	Env   []string `yaml:"env"`
	Files []string `yaml:"files"`
	Value string   `yaml:"value"`
}

// In reports whether all parts are among the variables.
func (k Kept) In(variables []string) bool {
	for _, part := range k {
		there := func(name string) bool { return slices.Contains(variables, name) }
		if part.Value == "" && !slices.ContainsFunc(part.Env, there) && !slices.ContainsFunc(part.Files, there) {
			return false
		}
	}
	return true
}

// Endpoint is that of one that answers at an address, host:port.
func (s Service) Endpoint(address string) string {
	if s.endpoint == "" {
		return address
	}
	return strings.ReplaceAll(s.endpoint, "{address}", address)
}

type (
	foundFile struct {
		Images   []string `yaml:"images"`
		Units    []string `yaml:"units"`
		Ports    []uint16 `yaml:"ports"`
		Port     uint16   `yaml:"port"`
		Endpoint string   `yaml:"endpoint"`
		Admin    []Kept   `yaml:"admin"`
		Login    []Kept   `yaml:"login"`
	}
	strangerFile struct {
		Title string    `yaml:"title"`
		Found foundFile `yaml:"found"`
	}
	known struct {
		foundFile
		kind, title string
	}
)

// services are all that can be known, by kind, and strangers last.
var services = sync.OnceValue(func() []known {
	var all []known
	for _, name := range slices.Sorted(maps.Keys(table())) {
		if k := table()[name]; k.found != nil {
			all = append(all, known{*k.found, name, k.title})
		}
	}
	var shared sharedFile
	if err := read("table/shared.yaml", &shared); err != nil {
		panic(err)
	}
	for _, s := range shared.Strangers {
		all = append(all, known{s.Found, "", s.Title})
	}
	for _, k := range all {
		if err := k.check(); err != nil {
			panic(fmt.Errorf("settings/table: %s: %w", k.title, err))
		}
	}
	return all
})

func (f foundFile) check() error {
	for _, pattern := range slices.Concat(f.Images, f.Units) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%s: %w", pattern, err)
		}
	}
	if f.port() == 0 {
		return fmt.Errorf("no port")
	}
	return nil
}

func (f foundFile) port() uint16 {
	if f.Port != 0 || len(f.Ports) == 0 {
		return f.Port
	}
	return f.Ports[0]
}

// Recognize says what kind of service it is that is made of an image, run by a unit or
// listens on ports; each may be unknown. The image and the unit say more than a port
// does, which anything may listen on.
func Recognize(image, unit string, ports []uint16) (Service, bool) {
	image = repository(image)
	by := func(what string, fits func(known) (uint16, bool)) (Service, bool) {
		for _, k := range services() {
			if port, ok := fits(k); ok {
				return Service{Kind: k.kind, Title: k.title, By: what, Port: port, Admin: k.Admin, Login: k.Login, endpoint: k.foundFile.Endpoint}, true
			}
		}
		return Service{}, false
	}
	if image != "" {
		s, ok := by("image "+image, func(k known) (uint16, bool) {
			return k.port(), slices.ContainsFunc(k.Images, func(pattern string) bool { return endsLike(image, pattern) })
		})
		if ok {
			return s, true
		}
	}
	if unit != "" {
		s, ok := by("unit "+unit, func(k known) (uint16, bool) {
			return k.port(), slices.ContainsFunc(k.Units, func(pattern string) bool { fits, _ := path.Match(pattern, unit); return fits })
		})
		if ok {
			return s, true
		}
	}
	for _, port := range ports {
		if s, ok := by(fmt.Sprintf("port %d", port), func(k known) (uint16, bool) { return port, slices.Contains(k.Ports, port) }); ok {
			return s, true
		}
	}
	return Service{}, false
}

// repository is an image's name without registry, tag and digest: of
// registry.internal:5000/library/postgres:16 it is postgres.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if at := strings.LastIndexByte(image, ':'); at > strings.LastIndexByte(image, '/') {
		image = image[:at]
	}
	if first, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		image = rest
	}
	return strings.TrimPrefix(image, "library/")
}

// endsLike reports whether the last segments of an image's name are as a pattern says.
func endsLike(image, pattern string) bool {
	segments := strings.Split(image, "/")
	n := strings.Count(pattern, "/") + 1
	if len(segments) < n {
		return false
	}
	fits, _ := path.Match(pattern, strings.Join(segments[len(segments)-n:], "/"))
	return fits
}
