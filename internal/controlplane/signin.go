package controlplane

import (
	"context"
	"time"

	"patchbay.dev/patchbay/access"
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

// openSignIn gives the server its principals, their tokens and their roles.
// What it gives back ends them.
func openSignIn(ctx context.Context, records any, keys *keyring.Keyring, o SignIn, to *server.Options) (closing func(), err error) {
	directory, known := records.(store.Directory)
	roles, kept := records.(store.Roles)
	places, there := records.(access.Places)
	if !known || !kept || !there {
		return func() {}, nil // such records keep no principals: the operator is the only caller
	}
	var providers []identity.Provider
	if o.Providers != "" {
		if providers, err = identity.ReadProviders(o.Providers); err != nil {
			return nil, err
		}
	}
	who, err := identity.New(ctx, identity.Options{
		Directory: directory, Keys: keys, Providers: providers, Lifetime: o.Lifetime, Rotation: o.Rotation, Log: to.Log,
	})
	if err != nil {
		return nil, err
	}
	if to.Access, err = access.New(ctx, access.Options{Roles: roles, Places: places, People: directory}); err != nil {
		who.Close()
		return nil, err
	}
	to.Identity, to.Issuer = who, who
	who.Warm()
	return who.Close, nil
}
