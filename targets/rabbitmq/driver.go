// Package rabbitmq is the target driver for RabbitMQ 3.10 and later.
//
// Logins are users, administered over the management API ([api]); a probe signs in
// over AMQP 0-9-1. The endpoint is where applications speak AMQP, the property
// management where its API is.
//
// # Names of virtual hosts
//
// A connection's target names a virtual host, and the default one is called /, which
// no id can hold. So a character that ids don't hold stands there as ~ and its two
// digits, as after the % of an AMQP URL: ~2F is /, and ~7E is ~ itself.
//
// # Marks
//
// Users have nothing but tags to note something at, and the tags of all users are
// atoms of the server's, of which none is ever forgotten: a text of their own would
// fill its memory, a rotation at a time. So a login of ours has the one tag patchbay,
// set as the user is made, and its name, which nobody else has; and what else the mark
// says is the name of an exchange, which there is not, in a topic permission (decision
// 0033).
//
// # Access
//
// To all of a virtual host, or to the queues and exchanges that a request's options
// name.
//
//	reader  consumes the queues, and subscribes to the exchanges with queues that the
//	        server names
//	writer  and publishes to the exchanges; without options it may bind, too
//	owner   and declares, binds and deletes
//
// RabbitMQ checks three patterns for each of the virtual host's names, whether it is a
// queue's or an exchange's: what is given for one is given for the other.
package rabbitmq

import (
	"context"

	"patchbay.dev/patchbay/driver"
)

// Driver serves RabbitMQ servers.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "rabbitmq", Children: []string{"vhosts"},
		Open: open, Probe: tryLogin,
	}
}

// target is one server, or the servers of one cluster.
type target struct {
	config
	api    *api
	dialer driver.Dialer
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	admin, err := c.Admin.UserPassword()
	if err != nil {
		return nil, err
	}
	a, err := newAPI(cfg, c.Dialer, admin)
	if err != nil {
		return nil, err
	}
	return &target{config: cfg, api: a, dialer: c.Dialer}, nil
}

// Close implements [driver.Target].
func (t *target) Close() error {
	t.api.close()
	return nil
}
