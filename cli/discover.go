package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// discovery is a command line of `discover`.
type discovery struct {
	group string
	yes   bool
	take  bool
	where []*registration // who looks, each with the flags of where
	told  *fieldFlag      // the host, of all of them
}

// discoverCommand has a command for each source driver that can look for what runs,
// and is one for those that need not be told where.
func (a *app) discoverCommand() *cobra.Command {
	all := only(slices.Clone(a.shown().Sources), func(d patchbay.Driver) bool { return len(d.Search) > 0 })
	var unasked []patchbay.Driver
	for _, d := range all {
		if !slices.Contains(d.Search, "endpoint") || !d.Endpoint.Required {
			unasked = append(unasked, d)
		}
	}
	s := &discovery{}
	cmd := &cobra.Command{
		Use:   "discover [DRIVER] [NAME[=AS]…]",
		Short: "Find what runs, and register it",
		Long: `Lists the applications that run on the server's machine, or on a registered host, and
the databases, caches and brokers beside them, and says what is registered and
connected already.

With names, and --yes where nobody can be asked, it registers what has them; with
NAME=AS under another name. On a terminal, without names and without -o, it asks.

The credential of a database is taken from where its image keeps it with
--take-credentials alone, or when you say so. It goes from there to the server, where
it is kept sealed.`,
		Example:     "  patchbay discover -o table\n  patchbay discover --yes web db --take-credentials\n  patchbay discover --host db1 -o table",
		Annotations: map[string]string{catalogued: "yes"},
		Args:        cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(unasked) == 0 {
				return patchbay.Errorf(patchbay.NotSupported, "no driver of this server looks for what runs")
			}
			return a.runDiscover(cmd, s, args)
		},
	}
	s.declare(cmd)
	for _, d := range unasked {
		s.where = append(s.where, &registration{driver: searched(d), endpoint: &fieldFlag{}})
	}
	if host, ok := sharedHost(unasked); ok {
		s.told = newFieldFlag(a, cmd, host)
	}
	for _, d := range all {
		cmd.AddCommand(a.discoverWith(d))
	}
	return cmd
}

func (s *discovery) declare(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.group, "resource-group", "g", "", "resource group to register in (default $PATCHBAY_RESOURCE_GROUP, or the only one)")
	f.BoolVarP(&s.yes, "yes", "y", false, "register what is named, and do not ask")
	f.BoolVar(&s.take, "take-credentials", false, "take the credentials of named services from where their images keep them")
}

// discoverWith is the command of one driver.
func (a *app) discoverWith(d patchbay.Driver) *cobra.Command {
	r := &registration{driver: searched(d)}
	s := &discovery{where: []*registration{r}}
	cmd := &cobra.Command{
		Use: d.Name + " [NAME[=AS]…]", Short: "Find what could be " + article(d.Noun),
		Long: "Lists what could be " + article(d.Noun) + `, and the services beside it. patchbay discover --help says how it
is registered.`,
		Example: "  patchbay discover " + d.Name + " -o table",
		Args:    cobra.ArbitraryArgs,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runDiscover(cmd, s, args) },
	}
	s.declare(cmd)
	r.endpoint = &fieldFlag{}
	if slices.Contains(d.Search, "endpoint") {
		r.endpoint = newFieldFlag(a, cmd, endpointField(d))
	}
	for _, field := range r.driver.Properties {
		r.properties = append(r.properties, newFieldFlag(a, cmd, field))
	}
	if len(d.Admin) > 0 {
		r.adminFlags(a, cmd)
	}
	return cmd
}

// searched is a description of what a search is told, and no more.
func searched(d patchbay.Driver) patchbay.Driver {
	d.Properties = only(slices.Clone(d.Properties), func(f patchbay.Field) bool { return slices.Contains(d.Search, f.Name) })
	return d
}

// sharedHost is the field of the host that all of them have under one name.
func sharedHost(all []patchbay.Driver) (host patchbay.Field, ok bool) {
	for i, d := range all {
		at := slices.IndexFunc(d.Properties, func(f patchbay.Field) bool { return f.Type == patchbay.HostField && slices.Contains(d.Search, f.Name) })
		if at < 0 || i > 0 && d.Properties[at].Name != host.Name {
			return host, false
		}
		host = d.Properties[at]
	}
	return host, len(all) > 0
}

// finding is what a search found, and which one did.
type finding struct {
	patchbay.Discovered
	search client.Search
	driver string
	own    string // what the server calls it
}

func (a *app) runDiscover(cmd *cobra.Command, s *discovery, args []string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	searches := make([]client.Search, len(s.where))
	for i, r := range s.where {
		if searches[i], err = a.searchOf(cmd, s, r); err != nil {
			return err
		}
	}
	group, err := a.scope(ctx, s.group)
	if err != nil {
		return err
	}
	found, err := a.discover(ctx, c, group, s, searches)
	if err != nil {
		return err
	}
	picked, err := a.pickFound(cmd, s, found, args)
	if err != nil {
		return err
	}
	if len(picked) == 0 {
		return a.printFound(found)
	}
	return a.registerFound(cmd, c, group, s, picked)
}

