package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) resourceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resource",
		Short: "Register what there is to connect",
		Long: `The inventory says what each resource is, where it is and how to administer it.
A source is an application's host of settings (envfile); a target is a service
that applications use: one that Patchbay administers (postgres, nats), or one
where it only knows the way and the login (external).`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add := &cobra.Command{
		Use:   "add KIND",
		Short: "Register a resource, or change one",
		Long: `Registers a resource under a name, and checks what it is told: that the resource
can be reached and that the admin credential works. A name that is registered
already is changed.

The admin credential is stored sealed and never shown again. --admin name=value
is for values that are no secret, or name=@FILE and name=@- (standard input): a
secret value on a command line can be seen by others.`,
		Example: `  patchbay resource add envfile web --path ./web.env
  patchbay resource add postgres orders --endpoint 10.0.0.5:5432 --admin postgres --admin-password-file pw
  patchbay resource add nats events --endpoint nats://10.0.0.6:4222 --operator-seed-file seed.nk --system-creds-file sys.creds
  patchbay resource add external cache --kind redis --endpoint rediss://10.0.0.7:6380 --secret-file pw`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd, "which kind of resource? There are envfile, postgres, nats, external, and other")
			}
			return noCommand(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	add.AddCommand(a.addEnvfile(), a.addPostgres(), a.addNATS(), a.addExternal(), a.addOther())
	cmd.AddCommand(add, a.resourceList(), a.resourceShow(), a.resourceRemove())
	return cmd
}

// registration is what every `resource add` has.
type registration struct {
	group, location string
	tags            []string
	noCheck         bool
	properties      []string
	admin           []string
	adminEnv        []string
	passwordFile    string
	// user is the admin member that a bare --admin NAME is, "" for none.
	user string
	// kind is the resource's own, where one type has several.
	kind string
	// password says that there are flags for the administrator's password.
	password bool
}

func (a *app) addCommand(kind, short, long, example string, r *registration, build func(cmd *cobra.Command, id *patchbay.ID, properties, admin map[string]any) (typ string, err error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: kind + " NAME", Short: short, Long: long, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			if strings.Contains(args[0], "/") && !strings.HasPrefix(args[0], "/") {
				return usagef(cmd, "%q can't be the name of a resource", clean(args[0]))
			}
			properties := map[string]any{}
			if err := setProperties(properties, r.properties); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			admin, err := a.adminValues(cmd, r)
			if err != nil {
				return err
			}
			var id patchbay.ID
			if strings.HasPrefix(args[0], "/") {
				if id, err = patchbay.ParseID(args[0]); err != nil {
					return err
				}
			}
			typ, err := build(cmd, &id, properties, admin)
			if err != nil {
				return err
			}
			if id == "" {
				scope, err := a.scope(ctx, r.group)
				if err != nil {
					return err
				}
				namespace, kind, ok := strings.Cut(typ, "/")
				if !ok {
					return usagef(cmd, "%q is not a type; one has the form Namespace/kind", clean(typ))
				}
				id, err = patchbay.ParseID(string(scope) + "/providers/" + namespace + "/" + kind + "/" + args[0])
				if err != nil {
					return err
				}
			}
			if len(admin) > 0 {
				properties["admin"] = admin
			}
			body := map[string]any{"properties": properties}
			if r.location != "" {
				body["location"] = r.location
			}
			setText(body, "kind", r.kind)
			tags, err := pairs("--tag", r.tags, nil)
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if len(tags) > 0 {
				body["tags"] = tags
			}
			v, created, err := c.PutResource(ctx, id, body, !r.noCheck)
			if err != nil {
				return during(err, "register %s", id.Name())
			}
			for _, w := range v.Properties.Warnings {
				a.notef("patchbay: warning: %s", clean(w))
			}
			if !created {
				a.notef("patchbay: %s was registered already, and is changed", clean(id.Name()))
			}
			return a.printResource(v)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&r.group, "resource-group", "g", "", "resource group (default $PATCHBAY_RESOURCE_GROUP, or the only one)")
	f.StringVarP(&r.location, "location", "l", "", "location (default: the resource group's)")
	f.StringArrayVar(&r.tags, "tag", nil, "a tag, name=value (several)")
	f.BoolVar(&r.noCheck, "no-check", false, "do not ask the resource whether it is as it is told")
	f.StringArrayVar(&r.properties, "property", nil, "a property of the driver's own, name=text or name:=JSON (several)")
	return cmd
}

