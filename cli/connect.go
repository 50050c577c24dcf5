package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// optOuts are what --opt-out leaves to the caller.
var optOuts = []string{"publicnetwork", "configinfo", "auth"}

// connectVerb is one of the commands that take a target kind.
type connectVerb struct {
	name  string
	short string
	long  string
	run   func(a *app, cmd *cobra.Command, k targetKind, f *connectFlags, args []string) error
}

var (
	createVerb = connectVerb{
		name:  "create",
		short: "Connect a source to a target",
		long: `Connects a source to a target: makes a login on the target with just the access
that is asked for (or takes the one given with --secret), writes the settings to
the source under the names that --client-type reads, restarts the source where
it has a way to, and signs in as the application. If any step fails, everything
is put back as it was.

With a terminal, what is missing is asked for.`,
		run: (*app).runCreate,
	}
	updateVerb = connectVerb{
		name:  "update",
		short: "Change a connection",
		long: `Changes a connection: what is not named stays as it is, the login included. If
any step fails, the connection goes on working as it was.`,
		run: (*app).runUpdate,
	}
	previewVerb = connectVerb{
		name:  "preview",
		short: "Show what create would do, and change nothing",
		long: `Shows the steps that create would take and the settings that it would write, and
changes nothing. The target need not be registered, and there need not be a
driver for it: --target-id takes any id.`,
		run: (*app).runPreview,
	}
)

// connectFlags are the flags of create, update and preview.
type connectFlags struct {
	ref connectionRef

	targetID    string
	targetName  string
	server      string
	parts       map[string]*string
	targetGroup string

	clientType     string
	configConnstr  bool
	access, naming string
	options        []string

	secret           []string
	secretFile       string
	systemIdentity   bool
	userIdentity     []string
	servicePrincipal []string
	userAccount      []string

	customizedKeys  []string
	connstrProps    []string
	additional      []string
	optOut          []string
	vaultID         string
	appConfigID     string
	scope           string
	privateEndpoint bool
	serviceEndpoint bool

	noWait bool

	// guided is set once something essential had to be asked for: then what has
	// a default is asked for too.
	guided bool
}

// connectGroup is `connection create`, with a subcommand for each target kind.
func (a *app) connectGroup(v connectVerb) *cobra.Command {
	var guided *connectFlags
	cmd := &cobra.Command{
		Use:         v.name + " KIND",
		Short:       v.short,
		Long:        v.long,
		Example:     "  patchbay connection " + v.name + " postgres --help\n" + kindExample(v, targetKinds[0]),
		Annotations: map[string]string{"kinds": v.name},
		Args:        unknownKind,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.name != createVerb.name || !a.interactive() {
				return usagef(cmd, "which kind of target? There are %s", strings.Join(kindsUnder(cmd), ", "))
			}
			k, err := a.askKind(cmd.Context(), guided)
			if err != nil {
				return err
			}
			return v.run(a, cmd, k, guided, nil)
		},
	}
	if v.name == createVerb.name {
		guided = a.connectFlags(cmd, v, nil)
	}
	for _, k := range targetKinds {
		cmd.AddCommand(a.connectKind(v, k))
	}
	if v.name != previewVerb.name {
		cmd.AddCommand(a.confluentCommand(v))
	}
	cmd.Long += "\n\nThe target kinds are " + strings.Join(kindsUnder(cmd), ", ") + "."
	return cmd
}

func unknownKind(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	kinds := kindsUnder(cmd)
	return usagef(cmd, "there is no target kind %q; there are %s%s", clean(args[0]), strings.Join(kinds, ", "), didYouMean(args[0], kinds))
}

func kindsUnder(cmd *cobra.Command) []string {
	var kinds []string
	for _, c := range cmd.Commands() {
		if c.Name() != "help" {
			kinds = append(kinds, c.Name())
		}
	}
	return kinds
}

