// Package nats administers NATS servers in operator mode as targets.
//
// A login is a scoped signing key of the account. NewCredential makes that
// key and a user key, signs the user's JWT with it and forgets its private
// half, so that nobody can ever sign a second user. EnsureLogin adds the
// key to the account's JWT, with a scope that names the login (role), bears
// our mark (description) and holds exactly its permissions and source addresses
// (template), signs the account with the operator's key and pushes it to the
// server. RemoveLogin takes the key out again: the server refuses the user
// from then on and closes its connections. So the server itself can be asked
// which logins there are and what each may do, and nothing grows with time:
// no revocation outlives a login.
//
// # Registration
//
// The endpoint is host:port or nats://host:port, several separated by commas.
// The admin credential is operatorSeed, the seed of the operator's identity or
// of a signing key of it, and systemCreds, the content of a creds file of a
// user of the system account. A signing key made for Patchbay is best: it can be
// taken back alone. The server needs the full (directory) account resolver:
// others take no updates. [Driver] documents the properties.
//
// # Access
//
// Access is to subjects and streams, named at registration or in a request
// (options subjects and streams, comma-separated; a request that names any
// replaces both defaults, and stays within them). A bucket of keys and values, or of
// objects, is a stream (options buckets and objects).
//
//	reader  subscribes to the subjects; consumes the streams
//	writer  and publishes to the subjects and to the subjects of the streams,
//	        and may answer requests that come from an inbox
//	owner   and creates, changes, purges and deletes the streams
//
// The server checks what a login publishes, and not where it has the server
// publish: with a stream a login reaches further than its permissions say
// (reach.go, and NATS in docs/security.md). So nothing is given that an access does
// not need, and the rest is said when the login is asked for.
//
// A consumer belongs to whoever may read its stream: NATS can't tell whose it
// is. A stream's subjects are those that it has when the login is ensured, and of
// a bucket those that clients give it; an owner who makes another stream later
// names them in subjects too, or has the connection validated with its fix. Answers
// to requests arrive below _INBOX, where every login that may ask anything can
// listen; with the property inbox "private" each may listen below its own prefix
// alone (inbox of the credential), which its client must then be told.
//
// # Bounds
//
// All logins of an account are in its JWT, which must fit into one message
// (max_payload, one megabyte by default: some 600 to 700 logins of one stream
// each, or 1,300 of one subject). A server's account store has no
// compare-and-swap: an edit that somebody pushes in the same instant is noticed
// and merged, but a push from an outdated copy (nsc push without nsc pull) takes
// our keys away, which validation finds and its fix repairs.
package nats

import (
	"context"
	"time"

	"patchbay.dev/patchbay/driver"
)

// Driver serves NATS servers.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "nats", Children: []string{""},
		Open: open, Probe: tryLogin,
	}
}

// target is one account of one server.
type target struct {
	config
	admin *admin
	now   func() time.Time
	turns *turns
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err == nil {
		err = cfg.parseAdmin(c.Admin)
	}
	if err != nil {
		return nil, err
	}
	return &target{config: cfg, admin: newAdmin(cfg), now: time.Now, turns: turnsOf(cfg.account)}, nil
}

// Close implements [driver.Target].
func (t *target) Close() error {
	t.admin.close()
	return nil
}
