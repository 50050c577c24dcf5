package external

import (
	"net/url"
	"strconv"

	"patchbay.dev/patchbay/driver"
)

// address is an endpoint that was read: of several servers, the first and all.
type address struct {
	scheme  string // lower case; "" when there is none
	host    string
	port    string // "" when there is none
	path    string // of a URL, with its slashes
	query   url.Values
	servers []string // host, or host:port
}

// form is what all kinds have in common; fits is about one of them.
var form = driver.EndpointForm{Servers: 32, Path: true, Query: true}

// parseAddress reads an endpoint. What is wrong is said without showing any of it:
// there may be a password in it.
func parseAddress(what, text string) (address, error) {
	e, err := form.Parse(what, text)
	if err != nil {
		return address{}, err
	}
	first := e.Servers[0]
	a := address{scheme: first.Scheme, host: first.Host, path: e.Path, query: e.Query}
	if first.Port != 0 {
		a.port = strconv.Itoa(int(first.Port))
	}
	if a.scheme == "sasl_ssl" { // as Confluent's pages show it
		a.scheme = "kafka"
	}
	for _, s := range e.Servers {
		if s.Scheme != first.Scheme {
			return address{}, invalid("%s has servers of several schemes", what)
		}
		a.servers = append(a.servers, s.Address())
	}
	return a, nil
}

// fits says what is wrong with a as the endpoint of a kind.
func (a address) fits(s service) error {
	if len(a.servers) > 1 && s.place != inURLs && s.place != inServers {
		return invalid("the endpoint of %s is one server", s.kind)
	}
	_, known := s.schemes[a.scheme]
	isWeb := a.scheme == "https" || a.scheme == "http"
	switch {
	case a.scheme == "" || known || s.anyScheme:
	case s.place == inURL && isWeb:
	case s.pages && a.scheme == "https":
	default:
		return invalid("an endpoint of %s can't have the scheme %s", s.kind, clip(a.scheme))
	}
	return nil
}
