package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// Local connections are those of a developer's own machine. They have no
// source: nothing is written anywhere, and their settings are computed when they
// are asked for. az's words for them are az connection.

// localWord is what stands in place of a source's name: local/NAME.
const localWord = "local"

// homeFlags name what a connection belongs to: a source, or this machine.
func (a *app) homeFlags(cmd *cobra.Command, ref *connectionRef) {
	a.sourceFlags(cmd, ref)
	fs := cmd.Flags()
	fs.BoolVar(&ref.local, "local", false, "a local connection, for one's own machine: it has no source, and its settings are written nowhere")
	fs.StringVarP(&ref.location, "location", "l", "", "location of a local connection (default: its resource group's)")
}

// isLocal reports whether a local connection is meant.
func (r connectionRef) isLocal() bool { return r.local || r.location != "" }

// named reports whether it is said what the connection belongs to.
func (r connectionRef) named() bool { return r.isLocal() || r.source != "" || r.sourceID != "" }

// home is the id of what the connection belongs to: its source, or a local
// one's location.
func (a *app) home(ctx context.Context, r connectionRef) (patchbay.ID, error) {
	switch {
	case !r.isLocal():
		return a.source(ctx, r.source, r.sourceID, r.group)
	case r.source != "" || r.sourceID != "":
		return "", patchbay.Errorf(patchbay.InvalidArgument, "a local connection has no source: say --local or --source")
	}
	group, err := a.scope(ctx, r.group)
	if err != nil {
		return "", err
	}
	location := r.location
	if location == "" {
		if location, err = a.locationOf(ctx, group); err != nil {
			return "", err
		}
	}
	id, err := patchbay.ParseID(string(group.Location(location)))
	if err != nil || id.Name() != location || !client.IsLocation(id) {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%q can't be the name of a location", location)
	}
	return id, nil
}

// locationOf is where a resource group is.
func (a *app) locationOf(ctx context.Context, group patchbay.ID) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	groups, err := c.ResourceGroups(ctx, group.Subscription())
	if err != nil {
		return "", err
	}
	for _, g := range groups {
		if g.ID.Equal(group) && g.Location != "" {
			return g.Location, nil
		}
	}
	return "", patchbay.Errorf(patchbay.ResourceNotFound, "there is no resource group %s", group.Name()).
		WithFix("name one with --resource-group")
}

// connectionOf is the id of a connection of that name, on a source or in a
// location.
func connectionOf(home patchbay.ID, name string) patchbay.ID {
	if client.IsLocation(home) {
		return home.Local(name)
	}
	return home.Linker(name)
}

// localEnvironment is the settings of local connections, by name: of the one
// that is named, or of all in the location.
func (a *app) localEnvironment(ctx context.Context, r connectionRef) (map[string]patchbay.Secret, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	home, err := a.home(ctx, r)
	if err != nil {
		return nil, err
	}
	ids := []patchbay.ID{connectionOf(home, r.connection)}
	if r.connection == "" {
		found, err := c.Connections(ctx, home)
		if err != nil {
			return nil, err
		}
		ids = ids[:0]
		for _, v := range found {
			ids = append(ids, v.ID)
		}
		if len(ids) == 0 {
			return nil, patchbay.Errorf(patchbay.ResourceNotFound, "there are no local connections in %s", home.Name()).
				WithFix("patchbay connection create KIND --local --target NAME")
		}
	}
	env := map[string]patchbay.Secret{}
	from := map[string]string{}
	for _, id := range ids {
		settings, err := c.Configurations(ctx, id)
		if err != nil {
			return nil, during(err, "read the settings of %s", shortName(id))
		}
		for _, s := range settings {
			if s.File || strings.Contains(s.Name, "/") {
				continue // a file, which no environment holds
			}
			if other, taken := from[s.Name]; taken {
				return nil, patchbay.Errorf(patchbay.Conflict, "%s and %s both have the setting %s", other, shortName(id), s.Name).
					WithFix("name one with --connection, or give one of them other names with --customized-keys")
			}
			env[s.Name], from[s.Name] = patchbay.NewSecret(s.Value), shortName(id)
		}
	}
	return env, nil
}
