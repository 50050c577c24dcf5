// Package etcd administers etcd clusters as targets, from version 3.4 on.
//
// A login is a user and a role of its own, which has the permissions and whose name
// is our mark: etcd has no place for a comment, and nothing that binds a user and a
// role together in one instant. So a login is made in this order, and each step says
// what the one before it made: the role, without a permission; the user, with a first
// password that follows from the mark; the role is granted; the password becomes the
// credential's; the role gets its permissions. Whose a user is without the role follows
// from that (decision 0034).
//
// # Access
//
// Access is to keys below prefixes, named at registration or by a connection (option
// prefixes). A prefix is a prefix, as it is for etcd: orders is of orders2 too.
//
//	reader  gets and watches the keys
//	writer  and puts and deletes them
//
// # What a removal ends
//
// With the user its tokens are gone, and the next request of whoever has one is
// refused. A watch that is open goes on: etcd asks for rights when a watch begins and
// never again, and has no way to end one but the end of its connection. That is said
// when the login is asked for ([driver.WarnedLogins]).
package etcd

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver serves etcd clusters.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "etcd", Children: []string{""},
		Open: open, Probe: tryLogin,
	}
}

// target is one cluster.
type target struct {
	config
	admin *admin
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	administrator, err := c.Admin.UserPassword()
	if err != nil {
		return nil, err
	}
	return &target{config: cfg, admin: newAdmin(cfg, administrator, c.Dialer)}, nil
}

// Close implements [driver.Target].
func (t *target) Close() error {
	t.admin.close()
	return nil
}
