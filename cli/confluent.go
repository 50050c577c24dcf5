package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// schemaSuffix makes the name of the connection to a schema registry. A Kafka
// cluster and its registry are the one kind of target that has no id: each is an
// endpoint, and each a connection of its own. The names are as with az.
const schemaSuffix = "_schema"

type confluentFlags struct {
	kind                                     string
	bootstrap, key, secret                   string
	registry, registryKey, registrySecret    string
	clientType, naming                       string
	customizedKeys, additional, connstrProps []string
	noWait                                   bool
}

// confluentCommand is nil where the catalogue has no such kind.
func (a *app) confluentCommand(v connectVerb) *cobra.Command {
	kind, ok := endpointKind(a.shown(), patchbay.ConfluentBootstrapServer)
	if !ok {
		return nil
	}
	clients := words(kind.Clients)
	short := "Connect a source to " + kind.Title
	use, args := kind.Name, cobra.NoArgs
	path := "  patchbay connection " + v.name + " " + kind.Name
	example := path + ` --source web --client-type go --connection events \
    --bootstrap-server pkc-1.example.com:9092 --kafka-key KEY --kafka-secret @kafka.secret \
    --schema-registry https://psrc-1.example.com --schema-key KEY --schema-secret @schema.secret`
	if v.name == updateVerb.name {
		short = "Change a connection to " + kind.Title
		use, args = kind.Name+" [SOURCE/NAME]", cobra.MaximumNArgs(1)
		example = path + " web/events --kafka-key KEY --kafka-secret @kafka.secret"
	}
	ref := &connectionRef{}
	f := &confluentFlags{kind: kind.Name}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args, Example: example,
		Long: short + ".\n\nThese are two connections: NAME to the cluster, and NAME" + schemaSuffix + " to its schema registry.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.runConfluent(cmd, v, *ref, f, argument(args)) },
	}
	a.homeFlags(cmd, ref)
	fs := cmd.Flags()
	fs.StringVar(&ref.connection, "connection", "", "name of the connection to the cluster")
	fs.StringVar(&f.bootstrap, "bootstrap-server", "", "HOST:PORT of the cluster")
	fs.StringVar(&f.key, "kafka-key", "", "API key for the cluster")
	fs.StringVar(&f.secret, "kafka-secret", "", "its secret: @FILE, @- or the value")
	fs.StringVar(&f.registry, "schema-registry", "", "URL of the schema registry")
	fs.StringVar(&f.registryKey, "schema-key", "", "API key for the schema registry")
	fs.StringVar(&f.registrySecret, "schema-secret", "", "its secret: @FILE, @- or the value")
	fs.StringVar(&f.clientType, "client-type", "", "what reads the settings: "+strings.Join(clients, ", "))
	fs.StringVar(&f.naming, "naming", "", "names of the settings: azure or native (default azure)")
	fs.StringArrayVar(&f.customizedKeys, "customized-keys", nil, "other names for settings: DEFAULT=NAME (several)")
	fs.StringArrayVar(&f.connstrProps, "connstr-props", nil, "what to append to connection strings: name=value (several)")
	fs.StringArrayVar(&f.additional, "additional", nil, "further settings: NAME=value (several)")
	fs.BoolVar(&f.noWait, "no-wait", false, "do not wait for the end")
	must(cmd.RegisterFlagCompletionFunc("client-type", cobra.FixedCompletions(clients, cobra.ShellCompDirectiveNoFileComp)))
	if v.name == updateVerb.name {
		fs.StringVar(&ref.id, "id", "", "id of the connection to the cluster")
		cmd.ValidArgsFunction = a.completeConnections
	}
	return cmd
}

