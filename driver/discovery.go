package driver

import (
	"context"
	"maps"
	"slices"

	"patchbay.dev/patchbay"
)

// Found is something that runs where a source driver looks. The driver says what it
// sees; what an image or a unit is known for, others know (package settings).
type Found struct {
	// Name is what people call it there; Within, where that need not be the only one
	// of the name: a Compose project, a namespace.
	Name, Within string
	// Instance tells it from others, for several drivers that see the same thing.
	Instance string
	What     string // in a few words: container of the image shop/web:1
	State    string // in the platform's words
	Running  bool

	// Endpoint and Properties are what registers it, besides what the search was told.
	Endpoint   string
	Properties map[string]any
	// Refused says why it can't be a source; Fix what to do, "" for nothing. Of
	// plumbing, which nobody would connect, it is only looked at whether it is a service.
	Refused, Fix string
	Plumbing     bool

	Image string   // what it is made of; "" where that is no word
	Unit  string   // what runs it
	Ports []uint16 // what it says that it listens on
	// Labels are what its platform's other tools have noted on it.
	Labels map[string]string
	// Reach is where its ports answer, those first that most can speak to.
	Reach []Reach
	// Variables are the names of its environment, sorted; Revealed the values that
	// were asked for.
	Variables []string
	Revealed  Secrets
}

// Reach is a way to a port.
type Reach struct {
	Port uint16 // what it listens on, where it runs
	// Address is host:port. Without a host it is a port of the machine itself.
	Address string
	Note    string // what is worth knowing of it: that it is another one after a restart
}

// Reveal names the variables of a found thing whose values are asked for, and those
// that name a file in it whose content is.
type Reveal struct{ Variables, Files []string }

// Names are all.
func (r Reveal) Names() []string { return slices.Concat(r.Variables, r.Files) }

// Search looks for what runs where c says: Host, Dialer, Admin, and those of the
// Properties and the Endpoint that the driver's description has in Search; c.ID and
// c.Scope are empty. reveal is asked of each thing which values leave the driver;
// nil: none.
type Search func(ctx context.Context, c Config, reveal func(Found) Reveal) ([]Found, error)

// Searched is a description of what a search is told, by which its properties are
// checked.
func Searched(d patchbay.Driver) patchbay.Driver {
	d.Properties = slices.DeleteFunc(slices.Clone(d.Properties), func(f patchbay.Field) bool { return !slices.Contains(d.Search, f.Name) })
	return d
}

// Environment fills in what an environment says.
func (f *Found) Environment(all map[string]string, reveal func(Found) Reveal, file func(path string) (string, error)) error {
	f.Variables = slices.Sorted(maps.Keys(all))
	if reveal == nil {
		return nil
	}
	f.Revealed = Secrets{}
	wanted := reveal(*f)
	for _, name := range wanted.Variables {
		if value, ok := all[name]; ok {
			f.Revealed[name] = patchbay.NewSecret(value)
		}
	}
	for _, name := range wanted.Files {
		path, ok := all[name]
		if !ok || path == "" {
			continue
		}
		text, err := file(path)
		if err != nil {
			return err
		}
		f.Revealed[name] = patchbay.NewSecret(text)
	}
	return nil
}
