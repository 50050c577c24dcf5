package cli

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	oidc "github.com/zitadel/oidc/v3/pkg/client"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

const (
	// freshFor is how long a token must still be good to be sent.
	freshFor = time.Minute
	// renewTimeout bounds how long a command waits for a new token.
	renewTimeout = 30 * time.Second
)

// login is how one has signed in to a server: the token, and where the next
// one comes from. Its file is for its owner alone.
type login struct {
	Server  string    `json:"server"`
	Token   string    `json:"token,omitempty"`
	Expires time.Time `json:"expires,omitzero"`

	// Of a person, at a provider.
	Provider  string   `json:"provider,omitempty"`
	TokenURL  string   `json:"tokenUrl,omitempty"`
	ClientID  string   `json:"clientId,omitempty"` // a service principal's too
	Scopes    []string `json:"scopes,omitempty"`
	Audiences []string `json:"audiences,omitempty"`
	Refresh   string   `json:"refreshToken,omitempty"`

	// Of a service principal: where its secret is, when that is a file. The
	// secret itself is not kept.
	Tenant     string `json:"tenant,omitempty"`
	SecretFile string `json:"secretFile,omitempty"`

	// Of a machine: the file that its platform writes tokens to.
	FederatedFile string `json:"federatedTokenFile,omitempty"`
}

// loginFile is where the login to a server is kept; "" when the user has no
// state directory.
func (a *app) loginFile(server string) string {
	dir := DefaultDataDir(func(name string) string {
		if name == "PATCHBAY_DATA" {
			return ""
		}
		return a.Getenv(name)
	})
	if dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimRight(server, "/"))))
	return filepath.Join(filepath.Dir(dir), "patchbay-logins", hex.EncodeToString(sum[:8])+".json")
}

// unseenLogin is the error of a home directory that can't be looked into: there
// may be a login or not.
type unseenLogin struct{ error }

func (e unseenLogin) Unwrap() error { return e.error }

// readLogin reads a login; ok is false when there is none.
func (a *app) readLogin(server string) (l login, ok bool, err error) {
	path := a.loginFile(server)
	if path == "" {
		return l, false, nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return l, false, nil
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		return l, false, patchbay.Errorf(patchbay.Unauthenticated, "the login file %s can be read by others than you", path).
			WithFix("patchbay logout, and patchbay login again")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return l, false, unseenLogin{patchbay.Errorf(patchbay.Unauthenticated, "the login can't be read: %w", err)}
	}
	if json.Unmarshal(text, &l) != nil {
		return l, false, patchbay.Errorf(patchbay.Unauthenticated, "the login file %s is damaged", path).WithFix("patchbay login")
	}
	return l, true, nil
}

func (a *app) writeLogin(l login) error {
	path := a.loginFile(l.Server)
	if path == "" {
		return patchbay.Errorf(patchbay.InvalidArgument, "there is no HOME to keep a login in")
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "the login can't be kept: %w", err)
	}
	if err := renameio.WriteFile(path, append(text, '\n'), 0o600, renameio.IgnoreUmask()); err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "the login can't be kept: %w", err)
	}
	return nil
}

// loginToken is the token of the login to a server, a new one when it is about
// to expire; ok is false when nobody has signed in.
func (a *app) loginToken(server client.Config) (token patchbay.Secret, ok bool, err error) {
	l, ok, err := a.readLogin(server.URL)
	if err != nil || !ok {
		return patchbay.Secret{}, false, err
	}
	if l.FederatedFile != "" {
		// Read each time: the platform replaces it.
		token, err := a.secretFile("federated token", l.FederatedFile)
		return token, true, err
	}
	if !l.fresh(a.Now()) {
		if l, err = a.renew(server); err != nil {
			return patchbay.Secret{}, false, err
		}
	}
	return patchbay.NewSecret(l.Token), true, nil
}

func (l login) fresh(now time.Time) bool { return l.Token != "" && now.Add(freshFor).Before(l.Expires) }

// renew gets a new token. One process does it at a time: a refresh token may be
// good once only.
func (a *app) renew(server client.Config) (login, error) {
	ctx, cancel := context.WithTimeout(context.Background(), renewTimeout)
	defer cancel()
	lock := flock.New(a.loginFile(server.URL) + ".lock")
	if ok, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil || !ok {
		return login{}, patchbay.Errorf(patchbay.Unauthenticated, "another process renews the login and does not end")
	}
	defer func() { _ = lock.Unlock() }()
	l, ok, err := a.readLogin(server.URL)
	if err != nil {
		return login{}, err
	}
	if !ok {
		return login{}, expiredLogin()
	}
	if l.fresh(a.Now()) {
		return l, nil
	}
	switch {
	case l.Refresh != "":
		err = a.refresh(ctx, &l)
	case l.SecretFile != "":
		var secret patchbay.Secret
		if secret, err = a.secretFile("client secret", l.SecretFile); err == nil {
			err = a.signInPrincipal(ctx, server, &l, secret)
		}
	default:
		err = expiredLogin()
	}
	if err != nil {
		return login{}, err
	}
	return l, a.writeLogin(l)
}