// setProperties adds name=text and name:=JSON to m.
func setProperties(m map[string]any, args []string) error {
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || name == ":" {
			return fmt.Errorf("--property takes name=text or name:=JSON")
		}
		if bare, isJSON := strings.CutSuffix(name, ":"); isJSON {
			var v any
			if err := json.Unmarshal([]byte(value), &v); err != nil {
				return fmt.Errorf("--property %s:= is not JSON: %w", clean(bare), err)
			}
			m[bare] = v
			continue
		}
		m[name] = value
	}
	return nil
}

func (r *registration) adminFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	about := "a part of the admin credential, name=value, name=@FILE or name=@- (several)"
	if r.user != "" {
		about = "the administrator's name; or " + about
	}
	f.StringArrayVar(&r.admin, "admin", nil, about)
	f.StringArrayVar(&r.adminEnv, "admin-env", nil, "a part of the admin credential from the environment: name=VARIABLE, or the password's VARIABLE (several)")
	if r.password {
		f.StringVar(&r.passwordFile, "admin-password-file", "", "file of the administrator's password; - is standard input")
		must(cmd.MarkFlagFilename("admin-password-file"))
	}
}

// adminValues reads the admin credential from wherever the flags say.
func (a *app) adminValues(cmd *cobra.Command, r *registration) (map[string]any, error) {
	admin := map[string]any{}
	set := func(name, value string) error {
		if _, twice := admin[name]; twice {
			return usagef(cmd, "the admin credential has %s twice", clean(name))
		}
		admin[name] = value
		return nil
	}
	for _, arg := range r.admin {
		name, value, ok := strings.Cut(arg, "=")
		if !ok && r.user != "" {
			name, value = r.user, arg
		} else if !ok || name == "" {
			return nil, usagef(cmd, "--admin takes name=value")
		}
		if file, isFile := strings.CutPrefix(value, "@"); isFile {
			s, err := a.secretFile(clean(name), file)
			if err != nil {
				return nil, err
			}
			value = s.Reveal()
		} else if name != "username" && name != "user" {
			if _, err := a.secretValue("admin's "+name, value); err != nil { // for its warning
				return nil, err
			}
		}
		if err := set(name, value); err != nil {
			return nil, err
		}
	}
	for _, arg := range r.adminEnv {
		name, variable, ok := strings.Cut(arg, "=")
		if !ok {
			if !r.password {
				return nil, usagef(cmd, "--admin-env takes name=VARIABLE")
			}
			name, variable = "password", arg
		}
		s, err := a.secretEnv("admin's "+clean(name), variable)
		if err != nil {
			return nil, err
		}
		if err := set(name, s.Reveal()); err != nil {
			return nil, err
		}
	}
	if r.passwordFile != "" {
		s, err := a.secretFile("admin's password", r.passwordFile)
		if err != nil {
			return nil, err
		}
		if err := set("password", s.Reveal()); err != nil {
			return nil, err
		}
	}
	return admin, nil
}

