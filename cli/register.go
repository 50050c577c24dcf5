package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// resourceAdd has a command for each driver of the catalogue.
func (a *app) resourceAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add DRIVER",
		Short: "Register a resource, or change one",
		Long: `Registers a resource under a name, and checks what it is told: that the resource
can be reached and that the admin credential works. A name that is registered
already is changed.

The admin credential is stored sealed and never shown again. --admin name=value
is for values that are no secret, or name=@FILE and name=@- (standard input): a
secret value on a command line can be seen by others.`,
		Example:     strings.TrimSuffix(a.addExamples(), "\n"),
		Annotations: map[string]string{catalogued: "yes"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "which kind of resource? There are %s", strings.Join(driverNames(resourceDrivers(a.shown())), ", "))
			}
			if d, ok := driverOf(a.shown(), args[0]); ok { // it is no resource's
				return usagef(cmd, "%s is a host: %s", article(d.Noun), "patchbay "+a.adding(d.Driver)+" NAME")
			}
			return a.noSuchDriver(cmd, args[0], resourceDrivers(a.shown()))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, d := range resourceDrivers(a.shown()) {
		cmd.AddCommand(a.addDriver(d.Driver))
	}
	return cmd
}

func (a *app) addDriver(d patchbay.Driver) *cobra.Command {
	r := &registration{driver: d}
	cmd := &cobra.Command{
		Use: d.Name + " NAME", Short: "Register " + article(d.Noun), Long: addHelp(d), Example: strings.TrimSuffix(a.addExample(d, false)+a.addExample(d, true)+urlExample(d), "\n"),
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runAdd(cmd, r, args[0]) },
	}
	r.declare(a, cmd)
	return cmd
}

// runAdd registers a resource. What the command line lacks is asked for, or
// refused, before the server is asked for anything that depends on it.
func (a *app) runAdd(cmd *cobra.Command, r *registration, name string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	var id patchbay.ID
	if strings.HasPrefix(name, "/") {
		if id, err = patchbay.ParseID(name); err != nil {
			return err
		}
	}
	typ, kind, err := r.what(ctx, a, cmd, id == "")
	if err != nil {
		return err
	}
	below, err := r.below(cmd, typ, name)
	if err != nil {
		return err
	}
	admin, err := r.adminValues(a, cmd)
	if err != nil {
		return err
	}
	properties, err := r.values(ctx, a, cmd, admin)
	if err != nil {
		return err
	}
	tags, err := pairs("--tag", r.tags, nil)
	if err != nil {
		return usageError{err, cmd.CommandPath()}
	}
	if err := r.completeAdmin(ctx, a, cmd, admin); err != nil {
		return err
	}
	if id == "" {
		scope, err := a.scope(ctx, r.group)
		if err != nil {
			return err
		}
		if id, err = patchbay.ParseID(string(scope) + "/providers/" + below); err != nil {
			return err
		}
	}
	// Whoever changes a resource need not give its credential again.
	if len(admin) == 0 && len(r.driver.AdminForms) > 0 {
		_, err := c.Resource(ctx, id)
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			if err = r.askAdmin(ctx, a, cmd, admin); err == nil {
				err = r.completeAdmin(ctx, a, cmd, admin)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := r.takeGuards(ctx, a, properties); err != nil {
		return err
	}
	if cmd.Flags().Changed(denyPublic) {
		properties["publicNetworkAccess"] = patchbay.PublicEnabled
		if r.denyPublic {
			properties["publicNetworkAccess"] = patchbay.PublicDisabled
		}
	}
	properties["driver"] = r.driver.Name
	if len(admin) > 0 {
		properties["admin"] = revealed(admin)
	}
	body := map[string]any{"properties": properties}
	for member, text := range map[string]string{"location": r.location, "kind": kind} {
		if text != "" {
			body[member] = text
		}
	}
	if len(tags) > 0 {
		body["tags"] = tags
	}
	v, created, err := c.PutResource(ctx, id, body, !r.noCheck)
	if err != nil {
		return during(err, "register %s", id.Name())
	}
	a.registered(v, created)
	return a.printResource(v)
}

// registered tells the person what there is to know about a registration.
func (a *app) registered(v client.ResourceView, created bool) {
	for _, w := range v.Properties.Warnings {
		a.notef("patchbay: warning: %s", clean(w))
	}
	if !created {
		a.notef("patchbay: %s was registered already, and is changed", clean(v.ID.Name()))
	}
}

// below is what stands behind the provider in the id of a new resource. A child's name
// has its parents' before it, as web/staging.
func (r *registration) below(cmd *cobra.Command, typ, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", nil // it is an id
	}
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	below := types[0]
	if len(names) != len(types)-1 || slices.Contains(names, "") {
		form := "NAME"
		if len(types) > 2 {
			form = strings.ToUpper(strings.Join(types[1:], "/"))
		}
		return "", usagef(cmd, "%q can't be the name of a resource of type %s: it is %s", clean(name), typ, form)
	}
	for i, name := range names {
		below += "/" + types[i+1] + "/" + name
	}
	return below, nil
}

// registration is a command line of `resource add DRIVER`.
type registration struct {
	driver patchbay.Driver

	group, location string
	tags, guards    []string
	denyPublic      bool
	noCheck         bool

	kind, typ  string
	url        string
	endpoint   *fieldFlag
	properties []*fieldFlag
	admin      []*secretFlag

	// What has no flag, or is not said by it.
	moreProperties, moreAdmin, adminEnv []string
}

// declare declares the flags.
func (r *registration) declare(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	d := r.driver
	f.StringVarP(&r.group, "resource-group", "g", "", "resource group (default $PATCHBAY_RESOURCE_GROUP, or the only one)")
	f.StringVarP(&r.location, "location", "l", "", "location (default: the resource group's)")
	f.StringArrayVar(&r.tags, "tag", nil, "a tag, name=value (several)")
	if a.isFor(d.Name, forTargets) && len(a.shown().Guards) > 0 {
		f.StringArrayVar(&r.guards, "guard", nil, "NAME: a registered guard on the way to it, which a connection opens for its source alone (several, in their order; none for no guard any more)")
	}
	if a.isFor(d.Name, forTargets) {
		f.BoolVar(&r.denyPublic, denyPublic, false, "open no guard on the way to it, but for a private link that a connection asks for (=false takes that back; not said, it stays as it is)")
	}
	f.BoolVar(&r.noCheck, "no-check", false, "do not ask the resource whether it is as it is told")
	f.StringArrayVar(&r.moreProperties, "property", nil, "a property of the driver's own, name=text or name:=JSON (several)")
	if len(d.Kinds) > 0 {
		var names []string
		for _, k := range d.Kinds {
			names = append(names, k.Name)
		}
		f.StringVar(&r.kind, "kind", "", "what it is (needed unless NAME is a full id): "+strings.Join(names, ", "))
		must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)))
	}
	if len(d.Types) > 1 {
		about := "its ARM type"
		if len(d.Kinds) == 0 {
			about += " (default " + d.Types[0] + ")"
		} else {
			about += ", in place of --kind"
		}
		f.StringVar(&r.typ, "type", "", about)
		must(cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(d.Types, cobra.ShellCompDirectiveNoFileComp)))
	}
	if takesURL(d) {
		f.StringVar(&r.url, "url", "", fmt.Sprintf("%s://USER@%s/?property=text, in place of --%s and --admin; @FILE reads it from a file",
			d.Endpoint.Schemes[0], bare(first(d.Endpoint.Form, "HOST:PORT")), endpointField(d).Word()))
	}
	if len(d.Admin) > 0 {
		r.adminFlags(a, cmd)
	}
	r.endpoint = &fieldFlag{}
	if d.Endpoint.About != "" { // otherwise it is nowhere: its host is
		r.endpoint = newFieldFlag(a, cmd, endpointField(d))
	}
	for _, field := range d.Properties {
		r.properties = append(r.properties, newFieldFlag(a, cmd, field))
	}
}