func (a *app) runConfluent(cmd *cobra.Command, v connectVerb, ref connectionRef, f *confluentFlags, arg string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	update := v.name == updateVerb.name
	common, err := a.spec(cmd, &connectFlags{
		clientType: f.clientType, naming: f.naming,
		customizedKeys: f.customizedKeys, connstrProps: f.connstrProps, additional: f.additional,
	})
	if err != nil {
		return err
	}
	cluster, err := a.confluentEnd(cmd, common, patchbay.ConfluentBootstrapServer, f.bootstrap, f.key, f.secret, "kafka", !update)
	if err != nil {
		return err
	}
	registry, err := a.confluentEnd(cmd, common, patchbay.ConfluentSchemaRegistry, f.registry, f.registryKey, f.registrySecret, "schema", !update)
	if err != nil {
		return err
	}
	if update && cluster.IsZero() && registry.IsZero() {
		return usagef(cmd, "what is to change? Name an endpoint, a key, a client type or another property")
	}
	var id patchbay.ID
	if update {
		id, err = a.resolve(ctx, ref, arg)
	} else {
		id, err = a.confluentName(cmd, ref, f.kind)
	}
	if err != nil {
		return err
	}
	if strings.HasSuffix(strings.ToLower(id.Name()), schemaSuffix) {
		return usagef(cmd, "a Kafka connection's name does not end in %s: that is the one to its schema registry", schemaSuffix)
	}
	var views []client.ConnectionView
	for _, end := range []struct {
		id   patchbay.ID
		spec patchbay.Spec
	}{{id, cluster}, {id + schemaSuffix, registry}} {
		view, err := a.writeConfluent(cmd, c, end.id, end.spec, update, f.noWait)
		if err != nil {
			return err
		}
		views = append(views, view)
	}
	flat := make([]map[string]any, len(views))
	for i, view := range views {
		if flat[i], err = flatten(view.Raw); err != nil {
			return err
		}
	}
	return a.print(flat, func() rows { return connectionRows(views) })
}

// writeConfluent makes or changes one of the two connections. An update that
// says nothing of it only reads it.
func (a *app) writeConfluent(cmd *cobra.Command, c *client.Client, id patchbay.ID, spec patchbay.Spec, update, noWait bool) (client.ConnectionView, error) {
	ctx := cmd.Context()
	var v client.ConnectionView
	var op string
	var err error
	if update {
		if v, err = c.Connection(ctx, id); err != nil || spec.IsZero() {
			return v, err
		}
		v, op, err = c.PatchConnection(ctx, id, spec, v.ETag)
	} else {
		v, op, err = c.PutConnection(ctx, id, spec)
	}
	if err != nil {
		return v, during(err, "write %s", shortName(id))
	}
	return a.settle(ctx, v, op, noWait)
}

// confluentName is the id of a new connection to a cluster.
func (a *app) confluentName(cmd *cobra.Command, ref connectionRef, kind string) (patchbay.ID, error) {
	if ref.source == "" && ref.sourceID == "" {
		return "", usagef(cmd, "which source? Name it with --source")
	}
	source, err := a.home(cmd.Context(), ref)
	if err != nil {
		return "", err
	}
	name := ref.connection
	if name == "" {
		if name, err = a.newName(kind); err != nil {
			return "", err
		}
	}
	return linkerID(source, name)
}

// confluentEnd is what is asked of one of the two connections; a new one has to
// be told everything.
func (a *app) confluentEnd(cmd *cobra.Command, spec patchbay.Spec, typ patchbay.TargetType, endpoint, key, secret, flag string, whole bool) (patchbay.Spec, error) {
	if whole && spec.Client == "" {
		spec.Client = "none"
	}
	if whole && (endpoint == "" || key == "" || secret == "") || (key == "") != (secret == "") {
		return spec, usagef(cmd, "the %s end needs an endpoint, --%s-key and --%s-secret", flag, flag, flag)
	}
	if endpoint != "" {
		spec.Target = patchbay.TargetService{Type: typ, Endpoint: endpoint}
	}
	if key != "" {
		s, err := a.secretValue(flag+" secret", secret)
		if err != nil {
			return spec, err
		}
		spec.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, Name: key, SecretInfo: rawSecret(s)}
	}
	return spec, nil
}