func (a *app) addEnvfile() *cobra.Command {
	var path, dialect, pidFile, signal, bindingRoot string
	var reload, egress []string
	r := &registration{}
	cmd := a.addCommand("envfile", "Register an application that reads an environment file",
		`Registers an application on the server's machine that reads its settings from a
file: a .env file, one for docker --env-file, or a systemd EnvironmentFile.

With a reload, the application is told when its settings change: a command, as a
list of its arguments without a shell, or a signal to the process in a pid file.`,
		`  patchbay resource add envfile web --path ./web.env
  patchbay resource add envfile web --path /etc/web/env --dialect systemd --reload-command systemctl --reload-command restart --reload-command web
  patchbay resource add envfile web --path ./web.env --reload-pid-file /run/web.pid --reload-signal HUP`,
		r, func(cmd *cobra.Command, _ *patchbay.ID, p, _ map[string]any) (string, error) {
			if path == "" {
				return "", usagef(cmd, "which file? --path FILE")
			}
			if len(reload) > 0 && pidFile != "" {
				return "", usagef(cmd, "one way to reload: --reload-command or --reload-pid-file")
			}
			if signal != "" && pidFile == "" {
				return "", usagef(cmd, "--reload-signal needs --reload-pid-file")
			}
			// The server has another working directory.
			for _, file := range []*string{&path, &pidFile, &bindingRoot} {
				if *file == "" {
					continue
				}
				abs, err := filepath.Abs(*file)
				if err != nil {
					return "", patchbay.Errorf(patchbay.InvalidArgument, "%q is no path: %w", *file, err)
				}
				*file = abs
			}
			p["driver"], p["endpoint"] = "envfile", path
			setText(p, "dialect", dialect)
			setText(p, "bindingRoot", bindingRoot)
			setList(p, "egress", egress)
			switch {
			case len(reload) > 0:
				p["reload"] = map[string]any{"command": reload}
			case pidFile != "":
				m := map[string]any{"pidFile": pidFile}
				setText(m, "signal", signal)
				p["reload"] = m
			}
			return "Microsoft.Web/sites", nil
		})
	f := cmd.Flags()
	f.StringVar(&path, "path", "", "the file")
	f.StringVar(&dialect, "dialect", "", "how it is written: dotenv, docker or systemd (default dotenv)")
	f.StringArrayVar(&reload, "reload-command", nil, "one argument of the command that reloads the application (several, in order)")
	f.StringVar(&pidFile, "reload-pid-file", "", "file of the process that is signaled to reload")
	f.StringVar(&signal, "reload-signal", "", "the signal (default HUP)")
	f.StringVar(&bindingRoot, "binding-root", "", "directory of settings that are files ($SERVICE_BINDING_ROOT)")
	f.StringSliceVar(&egress, "egress", nil, "addresses that the application speaks from, as 10.0.0.0/24 (several)")
	must(cmd.MarkFlagFilename("path"))
	must(cmd.MarkFlagFilename("reload-pid-file"))
	must(cmd.MarkFlagDirname("binding-root"))
	must(cmd.RegisterFlagCompletionFunc("dialect", cobra.FixedCompletions([]string{"dotenv", "docker", "systemd"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func (a *app) addPostgres() *cobra.Command {
	var endpoint, dsn, sslmode, ca, cert, key string
	r := &registration{user: "username", password: true}
	cmd := a.addCommand("postgres", "Register a PostgreSQL server",
		`Registers a PostgreSQL server, with an administrator that may make roles and grant
rights (a superuser, or one with CREATEROLE that owns the databases).

The password comes from a file, the environment or standard input; with a
terminal it is asked for.`,
		`  patchbay resource add postgres orders --endpoint 10.0.0.5:5432 --admin postgres --admin-password-file pw
  patchbay resource add postgres orders --url postgres://postgres@10.0.0.5:5432/?sslmode=verify-full --ca-file ca.pem --admin-env PGPASSWORD`,
		r, func(cmd *cobra.Command, _ *patchbay.ID, p, admin map[string]any) (string, error) {
			if dsn != "" {
				if endpoint != "" {
					return "", usagef(cmd, "say where it is once: --endpoint or --url")
				}
				var err error
				if endpoint, err = a.postgresURL(cmd, dsn, &sslmode, p, admin); err != nil {
					return "", err
				}
			}
			if endpoint == "" {
				return "", usagef(cmd, "where is it? --endpoint HOST:PORT")
			}
			p["driver"], p["endpoint"] = "postgres", withPort(endpoint, "5432")
			setText(p, "sslmode", sslmode)
			if ca != "" {
				text, err := os.ReadFile(ca)
				if err != nil {
					return "", patchbay.Errorf(patchbay.InvalidArgument, "the authority can't be read: %w", err)
				}
				p["ca"] = string(text)
			}
			if (cert == "") != (key == "") {
				return "", usagef(cmd, "--admin-cert-file and --admin-key-file go together")
			}
			for member, file := range map[string]string{"clientCert": cert, "clientKey": key} {
				if file == "" {
					continue
				}
				s, err := a.secretFile("admin's "+member, file)
				if err != nil {
					return "", err
				}
				admin[member] = s.Reveal()
			}
			if admin["username"] != nil && admin["password"] == nil && cert == "" && a.interactive() {
				s, err := a.asker.password(cmd.Context(), "The password of "+clean(fmt.Sprint(admin["username"]))+":")
				if err != nil {
					return "", err
				}
				if !s.IsZero() {
					admin["password"] = s.Reveal()
				}
			}
			return "Microsoft.DBforPostgreSQL/flexibleServers", nil
		})
	r.adminFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&endpoint, "endpoint", "", "HOST:PORT")
	f.StringVar(&dsn, "url", "", "postgres://USER@HOST:PORT/?sslmode=…, in place of --endpoint and --admin; @FILE reads it from a file")
	f.StringVar(&sslmode, "sslmode", "", "disable, prefer, require, verify-ca or verify-full (default prefer)")
	f.StringVar(&ca, "ca-file", "", "file of the authority of the server's certificate")
	f.StringVar(&cert, "admin-cert-file", "", "file of the administrator's client certificate")
	f.StringVar(&key, "admin-key-file", "", "file of its key")
	for _, name := range []string{"ca-file", "admin-cert-file", "admin-key-file"} {
		must(cmd.MarkFlagFilename(name))
	}
	must(cmd.RegisterFlagCompletionFunc("sslmode", cobra.FixedCompletions([]string{"disable", "prefer", "require", "verify-ca", "verify-full"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// postgresURL takes a postgres:// URL apart. Its errors never show it: it may
// hold a password.
func (a *app) postgresURL(cmd *cobra.Command, dsn string, sslmode *string, p, admin map[string]any) (string, error) {
	if file, ok := strings.CutPrefix(dsn, "@"); ok {
		s, err := a.secretFile("URL", file)
		if err != nil {
			return "", err
		}
		dsn = s.Reveal()
	} else if u, err := url.Parse(dsn); err == nil {
		if _, has := u.User.Password(); has {
			a.notef("patchbay: warning: the password is on the command line, where other users of this machine and the shell's history can see it; --admin-password-file and --url @FILE are not")
		}
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Hostname() == "" {
		return "", usagef(cmd, "--url takes postgres://USER@HOST:PORT/")
	}
	if name := u.User.Username(); name != "" && admin["username"] == nil {
		admin["username"] = name
	}
	if password, has := u.User.Password(); has && admin["password"] == nil {
		admin["password"] = password
	}
	for name, values := range u.Query() {
		if name != "sslmode" {
			return "", usagef(cmd, "--url has the parameter %q; only sslmode is taken", clean(name))
		}
		if *sslmode == "" {
			*sslmode = values[0]
		}
	}
	// The database is where the administrator works, not what is connected.
	if name := strings.Trim(u.Path, "/"); name != "" && p["database"] == nil {
		p["database"] = name
	}
	return u.Host, nil
}

func withPort(endpoint, port string) string {
	if _, _, err := net.SplitHostPort(endpoint); err == nil {
		return endpoint
	}
	return net.JoinHostPort(strings.Trim(endpoint, "[]"), port)
}

func (a *app) addNATS() *cobra.Command {
	var endpoint, account, ca, seed, creds string
	var subjects, streams []string
	r := &registration{}
	cmd := a.addCommand("nats", "Register a NATS server",
		`Registers a NATS server in operator mode. Its users are signed with the seed, and
the system account's credentials are what revokes them.`,
		`  patchbay resource add nats events --endpoint nats://10.0.0.6:4222 --account ABJ… \
    --subject 'orders.>' --operator-seed-file operator.nk --system-creds-file sys.creds`,
		r, func(cmd *cobra.Command, _ *patchbay.ID, p, admin map[string]any) (string, error) {
			if endpoint == "" {
				return "", usagef(cmd, "where is it? --endpoint nats://HOST:PORT")
			}
			p["driver"], p["endpoint"] = "nats", endpoint
			setText(p, "account", account)
			setList(p, "subjects", subjects)
			setList(p, "streams", streams)
			if ca != "" {
				text, err := os.ReadFile(ca)
				if err != nil {
					return "", patchbay.Errorf(patchbay.InvalidArgument, "the authority can't be read: %w", err)
				}
				p["ca"] = string(text)
			}
			for member, file := range map[string]string{"operatorSeed": seed, "systemCreds": creds} {
				if file == "" {
					continue
				}
				s, err := a.secretFile("admin's "+member, file)
				if err != nil {
					return "", err
				}
				admin[member] = s.Reveal()
			}
			return "Patchbay.Services/natsServers", nil
		})
	r.adminFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&endpoint, "endpoint", "", "nats://HOST:PORT or tls://HOST:PORT")
	f.StringVar(&account, "account", "", "the account that connections are made in: its public key (A…)")
	f.StringSliceVar(&subjects, "subject", nil, "subjects that connections may use, unless they ask for others (several)")
	f.StringSliceVar(&streams, "stream", nil, "streams that connections may use, unless they ask for others (several)")
	f.StringVar(&seed, "operator-seed-file", "", "file of the operator's seed (SO…)")
	f.StringVar(&creds, "system-creds-file", "", "file of the credentials of a user of the system account")
	f.StringVar(&ca, "ca-file", "", "file of the authority of the server's certificate")
	for _, name := range []string{"operator-seed-file", "system-creds-file", "ca-file"} {
		must(cmd.MarkFlagFilename(name))
	}
	return cmd
}

func (a *app) addOther() *cobra.Command {
	var typ, driver, endpoint string
	r := &registration{password: true}
	cmd := a.addCommand("other", "Register a resource of any type and driver",
		"Registers a resource of a driver that has no command of its own. NAME may be a full id; otherwise --type says what it is.",
		`  patchbay resource add other cache --type Microsoft.Cache/redis --driver redis --endpoint 10.0.0.7:6379 \
    --admin username=default --admin-password-file pw --property tls:=true`,
		r, func(cmd *cobra.Command, id *patchbay.ID, p, _ map[string]any) (string, error) {
			if typ == "" && *id == "" {
				return "", usagef(cmd, "what is it? --type Namespace/kind")
			}
			setText(p, "driver", driver)
			setText(p, "endpoint", endpoint)
			return typ, nil
		})
	r.adminFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&typ, "type", "", "its ARM type: Microsoft.Cache/redis")
	f.StringVar(&driver, "driver", "", "its driver (default: the only one of that type)")
	f.StringVar(&endpoint, "endpoint", "", "where it is, as the driver wants it")
	return cmd
}

func setText(m map[string]any, name, value string) {
	if value != "" {
		m[name] = value
	}
}

func setList(m map[string]any, name string, values []string) {
	if len(values) > 0 {
		m[name] = values
	}
}

func (a *app) printResource(v client.ResourceView) error {
	flat, err := flatten(v.Raw)
	if err != nil {
		return err
	}
	return a.print(flat, func() rows { return resourceRows([]client.ResourceView{v}) })
}

func resourceRows(found []client.ResourceView) rows {
	r := rows{head: []string{"Name", "ResourceGroup", "Type", "Driver", "Endpoint", "State"}}
	for _, v := range found {
		r.add(v.ID.Name(), v.ID.ResourceGroup(), v.ID.Type(), v.Properties.Driver, v.Properties.Endpoint, string(v.Properties.State))
	}
	return r
}

func (a *app) resourceList() *cobra.Command {
	var group, driver string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the inventory",
		Long:    "Lists what is registered.",
		Example: "  patchbay resource list -o table\n  patchbay resource list --driver postgres",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.start(cmd); err != nil {
				return err
			}
			every, err := a.resources(cmd.Context())
			if err != nil {
				return err
			}
			found := []client.ResourceView{}
			flat := []map[string]any{}
			for _, v := range every {
				if group != "" && !strings.EqualFold(v.ID.ResourceGroup(), group) || driver != "" && v.Properties.Driver != driver ||
					a.subscription != "" && !strings.EqualFold(v.ID.Subscription(), a.subscription) {
					continue
				}
				found = append(found, v)
				m, err := flatten(v.Raw)
				if err != nil {
					return err
				}
				flat = append(flat, m)
			}
			return a.print(flat, func() rows { return resourceRows(found) })
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "only of this resource group")
	cmd.Flags().StringVar(&driver, "driver", "", "only of this driver")
	return cmd
}

// anyResource finds a resource by name or id.
func (a *app) anyResource(ctx context.Context, name, group string) (patchbay.ID, error) {
	if strings.HasPrefix(name, "/") {
		return patchbay.ParseID(name)
	}
	r, err := a.find(ctx, lookup{what: "resource", name: name, group: group, flag: "the whole id"})
	return r.ID, err
}

func (a *app) completeResources(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		found, _ := a.resources(ctx)
		names := make([]string, len(found))
		for i, v := range found {
			names[i] = clean(v.ID.Name()) + "\t" + clean(v.ID.Type())
		}
		return names
	})
}

func (a *app) resourceShow() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use:               "show NAME|ID",
		Short:             "Show a resource",
		Long:              "Shows a resource, without its admin credential.",
		Example:           "  patchbay resource show orders",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeResources,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			id, err := a.anyResource(cmd.Context(), args[0], group)
			if err != nil {
				return err
			}
			v, err := c.Resource(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.printResource(v)
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "resource group of the resource")
	return cmd
}

func (a *app) resourceRemove() *cobra.Command {
	var group string
	var yes bool
	cmd := &cobra.Command{
		Use:               "remove NAME|ID",
		Short:             "Forget a resource",
		Long:              "Forgets a resource; the thing itself is not touched. One that a connection has can't be removed.",
		Example:           "  patchbay resource remove orders --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeResources,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			id, err := a.anyResource(cmd.Context(), args[0], group)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd, yes, "Forget the resource "+id.Name()+"?"); err != nil {
				return err
			}
			existed, err := c.DeleteResource(cmd.Context(), id)
			if err == nil && !existed {
				a.notef("patchbay: there is no resource %s", clean(string(id)))
			}
			return during(err, "remove %s", id.Name())
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "resource group of the resource")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
