package controlplane

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/notify"
	"patchbay.dev/patchbay/store"
)

// EventsKeyFile is the file of a data directory with the keys that sign events.
const EventsKeyFile = "events.key"

// Events say who is told of what happens.
type Events struct {
	To      patchbay.Secret // a URL; zero: nobody is told
	KeyFile string          // "": EventsKeyFile, which is made when it is not there
	Plain   bool            // To may be http of any address
}

// newNotifier makes what delivers events; nil where nobody is told.
func newNotifier(o Options, outbox store.Outbox, watch *metrics) (*notify.Notifier, error) {
	if o.Events.To.IsZero() {
		return nil, nil
	}
	to, err := notify.ParseReceiver(o.Events.To, o.Events.Plain)
	if err != nil {
		return nil, err
	}
	file, read := o.Events.KeyFile, notify.ReadKeys
	if file == "" {
		file, read = filepath.Join(o.Server.Dir, EventsKeyFile), notify.MakeKeys
	}
	if _, err := read(file); err != nil {
		return nil, err
	}
	n := notify.New(notify.Options{
		Outbox: outbox, Receiver: to, Keys: func() (notify.Keys, error) { return notify.ReadKeys(file) },
		Source: eventSource(o.Server.PublicURL), Log: o.Log, Ended: watch.eventEnded,
		// An operator's rules are of targets, which callers name. The receiver is the
		// operator's own: only what is no service of anybody's is closed to it.
		Dialer: &net.Dialer{Timeout: dialTimeout, Control: hosts.DialRules{}.Control},
	})
	watch.eventsWait(n.Waiting)
	return n, nil
}

// eventSource tells this server from others: what clients call it, or else its
// machine. The latter is no address, and does not look like one.
func eventSource(public string) string {
	if public != "" {
		return strings.TrimSuffix(public, "/")
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	return "patchbay://" + name
}
