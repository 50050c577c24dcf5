package notify

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
)

// Receiver is the URL that events are sent to. Its login, its path and its query may be
// secret (receivers are often told apart by nothing else): it is printed without them.
type Receiver struct{ url *url.URL }

// ParseReceiver reads a URL: https, or http of a loopback address, or of any with
// plain. It repeats nothing of it in an error.
func ParseReceiver(text patchbay.Secret, plain bool) (Receiver, error) {
	u, err := url.Parse(strings.TrimSpace(text.Reveal()))
	switch {
	case err != nil, u.Hostname() == "", u.Scheme != "https" && u.Scheme != "http":
		return Receiver{}, patchbay.Errorf(patchbay.InvalidArgument, "events are sent to https://HOST[:PORT]/PATH, and what was given is no such URL")
	case u.Fragment != "":
		return Receiver{}, patchbay.Errorf(patchbay.InvalidArgument, "the URL of the receiver of events has a fragment (#…), which is never sent").
			WithFix("leave it out, or write %%23")
	case u.Scheme == "http" && !plain && !isLoopback(u.Hostname()):
		return Receiver{}, patchbay.Errorf(patchbay.InvalidArgument, "events are not sent in the clear to %s: they name what is connected, and what is wrong with it", u.Hostname()).
			WithFix("give an https URL; in a network that you trust, --events-plain-http")
	}
	return Receiver{u}, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// address is its HOST:PORT.
func (r Receiver) address() string {
	port := r.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[r.url.Scheme]
	}
	return net.JoinHostPort(r.url.Hostname(), port)
}

// String is the scheme, the host and the port.
func (r Receiver) String() string { return r.url.Scheme + "://" + r.url.Host }
