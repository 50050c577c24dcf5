package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

// externalKind is a kind of target that can be registered without being
// administered: what its resource is.
type externalKind struct {
	name     string
	typ      string
	resource string // the resource's own kind, where one type has several
}

// externalKinds are az's words and the settings table's.
func externalKinds() []externalKind {
	kinds := []externalKind{
		{name: "postgresql", typ: "Microsoft.DBforPostgreSQL/flexibleServers"},
		{name: "openai", typ: "Microsoft.CognitiveServices/accounts", resource: "OpenAI"},
		{name: "aiservices", typ: "Microsoft.CognitiveServices/accounts", resource: "AIServices"},
		{name: "keyvault-csi", typ: "Microsoft.KeyVault/vaults"},
		// Nothing of Azure's is registered for these.
		{name: "confluent-cloud", typ: "Patchbay.Services/confluent-cloud"},
		{name: "confluent-schema", typ: "Patchbay.Services/confluent-schema"},
		{name: "fabric-sql", typ: "Patchbay.Services/fabric-sql"},
	}
	for _, k := range targetKinds {
		kinds = append(kinds, externalKind{name: k.name, typ: k.types[0]})
	}
	slices.SortFunc(kinds, func(a, b externalKind) int { return strings.Compare(a.name, b.name) })
	return kinds
}

func externalKindNames() []string {
	var names []string
	for _, k := range externalKinds() {
		names = append(names, k.name)
	}
	return names
}

func (a *app) addExternal() *cobra.Command {
	var kind, endpoint, login, secretFile, secretEnv, ca, serverName string
	var values, endpoints []string
	var noTLS bool
	r := &registration{}
	cmd := a.addCommand("external", "Register a service that Patchbay does not administer",
		`Registers a service of any kind where Patchbay makes nobody and grants nothing. A
connection to it has the login that is given here, one that its creator gives, or
an identity that the service's owner has given its rights.

Without an endpoint the service is where Azure has it. The secret is a password, a
key, a token, the content of a creds file, or a connection string as Azure shows
it, from a file, standard input or the environment. docs/external-targets.md says
what each kind needs.`,
		`  patchbay resource add external cache --kind redis --endpoint rediss://10.0.0.7:6380 --login app --secret-file pw
  patchbay resource add external invoices --kind s3 --endpoint https://s3.shop.internal:9000 --login AKIA… --secret-env AWS_SECRET_ACCESS_KEY
  patchbay resource add external orders --kind servicebus --secret-file - < connection-string`,
		r, func(cmd *cobra.Command, id *patchbay.ID, p, admin map[string]any) (string, error) {
			at := slices.IndexFunc(externalKinds(), func(k externalKind) bool { return k.name == kind })
			if at < 0 && (kind != "" || *id == "") {
				return "", usagef(cmd, "which kind of service? --kind, one of %s%s", strings.Join(externalKindNames(), ", "), didYouMean(kind, externalKindNames()))
			}
			typ := ""
			if at >= 0 {
				typ, r.kind = externalKinds()[at].typ, externalKinds()[at].resource
			}
			p["driver"] = "external"
			setText(p, "endpoint", endpoint)
			for property, flag := range map[string]struct {
				name string
				args []string
			}{"values": {"--value", values}, "endpoints": {"--service-endpoint", endpoints}} {
				m, err := pairs(flag.name, flag.args, nil)
				if err != nil {
					return "", usageError{err, cmd.CommandPath()}
				}
				if len(m) > 0 {
					p[property] = m
				}
			}
			if err := externalTLS(p, ca, serverName, noTLS); err != nil {
				return "", err
			}
			return typ, a.externalLogin(cmd, admin, login, secretFile, secretEnv)
		})
	r.adminFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&kind, "kind", "", "what it is: redis, mysql, storage-blob… (needed unless NAME is a full id)")
	f.StringVar(&endpoint, "endpoint", "", "HOST:PORT or a URL (default: where Azure has a service of that name)")
	f.StringVar(&login, "login", "", "the name of the login that connections get: a user, an access key id, the name of a key")
	f.StringVar(&secretFile, "secret-file", "", "file of the login's secret; - is standard input")
	f.StringVar(&secretEnv, "secret-env", "", "environment variable of the login's secret")
	f.StringArrayVar(&values, "value", nil, "what settings are made of and nothing else says, name=value: database, region, username… (several)")
	f.StringArrayVar(&endpoints, "service-endpoint", nil, "the endpoint of one kind of a resource that has several, kind=URL (several)")
	f.StringVar(&ca, "ca-file", "", "file of the authority of the server's certificate")
	f.StringVar(&serverName, "tls-server-name", "", "the name in the server's certificate, when it is another than the endpoint's")
	f.BoolVar(&noTLS, "no-tls", false, "the service speaks in the clear, and its kind has no other word for it")
	for _, name := range []string{"secret-file", "ca-file"} {
		must(cmd.MarkFlagFilename(name))
	}
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(externalKindNames(), cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// externalTLS says how the service's certificate is checked.
func externalTLS(p map[string]any, ca, serverName string, off bool) error {
	m := map[string]any{}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return patchbay.Errorf(patchbay.InvalidArgument, "the authority can't be read: %w", err)
		}
		m["ca"] = string(text)
	}
	setText(m, "serverName", serverName)
	if off {
		m["off"] = true
	}
	if len(m) > 0 {
		p["tls"] = m
	}
	return nil
}

// externalLogin reads the login that connections get.
func (a *app) externalLogin(cmd *cobra.Command, admin map[string]any, login, file, variable string) error {
	if file != "" && variable != "" {
		return usagef(cmd, "the secret comes from one place: --secret-file or --secret-env")
	}
	var secret patchbay.Secret
	var err error
	switch {
	case file != "":
		secret, err = a.secretFile("login's secret", file)
	case variable != "":
		secret, err = a.secretEnv("login's secret", variable)
	case login != "" && len(admin) == 0:
		return usagef(cmd, "a login has a secret: --secret-file or --secret-env")
	}
	if err != nil {
		return err
	}
	if !secret.IsZero() {
		admin["secret"] = secret.Reveal()
	}
	setText(admin, "username", login)
	return nil
}