func expiredLogin() error {
	return patchbay.Errorf(patchbay.Unauthenticated, "the login has expired").WithFix("patchbay login")
}

// refresh gets a person's next token from the provider.
func (a *app) refresh(ctx context.Context, l *login) error {
	config := oauth2.Config{ClientID: l.ClientID, Scopes: l.Scopes, Endpoint: oauth2.Endpoint{TokenURL: l.TokenURL, AuthStyle: oauth2.AuthStyleInParams}}
	if err := notInTheClear(l.TokenURL); err != nil {
		return err
	}
	t, err := config.TokenSource(withHTTP(ctx, providerHTTP()), &oauth2.Token{RefreshToken: l.Refresh}).Token()
	if err != nil {
		return signInFailed("the provider "+l.Provider, err)
	}
	return l.take(t)
}

// signInPrincipal gets a service principal's token from the server.
func (a *app) signInPrincipal(ctx context.Context, server client.Config, l *login, secret patchbay.Secret) error {
	c, err := client.New(server)
	if err != nil {
		return err
	}
	defer c.Close()
	path := "/adfs/oauth2/token"
	if l.Tenant != "" {
		path = "/" + url.PathEscape(l.Tenant) + "/oauth2/v2.0/token"
	}
	config := clientcredentials.Config{
		ClientID: l.ClientID, ClientSecret: secret.Reveal(), TokenURL: c.URL() + path, AuthStyle: oauth2.AuthStyleInParams,
	}
	t, err := config.Token(withHTTP(ctx, c.HTTP()))
	if err != nil {
		return signInFailed("the server", err)
	}
	l.Token, l.Expires = t.AccessToken, t.Expiry
	return nil
}

func withHTTP(ctx context.Context, h *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, h)
}

// providerHTTP reaches a provider, without following a redirect into the clear.
func providerHTTP() *http.Client {
	return &http.Client{
		Timeout: renewTimeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return notInTheClear(r.URL.String())
		},
	}
}

func notInTheClear(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return patchbay.Errorf(patchbay.InvalidArgument, "the provider names an address that is no URL")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback()) {
		return nil
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "tokens are not sent in the clear: %s does not begin with https://", u.Redacted())
}

// signInFailed says why, in the words of whoever refused. An answer's body may
// hold a token, so nothing else of it is shown.
func signInFailed(who string, err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return patchbay.Errorf(patchbay.Unauthenticated, "%s does not answer a sign-in: %w", who, err)
	}
	why := first(refused.ErrorDescription, refused.ErrorCode)
	if why == "" && refused.Response != nil {
		why = refused.Response.Status
	}
	return patchbay.Errorf(patchbay.Unauthenticated, "%s refuses the sign-in: %s", who, clean(why)).WithFix("patchbay login")
}

// take keeps what a provider gave: the token that is meant for the server,
// which is the access token where it says so, and the id token otherwise.
func (l *login) take(t *oauth2.Token) error {
	id, _ := t.Extra("id_token").(string)
	for _, token := range []string{t.AccessToken, id} {
		audiences, expires, ok := claimsOf(token)
		if !ok || !slices.ContainsFunc(audiences, func(s string) bool { return slices.Contains(l.Audiences, s) }) {
			continue
		}
		l.Token, l.Expires = token, expires
		if t.RefreshToken != "" {
			l.Refresh = t.RefreshToken
		}
		return nil
	}
	return patchbay.Errorf(patchbay.Unauthenticated, "the provider %s gave no token that is for this server", l.Provider).
		WithFix("let the provider's audience be one of %s, or add its own to the file that patchbay serve reads with --oidc", strings.Join(l.Audiences, ", "))
}

// claimsOf reads a token without believing it: the server checks it.
func claimsOf(token string) (audiences []string, expires time.Time, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, time.Time{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c struct {
		Audience json.RawMessage `json:"aud"`
		Expires  float64         `json:"exp"`
	}
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return nil, time.Time{}, false
	}
	var one string
	if json.Unmarshal(c.Audience, &one) == nil {
		audiences = []string{one}
	} else if json.Unmarshal(c.Audience, &audiences) != nil {
		return nil, time.Time{}, false
	}
	return audiences, time.Unix(int64(c.Expires), 0), true
}

