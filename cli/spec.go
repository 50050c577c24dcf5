package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

// spec is what the flags ask of a connection; what they do not say is zero.
func (a *app) spec(cmd *cobra.Command, f *connectFlags) (patchbay.Spec, error) {
	s := patchbay.Spec{
		Client: patchbay.ClientType(f.clientType), Scope: f.scope,
		Access: patchbay.Access(f.access), Naming: patchbay.Naming(f.naming), TakeOver: f.force, Drift: patchbay.Drift(f.drift),
	}
	if f.configConnstr {
		s.Client = "dotnet-connectionString"
	}
	var err error
	if s.Auth, err = a.auth(cmd, f); err != nil {
		return patchbay.Spec{}, err
	}
	if f.vaultID != "" {
		s.SecretStore = &patchbay.SecretStore{KeyVaultID: f.vaultID}
	}
	switch {
	case f.privateEndpoint:
		s.VNet = &patchbay.VNetSolution{Type: "privateLink"}
	case f.serviceEndpoint:
		s.VNet = &patchbay.VNetSolution{Type: "serviceEndpoint"}
	}
	if f.optsOut("publicnetwork") {
		s.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
	}
	c := &patchbay.ConfigurationInfo{AppConfiguration: f.appConfigID}
	if f.optsOut("configinfo") {
		c.Action = patchbay.OptOut
	}
	for _, list := range []struct {
		flag string
		args []string
		into *map[string]string
	}{
		{"--customized-keys", f.customizedKeys, &c.CustomizedKeys},
		{"--connstr-props", f.connstrProps, &c.ConnectionString},
		{"--additional", f.additional, &c.Additional},
		{"--option", f.options, &s.Options},
		{"--setting", f.settings, &s.Settings},
	} {
		m, err := pairs(list.flag, list.args, nil)
		if err != nil {
			return patchbay.Spec{}, usageError{err, cmd.CommandPath()}
		}
		if len(m) > 0 {
			*list.into = m
		}
	}
	if c.Action != "" || c.AppConfiguration != "" || c.CustomizedKeys != nil || c.ConnectionString != nil || c.Additional != nil {
		s.Configuration = c
	}
	return s, nil
}

// optsOut reports whether that is left to the caller.
func (f *connectFlags) optsOut(of string) bool { return slices.Contains(f.optOut, of) }

// settleAuth completes how the connection signs in: where no flag says it, as was.
// Leaving the rights to the caller is a mode of it, not another way to sign in.
func (f *connectFlags) settleAuth(s *patchbay.Spec, was *patchbay.Auth) {
	if s.Auth == nil {
		s.Auth = was
	}
	if s.Auth == nil {
		s.Auth = &patchbay.Auth{Type: patchbay.AuthSecret}
	}
	if f.optsOut("auth") {
		s.Auth.Mode = patchbay.OptOutAllAuth
	}
}

// auth is how the flags say to sign in, nil when none does.
func (a *app) auth(cmd *cobra.Command, f *connectFlags) (*patchbay.Auth, error) {
	usage := func(err error) error { return usageError{err, cmd.CommandPath()} }
	changed := cmd.Flags().Changed
	switch {
	case f.systemIdentity:
		return &patchbay.Auth{Type: patchbay.AuthSystemIdentity}, nil
	case changed("user-identity"):
		m, err := pairs("--user-identity", f.userIdentity, []string{"client-id", "subs-id"})
		if err != nil {
			return nil, usage(err)
		}
		if m["client-id"] == "" {
			return nil, usagef(cmd, "--user-identity needs client-id=ID")
		}
		return &patchbay.Auth{Type: patchbay.AuthUserIdentity, ClientID: m["client-id"], SubscriptionID: m["subs-id"]}, nil
	case changed("user-account"):
		m, err := pairs("--user-account", f.userAccount, []string{"object-id"})
		if err != nil {
			return nil, usage(err)
		}
		return &patchbay.Auth{Type: patchbay.AuthUserAccount, PrincipalID: m["object-id"]}, nil
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
		return &patchbay.Auth{Type: patchbay.AuthSPSecret, ClientID: m["client-id"], PrincipalID: m["object-id"], Secret: secret}, nil
	case changed("secret") || f.secretFile != "":
		return a.secretAuth(cmd, f)
	}
	return nil, nil
}

// secretAuth is az's --secret in its forms.
func (a *app) secretAuth(cmd *cobra.Command, f *connectFlags) (*patchbay.Auth, error) {
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
	auth := &patchbay.Auth{Type: patchbay.AuthSecret, Name: m["name"]}
	switch {
	case given > 1:
		return nil, usagef(cmd, "give the secret once: secret=, --secret-file, secret-uri= or secret-name=")
	case m["secret-uri"] != "":
		auth.SecretInfo = &patchbay.SecretInfo{Type: patchbay.KeyVaultSecretURI, URI: m["secret-uri"]}
	case m["secret-name"] != "" && f.vaultID == "":
		return nil, usagef(cmd, "secret-name= needs --vault-id")
	case m["secret-name"] != "":
		auth.SecretInfo = &patchbay.SecretInfo{Type: patchbay.KeyVaultSecretReference, Name: m["secret-name"]}
	case given == 0 && m["name"] == "":
		// Alone: a login of the connection's own.
	default:
		secret, err := a.givenSecret(cmd, m["name"], m["secret"], f.secretFile)
		if err != nil {
			return nil, err
		}
		auth.SecretInfo = rawSecret(secret)
	}
	return auth, nil
}

// rawSecret is a secret that goes along with the request.
func rawSecret(s patchbay.Secret) *patchbay.SecretInfo {
	return &patchbay.SecretInfo{Type: patchbay.RawValue, Value: s}
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
