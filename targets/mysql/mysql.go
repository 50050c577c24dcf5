// Package mysql is the target driver for MySQL 8 and MariaDB.
//
// A connection's login is an account with a password, 'name'@'%', or one account for
// each network that its source speaks from. It has its rights on one database, granted
// to it directly:
//
//	reader  SELECT, SHOW VIEW
//	writer  and INSERT, UPDATE, DELETE, EXECUTE, CREATE TEMPORARY TABLES
//	owner   and all others that there are on a database, but GRANT OPTION
//
// On MySQL the mark is an attribute of the account. MariaDB has no place for one: there
// it is a row of the table patchbay.logins, and a grant to the account on that table
// which is of no use to it; DROP USER takes the grant away, so that an account that
// somebody made anew under the name is not ours ([decision 0031]).
//
// Views, routines, triggers and events run with the rights of whoever defined them. An
// account that defines some stays when its login goes: locked, with another mark,
// without a password that anybody knows, and only as long as it defines something.
//
// Statements that change accounts can't be part of a transaction. So each is one that
// may come twice, in an order in which whatever is there after each of them is ours, and
// under a lock of the server's with the login's name (GET_LOCK).
//
// [decision 0031]: ../../docs/decisions/0031-mysql-marks-and-definers.md
package mysql

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver is the target driver of MySQL and MariaDB.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "mysql", Children: []string{"databases"},
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