func (a *app) connectKind(v connectVerb, k targetKind) *cobra.Command {
	short := map[string]string{
		"create":  "Connect a source to " + k.product,
		"update":  "Change a connection to " + k.product,
		"preview": "Show what connecting a source to " + k.product + " would do",
	}[v.name]
	use := k.name
	args := cobra.NoArgs
	if v.name == updateVerb.name {
		use += " [SOURCE/NAME]"
		args = cobra.MaximumNArgs(1)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		Long:    short + ".\n\nThe target's id is …/providers/" + k.form() + ".",
		Example: kindExample(v, k),
	}
	f := a.connectFlags(cmd, v, &k)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return v.run(a, cmd, k, f, args) }
	if v.name == updateVerb.name {
		cmd.ValidArgsFunction = a.completeConnections
	}
	return cmd
}

func kindExample(v connectVerb, k targetKind) string {
	path := "patchbay connection " + v.name + " " + k.name
	target := "--target NAME"
	for _, p := range k.parts {
		if p.flag != "" && p.name == "" {
			target += "/" + strings.ToUpper(p.flag)
		}
	}
	client := k.client[0]
	if slices.Contains(k.client, "go") {
		client = "go"
	}
	switch v.name {
	case "update":
		return fmt.Sprintf("  %[1]s web/orders --client-type %[2]s\n  %[1]s --source web --connection orders --access reader", path, client)
	case "preview":
		return fmt.Sprintf("  %s --source web %s --client-type %s", path, target, client)
	}
	example := fmt.Sprintf("  %[1]s --source web %[2]s --client-type %[3]s\n  %[1]s --source web %[2]s --client-type %[3]s --connection orders --access reader", path, target, client)
	if k.connectionString || k.name == "nats" {
		example += fmt.Sprintf("\n  %s --source web %s --client-type %s --secret name=app secret=@app.password", path, target, client)
	}
	return example
}

