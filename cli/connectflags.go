package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// optOuts are what --opt-out leaves to the caller.
var optOuts = []string{"publicnetwork", "configinfo", "auth"}

// notYet ends the help of what az has, and every server refuses so far. The
// use cases' tests ask whether it does.
const notYet = " (not yet: always refused)"

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
	drift          string
	force          bool
	options        []string
	settings       []string

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
	clients := []string{}
	if k != nil {
		clients = words(k.Clients)
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
	if k != nil && k.ConnectionString {
		fs.BoolVar(&f.configConnstr, "config-connstr", false, "with --client-type dotnet: one connection string")
	}
	fs.StringVar(&f.access, "access", "", "what the login may do: reader, writer or owner (default writer)")
	must(cmd.RegisterFlagCompletionFunc("access", cobra.FixedCompletions([]string{"reader", "writer", "owner"}, cobra.ShellCompDirectiveNoFileComp)))
	fs.BoolVar(&f.force, "force", false, "take names over that the source has for something else; what they had comes back when the connection goes")
	fs.StringVar(&f.naming, "naming", "", "names of the settings: azure, native, servicebinding, or own, which are those of --setting alone (default by kind)")
	must(cmd.RegisterFlagCompletionFunc("naming", cobra.FixedCompletions([]string{"azure", "native", "servicebinding", "own"}, cobra.ShellCompDirectiveNoFileComp)))
	fs.StringArrayVar(&f.settings, "setting", nil, "a setting of exactly that name, made of the target's values: 'NAME=text with {host} and {password:url}' (several; of an update, NAME= takes it away; docs/settings.md)")
	fs.StringVar(&f.drift, "drift", "", "what is done when somebody changes the settings: report, or repair, which puts them back a minute later (default report)")
	must(cmd.RegisterFlagCompletionFunc("drift", cobra.FixedCompletions([]string{"report", "repair"}, cobra.ShellCompDirectiveNoFileComp)))
	fs.StringArrayVar(&f.options, "option", nil, "an option of the target's driver, name=value (several)")

	fs.StringArrayVar(&f.secret, "secret", nil, "the login to use: name=USER secret=@FILE (or @-, or the value); alone: a login of the connection's own, which is the default; secret-uri=URI or, with --vault-id, secret-name=NAME"+notYet)
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
	fs.StringVar(&f.vaultID, "vault-id", "", "id of the Key Vault that holds the secret"+notYet)
	fs.StringVar(&f.appConfigID, "appconfig-id", "", "id of the App Configuration that holds the settings"+notYet)
	fs.StringVar(&f.scope, "scope", "", a.scopeHelp())
	fs.BoolVar(&f.privateEndpoint, "private-endpoint", false, "reach the target where nobody outside does: by a guard of its that is a private link (patchbay driver list)")
	fs.BoolVar(&f.serviceEndpoint, "service-endpoint", false, "reach the target at its own address, which lets the source in alone: by a guard of its that is a service endpoint (patchbay driver list)")
	if v.name != previewVerb.name {
		fs.BoolVar(&f.noWait, "no-wait", false, "do not wait for the end")
	}
	must(cmd.MarkFlagFilename("secret-file"))
	if k != nil && v.name != updateVerb.name {
		a.partFlags(cmd, *k, f)
	}
	return f
}

// scopeHelp says which parts the sources of this server have.
func (a *app) scopeHelp() string {
	var parts []string
	for _, d := range a.shown().Sources {
		if d.Part != "" && !slices.Contains(parts, d.Part) {
			parts = append(parts, d.Part)
		}
	}
	if len(parts) == 0 {
		return "container or namespace of the source"
	}
	return "the part of the source that is meant, where it has some: a " + inWords(parts, "or")
}

// partFlags declares the flags that name a target. A kind of another release may
// have a word that is a flag already: then --target alone says it.
func (a *app) partFlags(cmd *cobra.Command, k targetKind, f *connectFlags) {
	spoken := func(name string) string { return strings.ReplaceAll(name, "-", " ") }
	if server := k.server(); a.isFree(cmd, server) {
		cmd.Flags().StringVar(&f.server, server, "", "name of the target's "+spoken(server)+", in place of --target")
	}
	for _, p := range k.parts() {
		if !a.isFree(cmd, p.Name) {
			continue
		}
		about := "name of the " + spoken(p.Name)
		switch p.Default {
		case "":
		case "@":
			about += " (default: the one of the target's own name)"
		default:
			about += " (default " + p.Default + ")"
		}
		f.parts[p.Name] = cmd.Flags().String(p.Name, "", about)
	}
}

// isFree reports whether a command can have a flag of that name.
func (a *app) isFree(cmd *cobra.Command, name string) bool {
	return wordForm.MatchString(name) && name != "help" && cmd.Flags().Lookup(name) == nil && a.globals.Lookup(name) == nil
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

// check refuses what is wrong with the flags by themselves.
func (f *connectFlags) check(cmd *cobra.Command, k targetKind) error {
	if f.clientType != "" {
		// The set is open on the wire, so only the casing is mended here: the
		// server says which ones the kind has.
		for _, c := range words(k.Clients) {
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
		"--naming": {f.naming, []string{"azure", "native", "servicebinding", "own"}},
		"--drift":  {f.drift, []string{"report", "repair"}},
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
		return usagef(cmd, "name the target once: with --target, --%s or --target-id", k.server())
	}
	auths := 0
	for _, flags := range [][]string{{"secret", "secret-file"}, {"system-identity"}, {"user-identity"}, {"service-principal"}, {"user-account"}} {
		if slices.ContainsFunc(flags, cmd.Flags().Changed) {
			auths++
		}
	}
	if auths > 1 {
		return usagef(cmd, "only one way to sign in: --secret, --system-identity, --user-identity, --service-principal or --user-account")
	}
	return nil
}