// loginOptions is what patchbay login was told.
type loginOptions struct {
	provider, federated string
	principal           bool
	clientID, tenant    string
	secret, secretEnv   string
}

func (a *app) loginCommand() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign in to a server",
		Long: `Signs in to a server. A person signs in at an OpenID Connect provider that the
server accepts: this command shows an address and a code, and waits. A service
principal signs in with its secret; a machine with the token that its platform
writes to a file. The token is kept for the commands that follow, in a file that
only you can read, and replaced when it expires.

--token-file and PATCHBAY_TOKEN go before a login, and a login before the admin
token of a data directory.`,
		Example: `  patchbay login --patchbay-url https://patchbay.example:7443
  patchbay login --service-principal --client-id 7d0b… --secret-file ./secret
  patchbay login --federated-token-file /var/run/secrets/tokens/patchbay`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.provider, "provider", "", "the provider to sign in at (default: the only one)")
	f.BoolVar(&o.principal, "service-principal", false, "sign in as a service principal")
	f.StringVar(&o.clientID, "client-id", "", "the service principal's client id")
	f.StringVar(&o.tenant, "tenant", "", "its tenant, by id or name (default: the one that it is in)")
	f.StringVar(&o.secret, "secret-file", "", "file of its secret, - is standard input; a file is read again when the token expires")
	f.StringVar(&o.secretEnv, "secret-env", "", "environment variable of its secret")
	f.StringVar(&o.federated, "federated-token-file", "", "file of a provider's token, as a platform gives its machines")
	must(cmd.MarkFlagFilename("secret-file"))
	must(cmd.MarkFlagFilename("federated-token-file"))
	cmd.MarkFlagsMutuallyExclusive("service-principal", "provider", "federated-token-file")
	cmd.MarkFlagsMutuallyExclusive("secret-file", "secret-env")
	return cmd
}

func (a *app) login(cmd *cobra.Command, o loginOptions) error {
	if err := a.checkOutput(); err != nil {
		return usageError{err, cmd.CommandPath()}
	}
	if !o.principal && (o.clientID != "" || o.tenant != "" || o.secret != "" || o.secretEnv != "") {
		return usagef(cmd, "--client-id, --tenant, --secret-file and --secret-env go with --service-principal")
	}
	found, err := a.findServer()
	if err != nil {
		return err
	}
	server := found.Config
	l := login{Server: server.URL, ClientID: o.clientID, Tenant: o.tenant}
	switch {
	case o.principal:
		err = a.loginPrincipal(cmd, server, &l, o)
	case o.federated != "":
		if l.FederatedFile, err = filepath.Abs(o.federated); err == nil {
			_, err = a.secretFile("federated token", l.FederatedFile)
		}
	default:
		err = a.loginPerson(cmd.Context(), server, &l, o.provider)
	}
	if err != nil {
		return err
	}
	// Nothing is kept that the server doesn't take.
	server.Token = patchbay.NewSecret(l.Token)
	if l.FederatedFile != "" {
		a.stdinUsed = false
		if server.Token, err = a.secretFile("federated token", l.FederatedFile); err != nil {
			return err
		}
	}
	who, err := a.whoIs(cmd.Context(), server)
	if err != nil {
		return err
	}
	if err := a.writeLogin(l); err != nil {
		return err
	}
	return a.printCaller(who)
}

func (a *app) loginPrincipal(cmd *cobra.Command, server client.Config, l *login, o loginOptions) (err error) {
	var secret patchbay.Secret
	switch {
	case o.clientID == "":
		return usagef(cmd, "--service-principal needs --client-id")
	case o.secretEnv != "":
		secret, err = a.secretEnv("client secret", o.secretEnv)
	case o.secret != "":
		file := strings.TrimPrefix(o.secret, "@")
		if secret, err = a.secretFile("client secret", file); err == nil && file != "-" {
			l.SecretFile, err = filepath.Abs(file)
		}
	default:
		return usagef(cmd, "--service-principal needs --secret-file or --secret-env")
	}
	if err != nil {
		return err
	}
	return a.signInPrincipal(cmd.Context(), server, l, secret)
}