// connectFlags declares the flags; k is nil for the form that asks for the
// kind.
func (a *app) connectFlags(cmd *cobra.Command, v connectVerb, k *targetKind) *connectFlags {
	f := &connectFlags{parts: map[string]*string{}}
	fs := cmd.Flags()
	a.homeFlags(cmd, &f.ref)
	fs.StringVar(&f.ref.connection, "connection", "", "name of the connection (default of a new one: the kind and five random characters)")
	if v.name == updateVerb.name {
		fs.StringVar(&f.ref.id, "id", "", "id of the connection")
	} else {
		fs.StringVar(&f.targetName, "target", "", "name of the target, with what is below it: orders/shop")
		fs.StringVar(&f.targetID, "target-id", "", "id of the target")
		fs.StringVar(&f.targetGroup, "target-resource-group", "", "resource group of the target")
		fs.StringVar(&f.targetGroup, "tg", "", "the same")
		must(fs.MarkHidden("tg"))
		a.completeTargets(cmd, k)
	}
	if k != nil && v.name != updateVerb.name {
		fs.StringVar(&f.server, k.server, "", "name of the target's "+strings.ReplaceAll(k.server, "-", " ")+", in place of --target")
		for _, p := range k.parts {
			if p.flag == "" {
				continue
			}
			about := "name of the " + strings.ReplaceAll(p.flag, "-", " ")
			if p.name != "" {
				about += " (default " + p.name + ")"
			} else if p.own {
				about += " (default: the one of the target's own name)"
			}
			f.parts[p.flag] = fs.String(p.flag, "", about)
		}
	}
	clients := []string{}
	if k != nil {
		clients = k.client
	}
	about := "what reads the settings"
	if len(clients) > 0 {
		about += ": " + strings.Join(clients, ", ")
	}
	if v.name != updateVerb.name {
		about += " (default none, or asked for)"
	}
	fs.StringVar(&f.clientType, "client-type", "", about)
	must(cmd.RegisterFlagCompletionFunc("client-type", cobra.FixedCompletions(clients, cobra.ShellCompDirectiveNoFileComp)))
	if k != nil && k.connectionString {
		fs.BoolVar(&f.configConnstr, "config-connstr", false, "with --client-type dotnet: one connection string")
	}
	fs.StringVar(&f.access, "access", "", "what the login may do: reader, writer or owner (default writer)")
	must(cmd.RegisterFlagCompletionFunc("access", cobra.FixedCompletions([]string{"reader", "writer", "owner"}, cobra.ShellCompDirectiveNoFileComp)))
	fs.StringVar(&f.naming, "naming", "", "names of the settings: azure, native or servicebinding (default by kind)")
	must(cmd.RegisterFlagCompletionFunc("naming", cobra.FixedCompletions([]string{"azure", "native", "servicebinding"}, cobra.ShellCompDirectiveNoFileComp)))
	fs.StringArrayVar(&f.options, "option", nil, "an option of the target's driver, name=value (several)")

	fs.StringArrayVar(&f.secret, "secret", nil, "the login to use: name=USER secret=@FILE (or @-, or the value); secret-uri=URI or, with --vault-id, secret-name=NAME; alone: a login of the connection's own, which is the default")
	fs.StringVar(&f.secretFile, "secret-file", "", "file of the password for --secret name=USER; - is standard input")
	fs.BoolVar(&f.systemIdentity, "system-identity", false, "sign in with the source's own identity")
	fs.StringArrayVar(&f.userIdentity, "user-identity", nil, "sign in with an identity: client-id=ID subs-id=ID")
	fs.StringArrayVar(&f.servicePrincipal, "service-principal", nil, "sign in with a service principal: client-id=ID object-id=ID secret=@FILE")
	fs.StringArrayVar(&f.userAccount, "user-account", nil, "sign in with a user's account: object-id=ID")

	fs.StringArrayVar(&f.customizedKeys, "customized-keys", nil, "other names for settings: DEFAULT=NAME (several)")
	fs.StringArrayVar(&f.connstrProps, "connstr-props", nil, "what to append to connection strings: name=value (several)")
	fs.StringArrayVar(&f.additional, "additional", nil, "further settings: NAME=value (several)")
	fs.StringSliceVar(&f.optOut, "opt-out", nil, "leave to the caller: "+strings.Join(optOuts, ", "))
	must(cmd.RegisterFlagCompletionFunc("opt-out", cobra.FixedCompletions(optOuts, cobra.ShellCompDirectiveNoFileComp)))
	fs.StringVar(&f.vaultID, "vault-id", "", "id of the Key Vault that holds the secret")
	fs.StringVar(&f.appConfigID, "appconfig-id", "", "id of the App Configuration that holds the settings")
	fs.StringVar(&f.scope, "scope", "", "container or namespace of the source")
	fs.BoolVar(&f.privateEndpoint, "private-endpoint", false, "reach the target through a private endpoint")
	fs.BoolVar(&f.serviceEndpoint, "service-endpoint", false, "reach the target through a service endpoint")
	if v.name != previewVerb.name {
		fs.BoolVar(&f.noWait, "no-wait", false, "do not wait for the end")
	}
	must(cmd.MarkFlagFilename("secret-file"))
	return f
}

// sourceFlags name the source of a connection.
func (a *app) sourceFlags(cmd *cobra.Command, ref *connectionRef) {
	fs := cmd.Flags()
	fs.StringVar(&ref.source, "source", "", "name of the source")
	fs.StringVarP(&ref.source, "name", "n", "", "the same")
	must(fs.MarkHidden("name"))
	fs.StringVar(&ref.sourceID, "source-id", "", "id of the source")
	fs.StringVarP(&ref.group, "resource-group", "g", "", "resource group of the source (default $PATCHBAY_RESOURCE_GROUP)")
	must(cmd.RegisterFlagCompletionFunc("source", a.completeSources))
}

