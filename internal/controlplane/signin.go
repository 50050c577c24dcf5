package controlplane

import (
	"context"
	"time"

	"patchbay.dev/patchbay/identity"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/server"
	"patchbay.dev/patchbay/store"
)

// SignIn says how callers are known. Zero fields take the defaults of package
// identity.
type SignIn struct {
	Providers string        // the file of OpenID Connect providers; "" is none
	Lifetime  time.Duration // of a token of the built-in issuer
	Rotation  time.Duration // how long a signing key signs
}

// openSignIn gives the server its principals and their tokens. What it gives
// back ends them.
func openSignIn(ctx context.Context, records store.Directory, keys *keyring.Keyring, o SignIn, to *server.Options) (closing func(), err error) {
	var providers []identity.Provider
	if o.Providers != "" {
		if providers, err = identity.ReadProviders(o.Providers); err != nil {
			return nil, err
		}
	}
	who, err := identity.New(ctx, identity.Options{
		Directory: records, Keys: keys, Providers: providers, Lifetime: o.Lifetime, Rotation: o.Rotation, Log: to.Log,
	})
	if err != nil {
		return nil, err
	}
	to.Identity, to.Issuer = who, who
	who.Warm()
	return who.Close, nil
}
