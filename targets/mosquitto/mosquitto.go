// Package mosquitto administers Mosquitto brokers as targets, by their dynamic security
// plugin.
//
// A login is a client of the plugin and a role that only it has, both of the login's
// name and with our mark in their description. The role names what it may do, and
// denies everything else by name, because a broker's default may be to allow. The plugin
// is spoken to by messages to $CONTROL/dynamic-security/v1: a message is a list of
// commands, carried out one after the other with nothing in between, and its answers
// come to every client that may listen to them.
//
// # Access
//
// Access is to topics, named at registration or in a request; those of a request are
// among the registered ones.
//
//	reader  subscribes to the topics, and receives what comes there
//	writer  and publishes to them, retained messages too
//
// The options subscribe and publish name topics for one direction alone: a sensor that
// publishes needs nobody else's values. With shares a login may join shared
// subscriptions, which take messages from others who are in them.
//
// # What stays
//
// A removal ends the login's sessions. What it published and had retained stays, for
// it is the topics'. A session that is kept for its client id (clean start off) stays
// at the broker until it expires, and gets nothing any more, for its login has no rights.
//
// # Bounds
//
// The broker keeps all clients and roles in memory, and writes its file anew at each
// change. When it can't, it says so in its log alone. There is no way to ask it.
package mosquitto

import (
	"context"
	"crypto/tls"
	"net"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

// Driver serves Mosquitto brokers.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "mqtt", Children: []string{""},
		Open: open, Probe: tryLogin,
	}
}

// target is one broker.
type target struct{ config }

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if cfg.admin, err = c.Admin.UserPassword(); err != nil {
		return nil, err
	}
	return &target{cfg}, nil
}

// Close implements [driver.Target]. A session is a call's.
func (t *target) Close() error { return nil }

// connect opens a connection and signs in. What it gives is closed by the caller, and ends
// with ctx.
func (c config) connect(ctx context.Context, d driver.Dialer, budget *driver.Budget, l mqttconnect.Login) (conn *mqttconnect.Conn, protocol string, err error) {
	raw, err := d.DialContext(ctx, "tcp", c.address())
	if err != nil {
		return nil, "", c.dialFault(ctx, err)
	}
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	secured := raw
	if c.secure() {
		settings, err := c.tls.Config(c.host)
		if err != nil {
			return nil, "", err
		}
		t := tls.Client(budget.Conn(raw), settings)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, "", c.dialFault(ctx, err)
		}
		secured, protocol = t, tls.VersionName(t.ConnectionState().Version)
	}
	conn, err = mqttconnect.Connect(ctx, secured, budget, l)
	return conn, protocol, err
}

// dialFault keeps what a context's end means to the one that knows it.
func (c config) dialFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.dialError(err)
}

// loopback reports whether a host is this machine's own.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// budget is what the broker may send in a call.
func (c config) budget(ctx context.Context) *driver.Budget {
	b := driver.NewBudget(c.address(), driver.CallBytes)
	b.Renew(ctx)
	return b
}

var _ driver.Administrator = (*target)(nil)

// login is what the settings of an application hold.
func loginOf(c driver.Credential) (mqttconnect.Login, error) {
	l := mqttconnect.Login{Username: c.Public["username"], Password: c.Secret["password"].Reveal()}
	if l.Username == "" || len(l.Username) > maxName || len(l.Password) > maxName {
		return l, patchbay.Errorf(patchbay.LoginRefused, "the credential has no user name, or is too long for MQTT")
	}
	return l, nil
}

// maxName bounds a text of MQTT, in bytes.
const maxName = 65535
