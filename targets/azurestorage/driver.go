// Package azurestorage administers Azure Storage accounts as targets: their blobs,
// queues, tables and file shares.
//
// A login is a shared access signature of one container, queue, table or share under a
// stored access policy of its own, whose identifier begins with the login's name. The
// policy has the permissions, the start and the expiry, and the signature none of them:
// whoever removes the policy has revoked the signature. A policy has no place for whose it is. That is noted in a
// container of the account's, [noteContainer], a blob for each login (decision 0041).
//
// # Access
//
//	          reader  writer  owner
//	blobs     rl      racwdl  racwdxltfi
//	queues    r       raup
//	tables    r       raud
//	shares    rl      rcwdl
//
// # The list of policies
//
// A container has at most five, and they are only ever written all at once. Others'
// stand in what is written as the service has told them, byte for byte. Writers of ours
// take turns by a lease on a blob beside the notes; a container's list is written on the
// condition that nobody has changed the container since it was read. Queues, tables and
// shares have no condition: who writes such a list in the moment between reading and
// writing loses to us, and there is nothing that could tell.
package azurestorage

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Driver serves storage accounts.
func Driver() driver.TargetDriver {
	var children []string
	for _, s := range services {
		children = append(children, s.segment, s.segment+"/"+s.children)
	}
	return driver.TargetDriver{Driver: description, Children: children, Open: open, Probe: tryLogin}
}

// target is one account.
type target struct {
	config
	api *api
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	key, err := parseKey(c.Admin["key"])
	if err != nil {
		return nil, err
	}
	a, err := newAPI(cfg.tls, c.Dialer, "", patchbay.AdminRefused)
	if err != nil {
		return nil, err
	}
	a.account, a.key = cfg.account, key
	return &target{config: cfg, api: a}, nil
}

// Close implements [driver.Target].
func (t *target) Close() error {
	t.api.close()
	return nil
}
