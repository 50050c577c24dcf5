package cli

import (
	"context"
	"golang.org/x/sync/errgroup"
	"slices"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// Short names: whatever a person may write in place of an ARM id is looked up
// in the inventory, and accepted where it names one thing only.

func (a *app) resources(ctx context.Context) ([]client.ResourceView, error) {
	if a.inventory != nil {
		return a.inventory, nil
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	found, err := c.Resources(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(x, y client.ResourceView) int { return strings.Compare(x.ID.Key(), y.ID.Key()) })
	a.inventory = found
	return found, nil
}

// lookup is a name that is searched for in the inventory.
type lookup struct {
	what  string // "source", "PostgreSQL server": for messages
	name  string
	group string // only in this resource group, when it is not ""
	flag  string // the one that takes a full id
	fits  func(client.ResourceView) bool
}

// find is the one resource that is meant.
func (a *app) find(ctx context.Context, l lookup) (client.ResourceView, error) {
	inventory, err := a.resources(ctx)
	if err != nil {
		return client.ResourceView{}, err
	}
	sub := first(a.subscription, a.Getenv("PATCHBAY_SUBSCRIPTION"))
	var found []client.ResourceView
	var fitting []string
	for _, r := range inventory {
		switch {
		case l.fits != nil && !l.fits(r),
			l.group != "" && !strings.EqualFold(r.ID.ResourceGroup(), l.group),
			sub != "" && !strings.EqualFold(r.ID.Subscription(), sub):
			continue
		}
		fitting = append(fitting, r.ID.Name())
		if strings.EqualFold(r.ID.Name(), l.name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := patchbay.Errorf(patchbay.ResourceNotFound, "there is no %s %q in the inventory%s", l.what, l.name, didYouMean(l.name, fitting)).
			WithFix("patchbay resource list   (and patchbay resource add, to register one)")
		return client.ResourceView{}, e
	}
	ids := make([]string, len(found))
	for i, r := range found {
		ids[i] = string(r.ID)
	}
	return client.ResourceView{}, patchbay.Errorf(patchbay.InvalidArgument, "%d resources are named %q: %s", len(found), l.name, strings.Join(ids, ", ")).
		WithFix("name one by its id, with %s, or its resource group", l.flag)
}

// source is the source that a command is about, by id or by name.
func (a *app) source(ctx context.Context, name, id, group string) (patchbay.ID, error) {
	if id == "" && strings.HasPrefix(name, "/") {
		id = name
	}
	if id != "" {
		return patchbay.ParseID(id)
	}
	r, err := a.find(ctx, lookup{
		what: "source", name: name, group: first(group, a.Getenv("PATCHBAY_RESOURCE_GROUP")), flag: "--source-id",
		fits: func(r client.ResourceView) bool { return !isTargetType(r.ID.Type()) },
	})
	return r.ID, err
}

// sources are the resources that can have connections.
func (a *app) sources(ctx context.Context) ([]patchbay.ID, error) {
	inventory, err := a.resources(ctx)
	if err != nil {
		return nil, err
	}
	ids := []patchbay.ID{}
	for _, r := range inventory {
		if !isTargetType(r.ID.Type()) {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// connections are those of every source in the inventory.
func (a *app) connections(ctx context.Context) ([]client.ConnectionView, error) {
	sources, err := a.sources(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	found := []client.ConnectionView{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, source := range sources {
		g.Go(func() error {
			some, err := c.Connections(ctx, source)
			mu.Lock()
			defer mu.Unlock()
			found = append(found, some...)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(x, y client.ConnectionView) int { return strings.Compare(x.ID.Key(), y.ID.Key()) })
	return found, nil
}

// connectionRef is how a command line names a connection.
type connectionRef struct {
	id         string // --id
	source     string
	sourceID   string
	group      string
	connection string
	local      bool
	location   string // of a local one
	// exact refuses to take the only one that there is for the one that is meant.
	exact bool
}

// resolve is the connection's id. arg is the positional argument: SOURCE/NAME,
// NAME or an id; "" when there was none.
func (a *app) resolve(ctx context.Context, ref connectionRef, arg string) (patchbay.ID, error) {
	switch {
	case strings.HasPrefix(arg, "/"):
		ref.id = arg
	case strings.Contains(arg, "/"):
		ref.source, ref.connection, _ = strings.Cut(arg, "/")
		if strings.EqualFold(ref.source, localWord) {
			ref.source, ref.local = "", true
		}
		if strings.Contains(ref.connection, "/") || ref.connection == "" {
			return "", patchbay.Errorf(patchbay.InvalidArgument, "%q does not name a connection; SOURCE/NAME does", arg)
		}
	case arg != "":
		ref.connection = arg
	}
	if ref.id != "" {
		id, err := patchbay.ParseID(ref.id)
		if err != nil {
			return "", err
		}
		if _, _, ok := id.ConnectionSource(); !ok {
			return "", patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a connection", ref.id).
				WithFix("the form is {source id}/providers/Microsoft.ServiceLinker/linkers/{name}, or of a local one {resource group id}/providers/Microsoft.ServiceLinker/locations/{location}/connectors/{name}")
		}
		return id, nil
	}
	if ref.named() {
		source, err := a.home(ctx, ref)
		if err != nil {
			return "", err
		}
		if ref.connection != "" {
			return patchbay.ParseID(string(connectionOf(source, ref.connection)))
		}
		c, err := a.client()
		if err != nil {
			return "", err
		}
		some, err := c.Connections(ctx, source)
		if err != nil {
			return "", err
		}
		return a.pick(ctx, ref, some, source.Name())
	}
	every, err := a.connections(ctx)
	if err != nil {
		return "", err
	}
	if ref.connection == "" {
		return a.pick(ctx, ref, every, "")
	}
	var found []patchbay.ID
	var names []string
	for _, v := range every {
		names = append(names, v.ID.Name())
		if strings.EqualFold(v.ID.Name(), ref.connection) {
			found = append(found, v.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", patchbay.Errorf(patchbay.ResourceNotFound, "there is no connection %q%s", ref.connection, didYouMean(ref.connection, names)).
			WithFix("patchbay connection list")
	}
	var full []string
	for _, id := range found {
		full = append(full, shortName(id))
	}
	return "", patchbay.Errorf(patchbay.InvalidArgument, "%d connections are named %q: %s", len(found), ref.connection, strings.Join(full, ", ")).
		WithFix("name one with its source: %s", full[0])
}

// pick asks which of the connections is meant; where nobody can be asked, only
// a single one is an answer.
func (a *app) pick(ctx context.Context, ref connectionRef, some []client.ConnectionView, source string) (patchbay.ID, error) {
	of := ""
	if source != "" {
		of = " of " + source
	}
	switch {
	case len(some) == 0:
		return "", patchbay.Errorf(patchbay.ResourceNotFound, "there are no connections%s", of)
	case a.interactive():
		var choices []choice
		for _, v := range some {
			choices = append(choices, choice{shortName(v.ID) + "  →  " + patchbay.ID(v.TargetName()).Name(), string(v.ID)})
		}
		id, err := a.asker.choose(ctx, "Which connection?", choices)
		return patchbay.ID(id), err
	case source != "" && len(some) == 1 && !ref.exact:
		return some[0].ID, nil
	}
	var names []string
	for _, v := range some {
		names = append(names, shortName(v.ID))
	}
	return "", patchbay.Errorf(patchbay.InvalidArgument, "which connection? There are %s", strings.Join(names, ", ")).
		WithFix("name one as SOURCE/NAME, or with --source and --connection")
}

// target is the id of the target that was named in short: the resource, and
// below it what the kind needs. It says what it assumed.
func (a *app) target(ctx context.Context, k targetKind, t targetRef) (patchbay.ID, error) {
	if t.id == "" && strings.HasPrefix(t.name, "/") {
		t.id = t.name
	}
	if t.id != "" {
		id, err := patchbay.ParseID(t.id)
		if err != nil {
			return "", err
		}
		if k.serves(id.Type()) {
			// The resource alone: what is below it is found as for a name.
			return a.complete(ctx, k, id, t.parts)
		}
		if !k.fits(id) {
			return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "%q is not the id of a %s target", t.id, k.name).
				WithFix("the form is …/providers/%s", k.form())
		}
		return id, nil
	}
	name, rest, _ := strings.Cut(t.name, "/")
	parts := t.parts
	if rest != "" {
		named := strings.Split(rest, "/")
		flagged := 0
		for i := range k.parts {
			if k.parts[i].flag != "" && flagged < len(named) {
				if parts[k.parts[i].flag] != "" && parts[k.parts[i].flag] != named[flagged] {
					return "", patchbay.Errorf(patchbay.InvalidArgument, "the target is %q, and --%s is %q", t.name, k.parts[i].flag, parts[k.parts[i].flag])
				}
				parts[k.parts[i].flag] = named[flagged]
				flagged++
			}
		}
		if flagged < len(named) {
			return "", patchbay.Errorf(patchbay.InvalidArgument, "the target %q names more than a %s target has: %s", t.name, k.name, k.form())
		}
	}
	r, err := a.find(ctx, lookup{
		what: k.product + " target", name: name, group: t.group, flag: "--target-id",
		fits: func(r client.ResourceView) bool { return k.serves(r.ID.Type()) },
	})
	if err != nil {
		return "", err
	}
	return a.complete(ctx, k, r.ID, parts)
}

// targetRef is how a command line names a target.
type targetRef struct {
	id    string // --target-id
	name  string // --target or the kind's own flag
	group string
	parts map[string]string // by flag
}

// complete adds to a resource's id what the kind needs below it.
func (a *app) complete(ctx context.Context, k targetKind, id patchbay.ID, parts map[string]string) (patchbay.ID, error) {
	for _, p := range k.parts {
		value := parts[p.flag]
		switch {
		case p.flag == "":
			value = p.name
		case value != "":
		case p.name != "":
			value = p.name
		case a.interactive():
			suggestion := ""
			if p.own {
				suggestion = id.Name()
			}
			var err error
			value, err = a.asker.ask(ctx, "Which "+p.flag+" of "+clean(id.Name())+"?", suggestion, func(s string) error {
				if s == "" {
					return patchbay.Errorf(patchbay.InvalidArgument, "a %s is needed", p.flag)
				}
				return nil
			})
			if err != nil {
				return "", err
			}
		case p.own:
			value = id.Name()
			a.notef("using the %s %s of %s; --%s names another", p.flag, clean(value), clean(id.Name()), p.flag)
		default:
			return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "a %s target needs its %s", k.name, p.flag).
				WithFix("name it: --%s NAME, or --target %s", p.flag, shortForm(k, id))
		}
		id = id.Child(p.segment, value)
	}
	return patchbay.ParseID(string(id))
}

func shortForm(k targetKind, id patchbay.ID) string {
	s := id.Name()
	for _, p := range k.parts {
		if p.flag != "" {
			s += "/" + strings.ToUpper(p.flag)
		}
	}
	return s
}

func sourceName(id patchbay.ID) string {
	source, _, _ := id.ConnectionSource()
	return source.Name()
}

// targetShort is a target as people name it: orders/shop.
func targetShort(id patchbay.ID) string {
	server := id
	for parent := server.Parent(); parent != "" && parent.Type() != ""; parent = parent.Parent() {
		server = parent
	}
	if server == id || id.Name() == "default" {
		return server.Name()
	}
	return server.Name() + "/" + id.Name()
}
