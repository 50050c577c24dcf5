// Package redis administers Redis and Valkey servers from version 7.0 as targets.
//
// A login is an ACL user: off until it is whole, then with one password, the patterns
// of its keys and channels, and the commands of its access. Users are not replicated,
// so it is made on every node: the servers of the endpoint, and the replicas and
// cluster nodes that these name. What makes it last is the server's ACL file, or its
// configuration file.
//
//	reader  the commands that read; subscribing
//	writer  and those that write; publishing; scripts
//	owner   and SORT; of all keys: KEYS and FLUSHDB
//
// # The mark
//
// A user has no place for a comment. Our mark is a selector that has a key pattern and
// no command, which gives no right: (~patchbay:connection=…&generation=…&uid=…
// -@all). Whoever resets a user takes the mark away with all else (decision 0032).
//
// # What the rules can't say
//
// They know keys and channels, not databases. A login may SELECT its own database
// alone, MOVE and COPY are nobody's, and so a login of database 0 stays there; but
// every connection begins in database 0, so a login of another one reaches it too.
// Commands that tell the names of keys tell all of them: a login with patterns has
// none of these.
package redis

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver serves Redis and Valkey servers.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "redis", Children: []string{"databases"},
		Open: open, Probe: tryLogin,
	}
}

// target is one server with its replicas, or one cluster.
type target struct{ config }

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parse(c)
	if err == nil {
		err = cfg.parseAdmin(c.Admin)
	}
	if err != nil {
		return nil, err
	}
	return &target{cfg}, nil
}

// Close implements [driver.Target]. Every call has connections of its own.
func (t *target) Close() error { return nil }