// askKind lets the person choose among the targets that there are.
func (a *app) askKind(ctx context.Context, f *connectFlags) (targetKind, error) {
	if f.targetID != "" {
		id, err := patchbay.ParseID(f.targetID)
		if err != nil {
			return targetKind{}, err
		}
		for _, k := range targetKinds {
			if k.fits(id) || k.serves(id.Type()) {
				return k, nil
			}
		}
		return targetKind{}, patchbay.Errorf(patchbay.TargetTypeNotSupported, "no target kind has ids of type %s", id.Type())
	}
	inventory, err := a.resources(ctx)
	if err != nil {
		return targetKind{}, err
	}
	var choices []choice
	kinds := map[string]targetKind{}
	for _, r := range inventory {
		for _, k := range kindsOf(r.ID.Type()) {
			key := k.name + " " + string(r.ID)
			if _, again := kinds[string(r.ID)]; again && len(k.types) == 1 {
				continue // postgres-flexible is postgres under another name
			}
			kinds[key], kinds[string(r.ID)] = k, k
			choices = append(choices, choice{fmt.Sprintf("%s  (%s, %s)", r.ID.Name(), k.product, r.ID.ResourceGroup()), key})
		}
	}
	if len(choices) == 0 {
		return targetKind{}, patchbay.Errorf(patchbay.ResourceNotFound, "no target is registered yet").
			WithFix("patchbay resource add --help")
	}
	key, err := a.asker.choose(ctx, "Which target?", choices)
	if err != nil {
		return targetKind{}, err
	}
	k := kinds[key]
	f.targetID, f.guided = strings.TrimPrefix(key, k.name+" "), true
	return k, nil
}

// askMissing asks for what create needs and was not given.
func (a *app) askMissing(ctx context.Context, k targetKind, f *connectFlags) error {
	if !f.ref.named() {
		sources, err := a.sources(ctx)
		if err != nil {
			return err
		}
		if len(sources) == 0 {
			return patchbay.Errorf(patchbay.ResourceNotFound, "no source is registered yet").
				WithFix("patchbay resource add envfile NAME --path FILE")
		}
		var choices []choice
		for _, id := range sources {
			choices = append(choices, choice{id.Name() + "  (" + id.ResourceGroup() + ")", string(id)})
		}
		f.guided = true
		if f.ref.sourceID, err = a.asker.choose(ctx, "Which source, the application to connect?", choices); err != nil {
			return err
		}
	}
	if f.targetID == "" && f.targetName == "" && f.server == "" {
		inventory, err := a.resources(ctx)
		if err != nil {
			return err
		}
		var choices []choice
		for _, r := range inventory {
			if k.serves(r.ID.Type()) {
				choices = append(choices, choice{r.ID.Name() + "  (" + r.ID.ResourceGroup() + ")", string(r.ID)})
			}
		}
		if len(choices) == 0 {
			return patchbay.Errorf(patchbay.ResourceNotFound, "no %s target is registered yet", k.product).
				WithFix("patchbay resource add --help")
		}
		f.guided = true
		if f.targetID, err = a.asker.choose(ctx, "Which "+k.product+" target?", choices); err != nil {
			return err
		}
	}
	if f.access == "" && f.guided {
		var err error
		f.access, err = a.asker.choose(ctx, "What may the application do there?", []choice{
			{"writer: read and write what is there", "writer"},
			{"reader: only read", "reader"},
			{"owner: also make and change the objects themselves", "owner"},
		})
		if err != nil {
			return err
		}
	}
	if f.clientType == "" {
		var choices []choice
		for _, c := range k.client {
			choices = append(choices, choice{c, c})
		}
		var err error
		f.clientType, err = a.asker.choose(ctx, "What reads the settings?", choices)
		return err
	}
	return nil
}

