// Package sqlserver is the target driver for Microsoft SQL Server and Azure SQL.
//
// Where the database is contained, and on Azure SQL Database, a connection's login is a
// user of the database with a password. Elsewhere it is a login of the server with a user
// for it in the one database. It has its rights granted to it directly, on that database:
//
//	reader  CONNECT, SELECT
//	writer  and INSERT, UPDATE, DELETE, EXECUTE
//	owner   and ALTER ANY SCHEMA, REFERENCES, VIEW DEFINITION, and CREATE of what
//	        migrations create
//
// The mark is an extended property of the user, which only a db_owner can write, and it
// says the user's SID: a user that somebody made anew under the name is not ours. A
// login of the server can have no property: its SID is one that follows from the mark,
// and nothing changes a login's SID ([decision 0043]).
//
// What a login made stays usable when it goes: its schemas become those of a user of
// ours that can't sign in. A user that modules run as stays, without a password that
// anybody knows, for as long as they do.
//
// [decision 0043]: ../../docs/decisions/0043-sql-server-a-property-and-a-sid.md
package sqlserver

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver is the target driver of SQL Server and Azure SQL.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "sql", Children: []string{"databases"},
		Open: open, Probe: tryLogin,
	}
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	s, err := parse(c)
	if err != nil {
		return nil, err
	}
	return &target{server: s, pool: pool{places: make(chan struct{}, s.sessions)}}, nil
}

// target administers one server.
type target struct {
	server *server
	pool   pool
}
