package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// serverUnknown is the code of a command line that nothing says a server to.
const serverUnknown patchbay.Code = "ServerUnknown"

// The files of a data directory that the command line reads.
const (
	serverFile = "server.json" // {"url": …}, there while the server runs
	tokenFile  = "admin.token"
	caFile     = "ca.crt"
)

// DefaultDataDir is where a server keeps its records when it is not told:
// $PATCHBAY_DATA, or the user's state directory. It is "" when the user has
// none.
func DefaultDataDir(getenv func(string) string) string {
	if dir := getenv("PATCHBAY_DATA"); dir != "" {
		return dir
	}
	home := getenv("HOME")
	if runtime.GOOS == "darwin" {
		if home == "" {
			return ""
		}
		return filepath.Join(home, "Library", "Application Support", "patchbay")
	}
	if state := getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "patchbay")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "state", "patchbay")
}

func (a *app) data() string {
	if a.dataDir != "" {
		return a.dataDir
	}
	return DefaultDataDir(a.Getenv)
}

// found is a server that was found, and how: local is that of the data
// directory.
type found struct {
	client.Config
	local bool
}

// findServer finds the server, and whom to trust about it.
func (a *app) findServer() (found, error) {
	f := found{Config: client.Config{
		URL:       first(a.url, a.Getenv("PATCHBAY_URL")),
		UserAgent: "patchbay/" + a.Version.Version + " (" + runtime.GOOS + "/" + runtime.GOARCH + ")",
	}}
	dir := a.data()
	ca := first(a.caFile, a.Getenv("PATCHBAY_CA"))
	local, localErr := localServer(dir)
	switch {
	case f.URL == "" && localErr != nil:
		return found{}, localErr
	case f.URL == "":
		f.URL = local
		fallthrough
	case strings.TrimSuffix(f.URL, "/") == strings.TrimSuffix(local, "/"):
		f.local = true
		if ca == "" && strings.HasPrefix(local, "https://") {
			ca = filepath.Join(dir, caFile)
		}
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return found{}, patchbay.Errorf(patchbay.CertificateInvalid, "the authority of the server can't be read: %w", err)
		}
		f.CA = pem
	}
	return f, nil
}

// client finds the server and is ready to sign in to it.
func (a *app) client() (*client.Client, error) {
	if a.connected != nil {
		return a.connected, nil
	}
	f, err := a.findServer()
	if err != nil {
		return nil, err
	}
	if f.Token, err = a.token(f); err != nil {
		return nil, err
	}
	if f.Token.IsZero() {
		return nil, patchbay.Errorf(patchbay.Unauthenticated, "the token to sign in with is empty")
	}
	// It becomes a header: net/http's complaint about one that can't would
	// not show it, but would not say which header either.
	if strings.ContainsFunc(f.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, patchbay.Errorf(patchbay.Unauthenticated, "the token has a character that tokens do not have")
	}
	c, err := client.New(f.Config)
	if err != nil {
		return nil, err
	}
	a.connected = c
	return c, nil
}

// token is what to sign in with: one that was named, else that of a login,
// else the admin token of the data directory, which goes to the server of that
// directory and nowhere else.
func (a *app) token(f found) (patchbay.Secret, error) {
	file := a.tokenFile
	if file == "" {
		if env := a.Getenv("PATCHBAY_TOKEN"); env != "" {
			return patchbay.NewSecret(env), nil
		}
		token, ok, err := a.loginToken(f.Config)
		var unseen unseenLogin
		if f.local && errors.As(err, &unseen) {
			err = nil // a home that can't be read is in nobody's way who has the data directory
		}
		if ok || err != nil {
			return token, err
		}
		if !f.local {
			return patchbay.Secret{}, patchbay.Errorf(patchbay.Unauthenticated, "there is no token to sign in to %s with", f.URL).
				WithFix("patchbay login   (or set PATCHBAY_TOKEN, or name a file with --token-file)")
		}
		file = filepath.Join(a.data(), tokenFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.Unauthenticated, "the token can't be read: %w", err)
	}
	return patchbay.NewSecret(strings.TrimSpace(string(text))), nil
}

// localServer is the URL in the data directory's server file.
func localServer(dir string) (string, error) {
	if dir == "" {
		return "", patchbay.Errorf(serverUnknown, "no server is named, and there is no HOME to look for one in").
			WithFix("name one: --patchbay-url https://host:7443")
	}
	text, err := os.ReadFile(filepath.Join(dir, serverFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", patchbay.Errorf(serverUnknown, "no server runs on the data directory %s", dir).
			WithFix("start it: patchbay serve   (or name one elsewhere: --patchbay-url https://host:7443)")
	}
	if err != nil {
		return "", patchbay.Errorf(serverUnknown, "the server's file can't be read: %w", err)
	}
	var v struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(text, &v); err != nil || v.URL == "" {
		return "", patchbay.Errorf(serverUnknown, "%s does not say where the server is", filepath.Join(dir, serverFile)).
			WithFix("start it anew: patchbay serve")
	}
	return v.URL, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// scope is the subscription and resource group of something new: what was
// named, or the only one that there is.
func (a *app) scope(ctx context.Context, group string) (patchbay.ID, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	sub := first(a.subscription, a.Getenv("PATCHBAY_SUBSCRIPTION"))
	if sub == "" {
		subs, err := c.Subscriptions(ctx)
		if err != nil {
			return "", err
		}
		names := make([]string, len(subs))
		for i, s := range subs {
			names[i] = s.ID
		}
		if sub, err = theOnly("subscription", "--subscription", names); err != nil {
			return "", err
		}
	}
	group = first(group, a.Getenv("PATCHBAY_RESOURCE_GROUP"))
	if group == "" {
		groups, err := c.ResourceGroups(ctx, sub)
		if err != nil {
			return "", err
		}
		names := make([]string, len(groups))
		for i, g := range groups {
			names[i] = g.ID.Name()
		}
		if group, err = theOnly("resource group", "--resource-group", names); err != nil {
			return "", err
		}
	}
	return patchbay.ParseID("/subscriptions/" + sub + "/resourceGroups/" + group)
}

func theOnly(what, flag string, names []string) (string, error) {
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", patchbay.Errorf(patchbay.ResourceNotFound, "the server has no %s", what)
	}
	return "", patchbay.Errorf(patchbay.InvalidArgument, "there are %d of them: %s", len(names), strings.Join(names, ", ")).
		WithFix("name the %s with %s", what, flag)
}
