// Package mongodb administers MongoDB servers from version 4.4 on as targets: a replica
// set, what mongos leads to, or one server that stands alone.
//
// A login is a user of the database that it is for, so that the database is also where it
// signs in (authSource), and an administrator of that database alone may make it. It has
// SCRAM-SHA-256 and nothing else, the roles of its access on that database, the source's
// addresses as its authentication restrictions, and our mark in its customData. One
// command makes all of it, so a user is whole or not there (decision 0042).
//
//	reader  read
//	writer  readWrite
//	owner   readWrite and dbAdmin: indexes, validators, statistics, and the end of it all
//
// dbOwner is nobody's: it may make users, and give itself what it was not given.
//
// # What a removal ends
//
// A user that is dropped has no rights from the next command on, also in connections that
// are open: a server that is told of the drop looks the user up anew, and signs it out.
// The connection itself stays, as that of nobody. Commands and cursors that are under way
// are ended one by one. Another mongos than the one that was asked may take its rights
// from memory for as long as userCacheInvalidationIntervalSecs says, 30 seconds unless
// somebody changed it.
package mongodb

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Driver serves MongoDB.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "mongodb", Children: []string{"databases"},
		Open: open, Probe: tryLogin,
	}
}

// target is one replica set, one sharded cluster, or one server.
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

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}
