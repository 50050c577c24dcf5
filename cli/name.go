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
	// What a driver of another release is, its server says; an error of that is
	// none of what was asked for.
	if slices.ContainsFunc(found, func(r client.ResourceView) bool {
		_, known := driverOf(a.known(), r.Properties.Driver)
		return !known
	}) {
		_ = a.askCatalog(ctx)
	}
	return found, nil
}

// lookup is a name that is searched for in the inventory.
type lookup struct {
	what  string // "source", "PostgreSQL server": for messages
	name  string
	group string // only in this resource group, when it is not ""
	flag  string // the one that takes a full id
	fix   string // for one that is not there; "": what lists and adds resources
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
		if strings.EqualFold(r.ID.Name(), l.name) || strings.EqualFold(nameIn(r.ID), l.name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := patchbay.Errorf(patchbay.ResourceNotFound, "there is no %s %q in the inventory%s", l.what, l.name, didYouMean(l.name, fitting)).
			WithFix("%s", first(l.fix, "patchbay resource list   (and patchbay resource add, to register one)"))
		return client.ResourceView{}, e
	}
	ids := make([]string, len(found))
	fix := "name one by its id, with " + l.flag
	for i, r := range found {
		ids[i] = string(r.ID)
		if i > 0 && !strings.EqualFold(r.ID.ResourceGroup(), found[0].ID.ResourceGroup()) {
			fix = "name one by its id, with " + l.flag + ", or its resource group"
		}
	}
	return client.ResourceView{}, patchbay.Errorf(patchbay.InvalidArgument, "%d resources are named %q: %s", len(found), l.name, strings.Join(ids, ", ")).
		WithFix("%s", fix)
}

// nameIn is what a resource is called in its resource group: web/staging, of a child
// of another one.
func nameIn(id patchbay.ID) string {
	name := id.Name()
	for parent := id.Parent(); strings.Contains(parent.Type(), "/"); parent = parent.Parent() {
		name = parent.Name() + "/" + name
	}
	return name
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
		fits: func(r client.ResourceView) bool { return a.isSource(r.Properties.Driver) },
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
		if a.isSource(r.Properties.Driver) {
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
		at := strings.LastIndexByte(arg, '/')
		ref.source, ref.connection = arg[:at], arg[at+1:]
		if strings.EqualFold(ref.source, localWord) {
			ref.source, ref.local = "", true
		}
		if ref.connection == "" {
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
			return a.complete(ctx, k, id, nil, t.parts)
		}
		if !k.fits(id) {
			return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "%q is not the id of a %s target", t.id, k.word).
				WithFix("the form is …/providers/%s", k.form())
		}
		return id, nil
	}
	name, rest, _ := strings.Cut(t.name, "/")
	var named []string
	if rest != "" {
		named = strings.Split(rest, "/")
	}
	r, err := a.find(ctx, lookup{
		what: k.Title + " target", name: name, group: t.group, flag: "--target-id",
		fits: a.serves(k),
	})
	if err != nil {
		return "", err
	}
	return a.complete(ctx, k, r.ID, named, t.parts)
}

// targetRef is how a command line names a target.
type targetRef struct {
	id    string // --target-id
	name  string // --target or the kind's own flag
	group string
	parts map[string]string // by flag
}

// serves reports of a resource whether it may have targets of the kind.
func (a *app) serves(k targetKind) func(client.ResourceView) bool {
	return func(r client.ResourceView) bool { return k.serves(r.ID.Type()) && !a.isSource(r.Properties.Driver) }
}

// complete adds to a resource's id what the kind needs below it: what was named
// behind the resource, and by flag.
func (a *app) complete(ctx context.Context, k targetKind, resource patchbay.ID, named []string, flags map[string]string) (patchbay.ID, error) {
	form, ok := k.idOf(resource.Type())
	if !ok {
		return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "%s is no %s target", resource.Name(), k.word)
	}
	id := resource
	for _, s := range form.Segments()[1:] {
		name := s.Name
		if !s.Fixed {
			name = flags[s.Name]
			if len(named) > 0 {
				if name != "" && name != named[0] {
					return "", patchbay.Errorf(patchbay.InvalidArgument, "the target is %q, and --%s is %q", resource.Name()+"/"+strings.Join(named, "/"), s.Name, name)
				}
				name, named = named[0], named[1:]
			}
			if name == "" {
				var err error
				if name, err = a.partOf(ctx, k, resource, form, s); err != nil {
					return "", err
				}
			}
		}
		id = id.Child(s.Type, name)
	}
	if len(named) > 0 {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%q names more than a %s target has: %s", strings.Join(named, "/"), k.word, formOf(form))
	}
	return patchbay.ParseID(string(id))
}

// partOf is the name of a part of a target that was not named.
func (a *app) partOf(ctx context.Context, k targetKind, resource patchbay.ID, form patchbay.TargetID, s patchbay.Segment) (string, error) {
	own := s.Default == "@"
	switch {
	case s.Default != "" && !own:
		return s.Default, nil
	case a.interactive():
		suggestion := ""
		if own {
			suggestion = resource.Name()
		}
		return a.asker.ask(ctx, "Which "+s.Name+" of "+clean(resource.Name())+"?", suggestion, needed(s.Name))
	case own:
		a.notef("using the %s %s of %s; --%s names another", s.Name, clean(resource.Name()), clean(resource.Name()), s.Name)
		return resource.Name(), nil
	}
	short := resource.Name()
	for _, s := range form.Segments()[1:] {
		if !s.Fixed {
			short += "/" + strings.ToUpper(s.Name)
		}
	}
	return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "a %s target needs its %s", k.word, s.Name).
		WithFix("name it: --%s NAME, or --target %s", s.Name, short)
}

// needed refuses an empty answer.
func needed(what string) func(string) error {
	return func(s string) error {
		if s == "" {
			return patchbay.Errorf(patchbay.InvalidArgument, "%s is needed", article(what))
		}
		return nil
	}
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