// check refuses what is wrong with the flags by themselves.
func (f *connectFlags) check(cmd *cobra.Command, k targetKind) error {
	if f.clientType != "" {
		// The set is open on the wire, so only the casing is mended here: the
		// server says which ones the kind has.
		for _, c := range k.client {
			if strings.EqualFold(c, f.clientType) {
				f.clientType = c
			}
		}
	}
	for flag, v := range map[string]struct {
		value   string
		allowed []string
	}{
		"--access": {f.access, []string{"reader", "writer", "owner"}},
		"--naming": {f.naming, []string{"azure", "native", "servicebinding"}},
	} {
		if v.value != "" && !slices.Contains(v.allowed, v.value) {
			return usagef(cmd, "%s has no %q; it takes %s%s", flag, clean(v.value), strings.Join(v.allowed, ", "), didYouMean(v.value, v.allowed))
		}
	}
	for _, o := range f.optOut {
		if !slices.Contains(optOuts, o) {
			return usagef(cmd, "--opt-out has no %q; it takes %s", clean(o), strings.Join(optOuts, ", "))
		}
	}
	if f.privateEndpoint && f.serviceEndpoint {
		return usagef(cmd, "--private-endpoint and --service-endpoint exclude each other")
	}
	if f.configConnstr && f.clientType != "dotnet" {
		return usagef(cmd, "--config-connstr is for --client-type dotnet")
	}
	named := 0
	for _, s := range []string{f.targetID, f.targetName, f.server} {
		if s != "" {
			named++
		}
	}
	if named > 1 {
		return usagef(cmd, "name the target once: with --target, --%s or --target-id", k.server)
	}
	auths := 0
	for _, flag := range []string{"secret", "system-identity", "user-identity", "service-principal", "user-account"} {
		if cmd.Flags().Changed(flag) {
			auths++
		}
	}
	if auths > 1 {
		return usagef(cmd, "only one way to sign in: --secret, --system-identity, --user-identity, --service-principal or --user-account")
	}
	return nil
}

// properties are the linker's properties that the flags ask for, in the words
// of the wire; those that were not given are left out.
func (a *app) properties(cmd *cobra.Command, f *connectFlags) (map[string]any, error) {
	p := map[string]any{}
	if f.clientType != "" {
		p["clientType"] = f.clientType
		if f.configConnstr {
			p["clientType"] = "dotnet-connectionString"
		}
	}
	auth, err := a.auth(cmd, f)
	if err != nil {
		return nil, err
	}
	if auth != nil {
		p["authInfo"] = auth
	}
	if f.vaultID != "" {
		p["secretStore"] = map[string]any{"keyVaultId": f.vaultID}
	}
	if f.scope != "" {
		p["scope"] = f.scope
	}
	switch {
	case f.privateEndpoint:
		p["vNetSolution"] = map[string]any{"type": "privateLink"}
	case f.serviceEndpoint:
		p["vNetSolution"] = map[string]any{"type": "serviceEndpoint"}
	}
	configuration := map[string]any{}
	for member, list := range map[string]struct {
		flag string
		args []string
	}{
		"customizedKeys":                       {"--customized-keys", f.customizedKeys},
		"additionalConnectionStringProperties": {"--connstr-props", f.connstrProps},
		"additionalConfigurations":             {"--additional", f.additional},
	} {
		m, err := pairs(list.flag, list.args, nil)
		if err != nil {
			return nil, usageError{err, cmd.CommandPath()}
		}
		if len(m) > 0 {
			configuration[member] = m
		}
	}
	if f.appConfigID != "" {
		configuration["configurationStore"] = map[string]any{"appConfigurationId": f.appConfigID}
	}
	for _, o := range f.optOut {
		switch o {
		case "publicnetwork":
			p["publicNetworkSolution"] = map[string]any{"action": patchbay.OptOut}
		case "configinfo":
			configuration["action"] = patchbay.OptOut
		case "auth":
			if auth == nil {
				auth = map[string]any{"authType": patchbay.AuthSecret}
				p["authInfo"] = auth
			}
			auth["authMode"] = patchbay.OptOutAllAuth
		}
	}
	if len(configuration) > 0 {
		p["configurationInfo"] = configuration
	}
	own := map[string]any{}
	if f.access != "" {
		own["access"] = f.access
	}
	if f.naming != "" {
		own["naming"] = f.naming
	}
	options, err := pairs("--option", f.options, nil)
	if err != nil {
		return nil, usageError{err, cmd.CommandPath()}
	}
	if len(options) > 0 {
		own["options"] = options
	}
	if len(own) > 0 {
		p["patchbay"] = own
	}
	return p, nil
}