// searchOf is what a driver is told of where to look.
func (a *app) searchOf(cmd *cobra.Command, s *discovery, r *registration) (client.Search, error) {
	admin, err := r.adminValues(a, cmd)
	if err != nil {
		return nil, err
	}
	told, err := r.values(cmd.Context(), a, cmd, admin)
	if err != nil {
		return nil, err
	}
	if s.told != nil {
		v, err := s.told.value(a, cmd)
		if err != nil {
			return nil, err
		}
		if v != nil {
			setMember(told, s.told.Name, v)
		}
	}
	told["driver"] = r.driver.Name
	if len(admin) > 0 {
		told["admin"] = revealed(admin)
	}
	return told, nil
}

// discover has every driver look. Where several do, one that can't is told of, and is
// no failure: not every machine has everything.
func (a *app) discover(ctx context.Context, c *client.Client, group patchbay.ID, s *discovery, searches []client.Search) ([]finding, error) {
	all := []finding{}
	var failed error
	answers := 0
	for i, search := range searches {
		name := s.where[i].driver.Name
		found, err := c.Discover(ctx, group, search)
		switch {
		case err == nil:
			answers++
		case len(searches) == 1 || ctx.Err() != nil || patchbay.CodeOf(err) == patchbay.Forbidden:
			return nil, during(err, "discover %s", name)
		default:
			a.notef("patchbay: %s: %s", name, clean(patchbay.AsError(err).Message))
			failed = err
		}
		for _, d := range found {
			all = append(all, finding{d, search, name, d.Name})
		}
	}
	if answers == 0 && failed != nil {
		return nil, during(failed, "discover")
	}
	return distinct(all), nil
}

