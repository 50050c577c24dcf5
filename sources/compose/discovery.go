package compose

import (
	"context"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay/driver"
)

// searched is what a search is told, which is in every registration that it leads to.
var searched = []string{"host", "engine", "program"}

// searcher finds the services of Compose projects that have a container, by the labels
// that Compose puts on them; containers searches an engine.
func searcher(containers driver.Search) driver.Search {
	return func(ctx context.Context, c driver.Config, reveal func(driver.Found) driver.Reveal) ([]driver.Found, error) {
		// Opened as the source that any of them would be: what it is told is checked alike.
		c.Endpoint = "/any"
		s, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		defer func() { _ = s.Close() }()
		c.Endpoint = ""
		if c.Properties, err = json.Marshal(map[string]string{"engine": "unix://" + s.socket}); err != nil {
			return nil, err
		}
		var asked func(driver.Found) driver.Reveal
		if reveal != nil {
			asked = func(f driver.Found) driver.Reveal {
				if f, ok := serviceIn(f); ok {
					return reveal(f)
				}
				return driver.Reveal{}
			}
		}
		found, err := containers(ctx, c, asked)
		if err != nil {
			return nil, err
		}
		var all []driver.Found
		for _, one := range found {
			f, ok := serviceIn(one)
			if !ok {
				continue
			}
			// Several containers of a service are one source.
			at := slices.IndexFunc(all, func(other driver.Found) bool {
				return other.Name == f.Name && other.Within == f.Within && other.Endpoint == f.Endpoint
			})
			switch {
			case at < 0:
				all = append(all, f)
			case !all[at].Running && f.Running:
				all[at] = f
			}
		}
		return all, nil
	}
}

// notInProject is what Compose takes out of a directory's name, for a project's.
var notInProject = regexp.MustCompile(`[^-_a-z0-9]`)

// serviceIn is the service that a container is of; ok is false when it is of none.
func serviceIn(f driver.Found) (driver.Found, bool) {
	label := func(name string) string { return f.Labels[labelPrefix+name] }
	project, service, dir := label("project"), label("service"), label("project.working_dir")
	if project == "" || service == "" || label("oneoff") == "True" {
		return f, false
	}
	f.Name, f.Within, f.Endpoint = service, project, dir
	f.What = "service " + service + " of the Compose project " + project + ", of the image " + f.Image
	f.Properties = map[string]any{"service": service}
	f.Refused, f.Fix = "", ""
	files := configFiles(label("project.config_files"))
	switch {
	case checkPath("endpoint", dir) != nil || !projectForm.MatchString(project) || !serviceForm.MatchString(service):
		f.Refused = "its labels do not say in which directory its project is"
		f.Fix = "register it with the directory of its project: patchbay resource add compose --help"
		return f, true
	case found(dir, files):
	case len(files) == 1:
		f.Endpoint = files[0]
	default:
		f.Properties["files"] = files
		f.Properties["deliver"] = byEnvFile // see Lacks
	}
	if own := notInProject.ReplaceAllString(strings.ToLower(path.Base(dir)), ""); project != strings.TrimLeft(own, "-_") {
		f.Properties["project"] = project
	}
	return f, true
}

// found reports whether Compose finds these files by itself in the directory.
func found(dir string, files []string) bool {
	for i, name := range files {
		base := path.Base(name)
		if path.Dir(name) != dir || i > 1 || i == 0 && !slices.Contains(baseNames, base) || i == 1 && !slices.Contains(overrideNames, base) {
			return false
		}
	}
	return true
}