// endpointField is what is said where a resource is by; its flag is --endpoint
// unless the driver has another word.
func endpointField(d patchbay.Driver) patchbay.Field {
	f := d.Endpoint.Field
	f.Name = "endpoint"
	if f.Type == "" {
		f.Type = patchbay.TextField
	}
	return f
}

// what is the resource's ARM type and its own kind; named by an id, it has a type.
func (r *registration) what(ctx context.Context, a *app, cmd *cobra.Command, typed bool) (typ, kind string, err error) {
	d := r.driver
	if r.kind != "" && r.typ != "" {
		return "", "", usagef(cmd, "say what it is once: --kind or --type")
	}
	if len(d.Kinds) > 0 && r.typ == "" && (typed || r.kind != "") {
		if r.kind == "" && a.interactive() {
			var choices []choice
			for _, k := range d.Kinds {
				choices = append(choices, choice{k.Name, k.Name})
			}
			if r.kind, err = a.asker.choose(ctx, "Which kind of service?", choices); err != nil {
				return "", "", err
			}
		}
		var names []string
		for _, k := range d.Kinds {
			if k.Name == r.kind {
				return k.Type, k.Kind, nil
			}
			names = append(names, k.Name)
		}
		return "", "", usagef(cmd, "which kind of service? --kind, one of %s%s", strings.Join(names, ", "), didYouMean(r.kind, names))
	}
	switch at := slices.IndexFunc(d.Types, func(t string) bool { return strings.EqualFold(t, r.typ) }); {
	case at >= 0:
		return d.Types[at], "", nil
	case r.typ != "":
		return "", "", usagef(cmd, "the driver %s has no type %q; it has %s%s", d.Name, clean(r.typ), strings.Join(d.Types, ", "), didYouMean(r.typ, d.Types))
	case typed && len(d.Types) == 0:
		return "", "", usagef(cmd, "the driver %s has no type of its own: name the resource by its full id", d.Name)
	case typed:
		return d.Types[0], "", nil
	}
	return "", "", nil
}