// auth is authInfo, nil when no flag says how to sign in.
func (a *app) auth(cmd *cobra.Command, f *connectFlags) (map[string]any, error) {
	usage := func(err error) error { return usageError{err, cmd.CommandPath()} }
	changed := cmd.Flags().Changed
	switch {
	case f.systemIdentity:
		return map[string]any{"authType": patchbay.AuthSystemIdentity}, nil
	case changed("user-identity"):
		m, err := pairs("--user-identity", f.userIdentity, []string{"client-id", "subs-id"})
		if err != nil {
			return nil, usage(err)
		}
		if m["client-id"] == "" {
			return nil, usagef(cmd, "--user-identity needs client-id=ID")
		}
		auth := map[string]any{"authType": patchbay.AuthUserIdentity, "clientId": m["client-id"]}
		if m["subs-id"] != "" {
			auth["subscriptionId"] = m["subs-id"]
		}
		return auth, nil
	case changed("user-account"):
		m, err := pairs("--user-account", f.userAccount, []string{"object-id"})
		if err != nil {
			return nil, usage(err)
		}
		auth := map[string]any{"authType": patchbay.AuthUserAccount}
		if m["object-id"] != "" {
			auth["principalId"] = m["object-id"]
		}
		return auth, nil
	case changed("service-principal"):
		m, err := pairs("--service-principal", f.servicePrincipal, []string{"client-id", "object-id", "secret"})
		if err != nil {
			return nil, usage(err)
		}
		if m["client-id"] == "" || m["object-id"] == "" || m["secret"] == "" {
			return nil, usagef(cmd, "--service-principal needs client-id=ID object-id=ID secret=@FILE")
		}
		secret, err := a.secretValue("service principal's secret", m["secret"])
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"authType": patchbay.AuthSPSecret, "clientId": m["client-id"], "principalId": m["object-id"], "secret": secret.Reveal(),
		}, nil
	case changed("secret") || f.secretFile != "":
		return a.secretAuth(cmd, f)
	}
	return nil, nil
}

// secretAuth is authInfo of az's --secret in its forms.
func (a *app) secretAuth(cmd *cobra.Command, f *connectFlags) (map[string]any, error) {
	m, err := pairs("--secret", f.secret, []string{"name", "secret", "secret-uri", "secret-name"})
	if err != nil {
		return nil, usageError{err, cmd.CommandPath()}
	}
	given := 0
	for _, s := range []string{m["secret"], f.secretFile, m["secret-uri"], m["secret-name"]} {
		if s != "" {
			given++
		}
	}
	auth := map[string]any{"authType": patchbay.AuthSecret}
	if m["name"] != "" {
		auth["name"] = m["name"]
	}
	switch {
	case given > 1:
		return nil, usagef(cmd, "give the secret once: secret=, --secret-file, secret-uri= or secret-name=")
	case m["secret-uri"] != "":
		auth["secretInfo"] = map[string]any{"secretType": patchbay.KeyVaultSecretURI, "value": m["secret-uri"]}
	case m["secret-name"] != "" && f.vaultID == "":
		return nil, usagef(cmd, "secret-name= needs --vault-id")
	case m["secret-name"] != "":
		auth["secretInfo"] = map[string]any{"secretType": patchbay.KeyVaultSecretReference, "name": m["secret-name"]}
	case given == 0 && m["name"] == "":
		// Alone: a login of the connection's own.
	default:
		secret, err := a.givenSecret(cmd, m["name"], m["secret"], f.secretFile)
		if err != nil {
			return nil, err
		}
		auth["secretInfo"] = map[string]any{"secretType": patchbay.RawValue, "value": secret.Reveal()}
	}
	return auth, nil
}

// givenSecret is the secret of a login that the caller has: from the command
// line, a file, standard input or the person.
func (a *app) givenSecret(cmd *cobra.Command, name, arg, file string) (patchbay.Secret, error) {
	what := "secret"
	if name != "" {
		what = "secret of " + clean(name)
	}
	switch {
	case file != "":
		return a.secretFile(what, file)
	case arg != "":
		return a.secretValue(what, arg)
	case a.interactive():
		s, err := a.asker.password(cmd.Context(), "The "+what+":")
		if err == nil && s.IsZero() {
			return s, patchbay.Errorf(patchbay.InvalidArgument, "the %s is empty", what)
		}
		return s, err
	}
	return patchbay.Secret{}, usagef(cmd, "the %s is missing: secret=@FILE, secret=@- (standard input) or --secret-file FILE", what)
}