// distinct leaves one of what several drivers see: the one that can be registered.
func distinct(all []finding) []finding {
	kept := []finding{}
	for _, f := range all {
		at := slices.IndexFunc(kept, func(k finding) bool { return f.Instance != "" && k.Instance == f.Instance })
		switch {
		case at < 0:
			kept = append(kept, f)
		case kept[at].Refused != "" && f.Refused == "":
			kept[at] = f
		}
	}
	// Two drivers may have the same name for different things.
	seen := map[string]bool{}
	for i := range kept {
		if seen[kept[i].Name] {
			kept[i].Name = kept[i].driver + "-" + kept[i].Name
		}
		seen[kept[i].Name] = true
	}
	slices.SortStableFunc(kept, func(a, b finding) int {
		rank := func(f finding) int {
			if f.Service != nil {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return kept
}

// pick is something to register, and under which name.
type pick struct {
	finding
	as string // "" for its own
}

// pickFound is what is to be registered: what is named, or what somebody chooses.
func (a *app) pickFound(cmd *cobra.Command, s *discovery, found []finding, args []string) ([]pick, error) {
	ctx := cmd.Context()
	if len(args) == 0 {
		switch {
		case s.yes:
			return nil, usagef(cmd, "--yes registers what is named: %s", strings.Join(names(found), ", "))
		case !a.interactive() || first(a.output, a.Getenv("PATCHBAY_OUTPUT")) != "":
			return nil, nil
		}
		var choices []choice
		for _, f := range found {
			if f.Registered == "" && f.Refused == "" {
				choices = append(choices, choice{fmt.Sprintf("%s  (%s, %s)", f.Name, is(f), f.What), f.Name})
			}
		}
		if len(choices) == 0 {
			return nil, nil
		}
		chosen, err := a.asker.pick(ctx, "Which of these are to be registered?", choices)
		if err != nil {
			return nil, err
		}
		return a.picks(cmd, found, chosen)
	}
	picked, err := a.picks(cmd, found, args)
	if err != nil {
		return nil, err
	}
	return picked, a.confirm(cmd, s.yes, "Register "+inWords(args, "and")+"?")
}

func names(found []finding) []string {
	var all []string
	for _, f := range found {
		all = append(all, f.Name)
	}
	return all
}

func (a *app) picks(cmd *cobra.Command, found []finding, args []string) ([]pick, error) {
	var all []pick
	for _, arg := range args {
		name, as, _ := strings.Cut(arg, "=")
		at := slices.IndexFunc(found, func(f finding) bool { return strings.EqualFold(f.Name, name) })
		if at < 0 {
			return nil, patchbay.Errorf(patchbay.ResourceNotFound, "nothing that was found is called %q", name).
				WithFix("%s -o table   (lists what there is)", cmd.CommandPath())
		}
		p := pick{found[at], as}
		switch {
		case strings.ContainsAny(as, "/"):
			return nil, usagef(cmd, "%q is no name of a resource", clean(as))
		case p.Registered != "":
		case p.Refused != "":
			e := patchbay.Errorf(patchbay.NotSupported, "%s can't be registered: %s", p.Name, p.Refused)
			if p.Fix != "" {
				e = e.WithFix("%s", p.Fix)
			}
			return nil, e
		case p.Taken && as == "":
			return nil, patchbay.Errorf(patchbay.Conflict, "another resource is registered as %s", p.ID.Name()).
				WithFix("register it under another name: %s=OTHER", p.Name)
		}
		all = append(all, p)
	}
	return all, nil
}

// registerFound registers one after the other. What is registered stays so when another
// one fails.
func (a *app) registerFound(cmd *cobra.Command, c *client.Client, group patchbay.ID, s *discovery, picked []pick) error {
	ctx := cmd.Context()
	takes := make([]bool, len(picked))
	for i, p := range picked {
		var err error
		if takes[i], err = a.takes(cmd, s, p); err != nil {
			return err // before anything is registered
		}
	}
	done := []client.ResourceView{}
	var failed error
	for i, p := range picked {
		var v client.ResourceView
		switch {
		case p.Registered != "":
			a.notef("patchbay: %s is registered already, as %s", clean(p.Name), clean(p.Registered.Name()))
			v, failed = c.Resource(ctx, p.Registered)
		case takes[i]:
			v, failed = c.TakeCredential(ctx, group, p.search, p.own, p.as)
		default:
			v, failed = a.putFound(ctx, c, p)
		}
		if failed != nil {
			failed = during(failed, "register %s", p.Name)
			break
		}
		for _, note := range slices.Concat(v.Properties.Warnings, p.Notes) {
			a.notef("patchbay: warning: %s: %s", clean(p.Name), clean(note))
		}
		done = append(done, v)
	}
	if len(done) > 0 {
		flat := []map[string]any{}
		for _, v := range done {
			m, err := flatten(v.Raw)
			if err != nil {
				return err
			}
			flat = append(flat, m)
		}
		if err := a.print(flat, func() rows { return resourceRows(done) }); err != nil {
			return err
		}
	}
	return failed
}

// takes says whether a service's credential is to be taken; the error is of one that
// needs a credential, and nobody says so.
func (a *app) takes(cmd *cobra.Command, s *discovery, p pick) (bool, error) {
	if p.Service == nil || p.Registered != "" {
		return false, nil
	}
	kept := p.Service.Credential
	switch {
	case len(kept) == 0 && !p.Service.Needed:
		return false, nil
	case len(kept) > 0 && s.take:
		return true, nil
	case len(kept) > 0 && a.interactive() && !s.yes:
		yes, err := a.asker.confirm(cmd.Context(), fmt.Sprintf("Take the credential of %s from %s?", p.Name, inWords(kept, "and")))
		if err != nil || yes || !p.Service.Needed {
			return yes, err
		}
	case !p.Service.Needed:
		return false, nil
	}
	hand := fmt.Sprintf("patchbay resource add %s %s --endpoint %s …   (with the credential, as its --help says)", p.Driver, first(p.as, p.ID.Name()), p.Endpoint)
	e := patchbay.Errorf(patchbay.InvalidArgument, "%s is registered with a credential, and none was given", p.Name)
	if len(kept) == 0 {
		return false, e.WithFix("%s", hand)
	}
	e.Message += ": it has one in " + inWords(kept, "and")
	return false, e.WithFix("add --take-credentials, to have it taken from there; or %s", hand)
}

// putFound registers what was found as any resource is.
func (a *app) putFound(ctx context.Context, c *client.Client, p pick) (v client.ResourceView, err error) {
	id := p.ID
	if p.as != "" {
		if id, err = patchbay.ParseID(strings.TrimSuffix(string(id), id.Name()) + p.as); err != nil {
			return v, err
		}
	}
	properties := map[string]any{}
	if len(p.Properties) > 0 {
		if err := json.Unmarshal(p.Properties, &properties); err != nil {
			return v, err
		}
	}
	properties["driver"] = p.Driver
	if p.Endpoint != "" {
		properties["endpoint"] = p.Endpoint
	}
	if admin, ok := p.search["admin"]; ok && p.Service == nil {
		properties["admin"] = admin
	}
	body := map[string]any{"properties": properties}
	if p.Kind != "" {
		body["kind"] = p.Kind
	}
	v, _, err = c.PutResource(ctx, id, body, true)
	return v, err
}

// is says what a found thing is, in a word.
func is(f finding) string {
	if f.Service != nil {
		return f.Service.Title
	}
	return "application"
}

func (a *app) printFound(found []finding) error {
	plain := []patchbay.Discovered{}
	for _, f := range found {
		plain = append(plain, f.Discovered)
	}
	return a.print(plain, func() rows {
		r := rows{head: []string{"Name", "Is", "State", "What", "Where", "Status"}}
		for _, f := range found {
			r.add(f.Name, is(f), f.State, f.What, f.Endpoint, status(f))
		}
		return r
	})
}

// status says how far it is on its way to a connection.
func status(f finding) string {
	switch {
	case len(f.Connections) > 0:
		all := map[string]bool{}
		for _, c := range f.Connections {
			all[c.Source.Name()+"/"+c.Name] = true
		}
		return "connected: " + strings.Join(slices.Sorted(maps.Keys(all)), ", ")
	case f.Registered != "":
		return "registered as " + f.Registered.Name()
	case f.Refused != "":
		return "can't be registered: " + f.Refused
	case f.Taken:
		return "not registered; its name is another resource's"
	}
	return "not registered"
}