// loginPerson signs a person in with a code on another device, or in another
// window (RFC 8628).
func (a *app) loginPerson(ctx context.Context, server client.Config, l *login, name string) error {
	p, err := a.providerNamed(ctx, server, name)
	if err != nil {
		return err
	}
	if err := notInTheClear(p.Issuer); err != nil {
		return err
	}
	h := providerHTTP()
	endpoints, err := oidc.Discover(ctx, p.Issuer, h)
	if err != nil {
		return patchbay.Errorf(patchbay.Unauthenticated, "the provider %s does not say how to sign in: %w", p.Name, err)
	}
	if endpoints.DeviceAuthorizationEndpoint == "" {
		return patchbay.Errorf(patchbay.NotSupported, "the provider %s has no sign-in with a device code", p.Name)
	}
	for _, u := range []string{endpoints.DeviceAuthorizationEndpoint, endpoints.TokenEndpoint} {
		if err := notInTheClear(u); err != nil {
			return err
		}
	}
	config := oauth2.Config{ClientID: p.ClientID, Scopes: p.Scopes, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: endpoints.DeviceAuthorizationEndpoint, TokenURL: endpoints.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams,
	}}
	ctx = withHTTP(ctx, h)
	device, err := config.DeviceAuth(ctx)
	if err != nil {
		return signInFailed("the provider "+p.Name, err)
	}
	a.errorf("To sign in, open %s and enter the code %s\n", clean(device.VerificationURI), clean(device.UserCode))
	t, err := config.DeviceAccessToken(ctx, device)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return signInFailed("the provider "+p.Name, err)
	}
	l.Provider, l.ClientID, l.Scopes, l.Audiences, l.TokenURL = p.Name, p.ClientID, p.Scopes, p.Audiences, endpoints.TokenEndpoint
	return l.take(t)
}

// providerNamed is the provider to sign in at.
func (a *app) providerNamed(ctx context.Context, server client.Config, name string) (arm.ProviderView, error) {
	c, err := client.New(server)
	if err != nil {
		return arm.ProviderView{}, err
	}
	defer c.Close()
	ways, err := c.SignIn(ctx)
	if err != nil {
		return arm.ProviderView{}, err
	}
	var fit []arm.ProviderView
	var names []string
	for _, p := range ways.Providers {
		if p.ClientID == "" {
			continue
		}
		names = append(names, p.Name)
		if name == "" || p.Name == name {
			fit = append(fit, p)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(names) == 0:
		return arm.ProviderView{}, patchbay.Errorf(patchbay.NotSupported, "the server accepts no provider that people can sign in at").
			WithFix("sign in as a service principal: patchbay login --service-principal --client-id ID --secret-file FILE")
	case name != "":
		return arm.ProviderView{}, patchbay.Errorf(patchbay.InvalidArgument, "there is no provider %q; there are %s%s", name, strings.Join(names, ", "), didYouMean(name, names))
	}
	return arm.ProviderView{}, patchbay.Errorf(patchbay.InvalidArgument, "there are several providers: %s", strings.Join(names, ", ")).
		WithFix("patchbay login --provider %s", names[0])
}

// whoIs asks the server whose the token is.
func (a *app) whoIs(ctx context.Context, server client.Config) (arm.CallerView, error) {
	c, err := client.New(server)
	if err != nil {
		return arm.CallerView{}, err
	}
	defer c.Close()
	return callerOf(ctx, c)
}

func callerOf(ctx context.Context, c *client.Client) (arm.CallerView, error) {
	ways, err := c.SignIn(ctx)
	if err != nil {
		return arm.CallerView{}, err
	}
	if ways.Caller == nil {
		return arm.CallerView{}, patchbay.Errorf(patchbay.Unauthenticated, "the server does not say who you are").WithFix("patchbay login")
	}
	return *ways.Caller, nil
}

func (a *app) printCaller(who arm.CallerView) error {
	return a.print(who, func() rows {
		r := rows{head: []string{"Name", "Kind", "Id", "Tenant"}}
		kind := string(who.Kind)
		if who.Operator {
			kind = "operator"
		}
		r.add(who.Name, kind, who.ID, who.Tenant)
		return r
	})
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "logout",
		Short:   "Forget the login to a server",
		Long:    "Removes the token that patchbay login has kept for the server. It stays good at the server until it expires.",
		Example: "  patchbay logout",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := a.findServer()
			if err != nil {
				return err
			}
			path := a.loginFile(found.URL)
			if path == "" {
				return nil
			}
			if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				a.notef("patchbay: there is no login to %s", found.URL)
			} else if err != nil {
				return fmt.Errorf("forget the login: %w", err)
			}
			if err := os.Remove(path + ".lock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("forget the login: %w", err)
			}
			return nil
		},
	}
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show who the server takes you for",
		Long:    "Shows the principal that the token which this command line would use is of, with its tenant and its groups.",
		Example: "  patchbay whoami -o table",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			who, err := callerOf(cmd.Context(), c)
			if err != nil {
				return err
			}
			return a.printCaller(who)
		},
	}
}