// newConnection resolves source, target and name of what create and preview
// are asked for.
func (a *app) newConnection(cmd *cobra.Command, k targetKind, f *connectFlags) (patchbay.ID, map[string]any, error) {
	ctx := cmd.Context()
	if err := f.check(cmd, k); err != nil {
		return "", nil, err
	}
	if a.interactive() {
		if err := a.askMissing(ctx, k, f); err != nil {
			return "", nil, err
		}
	}
	switch {
	case !f.ref.named():
		return "", nil, usagef(cmd, "which source? Name it with --source, or say --local for a connection of your own machine")
	case f.targetID == "" && f.targetName == "" && f.server == "":
		return "", nil, usagef(cmd, "which target? Name it with --target or --%s", k.server)
	}
	source, err := a.home(ctx, f.ref)
	if err != nil {
		return "", nil, err
	}
	parts := map[string]string{}
	for flag, value := range f.parts {
		parts[flag] = *value
	}
	target, err := a.target(ctx, k, targetRef{
		id: f.targetID, name: first(f.targetName, f.server), group: f.targetGroup, parts: parts,
	})
	if err != nil {
		return "", nil, err
	}
	if f.clientType == "" {
		f.clientType = "none"
	}
	p, err := a.properties(cmd, f)
	if err != nil {
		return "", nil, err
	}
	p["targetService"] = map[string]any{"type": patchbay.AzureResource, "id": target}
	if p["authInfo"] == nil {
		p["authInfo"] = map[string]any{"authType": patchbay.AuthSecret}
	}
	name := f.ref.connection
	if name == "" {
		if name, err = a.newName(k.name); err != nil {
			return "", nil, err
		}
	}
	id, err := linkerID(source, name)
	return id, p, err
}

// linkerID is the id of a new connection; its name is one segment.
func linkerID(source patchbay.ID, name string) (patchbay.ID, error) {
	id, err := patchbay.ParseID(string(connectionOf(source, name)))
	if err == nil && id.Name() != name {
		err = patchbay.Errorf(patchbay.InvalidArgument, "%q can't be the name of a connection", name)
	}
	return id, err
}

// newName is az's: the kind's letters and digits, and five random ones.
func (a *app) newName(kind string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	name := strings.ReplaceAll(kind, "-", "") + "_"
	for end := len(name) + 5; len(name) < end; {
		var b [1]byte
		if _, err := io.ReadFull(a.Random, b[:]); err != nil {
			return "", fmt.Errorf("no random bytes: %w", err)
		}
		// 252 is the last multiple of 36: every letter is as likely as another.
		if b[0] < 252 {
			name += string(letters[int(b[0])%len(letters)])
		}
	}
	return name, nil
}

func (a *app) runCreate(cmd *cobra.Command, k targetKind, f *connectFlags, _ []string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	id, properties, err := a.newConnection(cmd, k, f)
	if err != nil {
		return err
	}
	target, _ := properties["targetService"].(map[string]any)["id"].(patchbay.ID)
	v, op, err := c.PutConnection(ctx, id, properties)
	if err != nil {
		return during(err, "connect %s to %s", sourceName(id), targetShort(target))
	}
	if err := a.finish(ctx, v, op, f.noWait); err != nil || !id.IsConnector() {
		return err
	}
	a.notef("its settings: patchbay connection list-configuration %s   (or run with them: patchbay run --local --connection %s -- COMMAND)",
		clean(localName(id)), clean(id.Name()))
	return nil
}