// values are the properties, the endpoint among them. What a URL says of the
// admin credential goes there.
func (r *registration) values(ctx context.Context, a *app, cmd *cobra.Command, admin map[string]patchbay.Secret) (map[string]any, error) {
	p := map[string]any{}
	if err := setProperties(p, r.moreProperties); err != nil {
		return nil, usageError{err, cmd.CommandPath()}
	}
	all := append([]*fieldFlag{r.endpoint}, r.properties...)
	for _, f := range r.properties {
		if f.Type == patchbay.HostField && (f.text != "" || p[f.Name] != nil) {
			for _, path := range all {
				path.elsewhere = true
			}
		}
	}
	for _, f := range all {
		v, err := f.value(a, cmd)
		if err != nil {
			return nil, err
		}
		if v != nil {
			setMember(p, f.Name, v)
		}
	}
	if r.url != "" {
		if p["endpoint"] != nil {
			return nil, usagef(cmd, "say where it is once: --%s or --url", r.endpoint.Word())
		}
		if err := r.takeURL(a, cmd, p, admin); err != nil {
			return nil, err
		}
	}
	for _, f := range all {
		if !f.Required || strings.Contains(f.Name, ".") || p[f.Name] != nil {
			continue
		}
		v, err := f.ask(ctx, a, cmd)
		if err != nil {
			return nil, err
		}
		p[f.Name] = v
	}
	if text, ok := p["endpoint"].(string); ok && r.driver.Endpoint.Port != "" {
		p["endpoint"] = withPorts(text, r.driver.Endpoint.Port)
	}
	return p, nil
}

// denyPublic is the flag of a target whose guards stay shut.
const denyPublic = "deny-public-access"

// noGuard is what says that a target has no guard.
const noGuard = "none"

func (r *registration) takeGuards(ctx context.Context, a *app, properties map[string]any) error {
	if len(r.guards) == 0 {
		return nil
	}
	ids := []patchbay.ID{}
	for _, name := range r.guards {
		if name == noGuard && len(r.guards) == 1 {
			break
		}
		id, err := a.oneOf(ctx, a.guards(), name, "")
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	properties["guards"] = ids
	return nil
}

// takesURL reports whether the endpoint and a login may stand in one URL.
func takesURL(d patchbay.Driver) bool {
	return len(d.Endpoint.Schemes) > 0 && hasField(d.Admin, "username") && hasField(d.Admin, "password")
}

// takeURL takes --url apart. Its errors never show it: it may hold a password.
func (r *registration) takeURL(a *app, cmd *cobra.Command, p map[string]any, admin map[string]patchbay.Secret) error {
	text := r.url
	if file, ok := strings.CutPrefix(text, "@"); ok {
		s, err := a.secretFile("URL", file)
		if err != nil {
			return err
		}
		text = s.Reveal()
	} else if u, err := url.Parse(text); err == nil {
		if _, has := u.User.Password(); has {
			a.notef("patchbay: warning: the password is on the command line, where other users of this machine and the shell's history can see it; --%s-file and --url @FILE are not",
				fieldNamed(r.driver.Admin, "password").Word())
		}
	}
	u, err := url.Parse(text)
	if err != nil || !slices.Contains(r.driver.Endpoint.Schemes, u.Scheme) || u.Hostname() == "" {
		return usagef(cmd, "--url takes %s://USER@HOST:PORT/", inWords(r.driver.Endpoint.Schemes, "or"))
	}
	if name := u.User.Username(); name != "" && admin["username"].IsZero() {
		admin["username"] = patchbay.NewSecret(name)
	}
	if password, has := u.User.Password(); has && admin["password"].IsZero() {
		admin["password"] = patchbay.NewSecret(password)
	}
	said := map[string]string{}
	for name, values := range u.Query() {
		if f := fieldNamed(r.driver.Properties, name); f.Type != patchbay.TextField || len(values) != 1 {
			return usagef(cmd, "--url has the parameter %q, which can't be taken from there", clean(name))
		}
		said[name] = values[0]
	}
	// A database in it is where the administrator works, not what is connected.
	if path := strings.Trim(u.Path, "/"); path != "" {
		if !hasField(r.driver.Properties, "database") {
			return usagef(cmd, "--url has a path; %s has nothing there", article(r.driver.Noun))
		}
		said["database"] = path
	}
	for name, value := range said {
		if p[name] == nil {
			p[name] = value
		}
	}
	p["endpoint"] = u.Host
	if schemed(r.driver) {
		p["endpoint"] = u.Scheme + "://" + u.Host
	}
	return nil
}

// schemed reports whether a scheme says something of an endpoint: whether there is
// TLS, say.
func schemed(d patchbay.Driver) bool { return strings.Contains(d.Endpoint.Form, "://") }

// bare is an endpoint without its scheme.
func bare(endpoint string) string {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		return rest
	}
	return endpoint
}

func hasField(fields []patchbay.Field, name string) bool { return fieldNamed(fields, name).Name != "" }

func fieldNamed(fields []patchbay.Field, name string) patchbay.Field {
	for _, f := range fields {
		if f.Name == name {
			return f
		}
	}
	return patchbay.Field{}
}