// during says what was tried, in an error that does not say it.
func during(err error, format string, args ...any) error {
	e := patchbay.AsError(err)
	if e == nil || e.Op != "" || e.Code == patchbay.Internal && e.Err == nil {
		return err
	}
	copied := *e
	copied.Op = fmt.Sprintf(format, args...)
	return &copied
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

// finish waits for the end of a create or update, unless it is told not to,
// and prints the connection.
func (a *app) finish(ctx context.Context, v arm.ConnectionView, op string, noWait bool) error {
	v, err := a.settle(ctx, v, op, noWait)
	if err != nil {
		return err
	}
	return a.printConnection(v)
}

// settle is the connection after its operation, or as it is when that is not
// waited for.
func (a *app) settle(ctx context.Context, v arm.ConnectionView, op string, noWait bool) (arm.ConnectionView, error) {
	if noWait {
		if op != "" {
			a.notef("patchbay: it goes on in the background: patchbay operation show %s", clean(op))
		}
		return v, nil
	}
	done, err := a.follow(ctx, op)
	if err != nil {
		return v, err
	}
	if done.Message != "" {
		a.notef("patchbay: warning: %s", clean(done.Message))
	}
	c, err := a.client()
	if err != nil {
		return v, err
	}
	return c.Connection(ctx, v.ID)
}

func (a *app) runUpdate(cmd *cobra.Command, k targetKind, f *connectFlags, args []string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	if err := f.check(cmd, k); err != nil {
		return err
	}
	change, err := a.properties(cmd, f)
	if err != nil {
		return err
	}
	if len(change) == 0 {
		return usagef(cmd, "what is to change? Name a client type, a way to sign in, an access or another property")
	}
	id, err := a.resolve(ctx, f.ref, argument(args))
	if err != nil {
		return err
	}
	v, err := c.Connection(ctx, id)
	if err != nil {
		return err
	}
	if t := v.Properties.Target.ID; t != "" && !k.fits(t) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is not a connection to %s but to %s", shortName(id), k.name, t.Type())
	}
	if err := mergeProperties(change, v.Raw); err != nil {
		return err
	}
	v, op, err := c.PatchConnection(ctx, id, change, v.ETag)
	if err != nil {
		return during(err, "update %s", shortName(id))
	}
	return a.finish(ctx, v, op, f.noWait)
}

// mergeProperties completes, in a change, the members that are objects of
// several settings with what the connection has: PATCH replaces them whole.
func mergeProperties(change map[string]any, raw json.RawMessage) error {
	var now struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(raw, &now); err != nil {
		return patchbay.Errorf(patchbay.Internal, "the connection is not what this version expects: %w", err)
	}
	writable := map[string][]string{
		"configurationInfo": nil,
		"secretStore":       nil,
		"patchbay":          {"access", "naming", "options"},
	}
	for member, names := range writable {
		wanted, ok := change[member].(map[string]any)
		if !ok {
			continue
		}
		var old map[string]any
		if err := json.Unmarshal(now.Properties[member], &old); err != nil {
			continue // it had none
		}
		maps.DeleteFunc(old, func(name string, value any) bool {
			return value == nil || names != nil && !slices.Contains(names, name)
		})
		maps.Copy(old, wanted)
		change[member] = old
	}
	return nil
}

func (a *app) runPreview(cmd *cobra.Command, k targetKind, f *connectFlags, _ []string) error {
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	id, properties, err := a.newConnection(cmd, k, f)
	if err != nil {
		return err
	}
	v, err := c.PreviewConnection(cmd.Context(), id, properties)
	if err != nil {
		return err
	}
	if err := a.print(v, func() rows { return previewRows(v) }); err != nil {
		return err
	}
	for _, p := range v.Problems {
		a.errorf("%s", a.describe(p))
	}
	if len(v.Problems) > 0 {
		return statusError{nil, exitCheckFailed}
	}
	return nil
}

func previewRows(v arm.PreviewView) rows {
	r := rows{head: []string{"Kind", "Name", "What"}}
	for i, s := range v.Steps {
		r.add(fmt.Sprintf("step %d", i+1), s.Name, s.Text)
	}
	for _, s := range v.Settings {
		r.add("setting", s.Name, s.Value)
	}
	return r
}

func argument(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
