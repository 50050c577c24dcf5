package driver

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
)

// Bounds on an endpoint.
const (
	maxEndpoint = 4096 // bytes
	maxServers  = 32
)

// Endpoint is where a service is, as a registration says it: one server, or
// several of one cluster. It holds no login.
type Endpoint struct {
	Servers []Server   // at least one
	Path    string     // of a URL, with its slashes
	Query   url.Values // of a URL
}

// Server is one of an endpoint's.
type Server struct {
	Scheme string // in lower case; "" when none was said
	Host   string // a name or an address, without brackets
	Port   uint16 // 0 when neither the endpoint nor its form says one
}

// Address is host:port, or the host alone where there is no port. IPv6 is in
// brackets when a port follows.
func (s Server) Address() string {
	if s.Port == 0 {
		return s.Host
	}
	return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// URL is scheme://host:port, with brackets about IPv6.
func (s Server) URL() string {
	if s.Port == 0 && strings.Contains(s.Host, ":") {
		return s.Scheme + "://[" + s.Host + "]"
	}
	return s.Scheme + "://" + s.Address()
}

// EndpointForm is what the endpoints of a product look like.
type EndpointForm struct {
	// Schemes are the ones that it may have, and the port that each means where
	// none is said; "" is for an endpoint without a scheme. nil takes every
	// scheme, and knows no port.
	Schemes map[string]uint16
	// Servers is how many there may be; 0 is one, and more than 32 are never
	// taken.
	Servers int
	Path    bool // a path may follow: a database, a virtual host
	Query   bool // parameters may follow
}

// Parse reads host, host:port or a URL, and several with commas between them; a
// path and parameters are those of them all. A server that says no scheme has that
// of the first. What the endpoint is called in an error is the caller's word
// ("the endpoint"); the text itself is never shown, for there may be a password in
// it. All errors are InvalidArgument.
func (f EndpointForm) Parse(what, text string) (Endpoint, error) {
	if strings.TrimSpace(text) == "" || len(text) > maxEndpoint || strings.ContainsFunc(text, control) {
		return Endpoint{}, invalidEndpoint("%s is empty, too long (more than %d bytes), or has control characters", what, maxEndpoint)
	}
	var e Endpoint
	items := strings.Split(text, ",")
	switch most := min(max(f.Servers, 1), maxServers); {
	case len(items) > 1 && most == 1:
		return Endpoint{}, invalidEndpoint("%s is one server", what)
	case len(items) > most:
		return Endpoint{}, invalidEndpoint("%s has more than %d servers", what, most)
	}
	for i, item := range items {
		server, tail, err := parseServer(what, strings.TrimSpace(item))
		if err != nil {
			return Endpoint{}, err
		}
		if i > 0 && server.Scheme == "" {
			server.Scheme = e.Servers[0].Scheme
		}
		port, known := f.Schemes[server.Scheme]
		switch {
		case f.Schemes != nil && !known && server.Scheme == "":
			return Endpoint{}, invalidEndpoint("%s has no scheme, and needs %s", what, f.schemes())
		case f.Schemes != nil && !known:
			return Endpoint{}, invalidEndpoint("%s has a scheme that it can't have; there is %s", what, f.schemes())
		case server.Port == 0:
			server.Port = port
		}
		e.Servers = append(e.Servers, server)
		if nothing := tail.RawQuery == "" && strings.Trim(tail.Path, "/") == ""; nothing {
			if i == 0 {
				e.Path = tail.Path
			}
			continue
		}
		if strings.Trim(e.Path, "/") != "" || len(e.Query) > 0 {
			return Endpoint{}, invalidEndpoint("%s has something behind more than one of its servers", what)
		}
		if e.Query, err = url.ParseQuery(tail.RawQuery); err != nil {
			return Endpoint{}, invalidEndpoint("%s has parameters that can't be read", what)
		}
		e.Path = tail.Path
	}
	switch {
	case strings.Trim(e.Path, "/") != "" && !f.Path:
		return Endpoint{}, invalidEndpoint("%s has something behind host and port", what)
	case len(e.Query) > 0 && !f.Query:
		return Endpoint{}, invalidEndpoint("%s has parameters, and there are none", what)
	}
	return e, nil
}

// MoveEndpoint is an endpoint, as a registration says it, with servers at other addresses:
// host:port by host:port, several that come to be one once. A server that says no port is
// the one of that host. What names none of them is NotSupported.
func MoveEndpoint(text string, to map[string]string) (string, error) {
	e, err := EndpointForm{Servers: maxServers, Path: true, Query: true}.Parse("the endpoint", text)
	if err != nil {
		return "", err
	}
	var servers []string
	moved := 0
	for _, s := range e.Servers {
		at := s.Address()
		for was, is := range to {
			host, _, err := net.SplitHostPort(was)
			if was == at || s.Port == 0 && err == nil && host == s.Host {
				at = is
				moved++
				break
			}
		}
		if s.Scheme != "" {
			at = s.Scheme + "://" + at
		}
		if !slices.Contains(servers, at) {
			servers = append(servers, at)
		}
	}
	if moved < len(to) {
		return "", patchbay.Errorf(patchbay.NotSupported, "the endpoint does not say where its servers are")
	}
	text = strings.Join(servers, ",") + e.Path
	if len(e.Query) > 0 {
		text += "?" + e.Query.Encode()
	}
	return text, nil
}

// schemes are those of the form, for people.
func (f EndpointForm) schemes() string {
	var all []string
	for name := range f.Schemes {
		if name != "" {
			all = append(all, name+"://")
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// parseServer takes one server, and what is behind it.
func parseServer(what, item string) (Server, *url.URL, error) {
	scheme, rest, ok := strings.Cut(item, "://")
	if !ok {
		scheme, rest = "", item
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	tail, err := url.Parse("x://x" + rest[end:])
	switch {
	case strings.Contains(authority, "@") || err == nil && strings.Contains(tail.Path, "@"):
		return Server{}, nil, invalidEndpoint("%s has a login in it", what).WithFix("give the login on its own, and the endpoint without it")
	case err != nil || strings.Contains(rest[end:], "#"):
		return Server{}, nil, invalidEndpoint("%s has something behind it that can't be read", what)
	case strings.ContainsFunc(tail.Path, control):
		return Server{}, nil, invalidEndpoint("%s has control characters", what)
	case ok && !isScheme(scheme):
		return Server{}, nil, invalidEndpoint("%s is not host, host:port or a URL", what)
	}
	host, port, err := splitAuthority(authority)
	switch {
	case strings.HasSuffix(authority, ":"):
		return Server{}, nil, invalidEndpoint("%s has no port behind its colon", what)
	case err != nil:
		return Server{}, nil, invalidEndpoint("%s is not host, host:port or a URL", what)
	case !IsHost(host):
		return Server{}, nil, invalidEndpoint("%s names a host that can't be one", what)
	}
	s := Server{Scheme: strings.ToLower(scheme), Host: host}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Server{}, nil, invalidEndpoint("%s has a port that is not a number from 1 to 65535", what)
		}
		s.Port = uint16(n)
	}
	return s, tail, nil
}

// splitAuthority takes host, host:port, [IPv6]:port, and IPv6 with or without its
// brackets. There is no colon without a port.
func splitAuthority(text string) (host, port string, err error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return text, "", nil
	}
	bracketed := strings.HasPrefix(text, "[")
	switch {
	case bracketed && strings.HasSuffix(text, "]"):
		host = text[1 : len(text)-1]
	case !strings.Contains(text, ":"):
		return text, "", nil
	default:
		if host, port, err = net.SplitHostPort(text); err != nil || port == "" {
			return "", "", errNotAServer
		}
	}
	if a, err := netip.ParseAddr(host); bracketed && (err != nil || !a.Is6()) {
		return "", "", errNotAServer
	}
	return host, port, nil
}

var errNotAServer = &net.AddrError{Err: "not a server"}

// IsHost reports whether text is an IP address without a zone, or of the form of a
// name: letters, digits, dots, dashes and underscores, at most 253.
func IsHost(text string) bool {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Zone() == ""
	}
	return text != "" && len(text) <= 253 && text[0] != '-' && text[0] != '.' &&
		!strings.ContainsFunc(text, func(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune("-._", r) })
}

func isScheme(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune("+-._", r) })
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// control reports characters that end a line or a word in some protocol.
func control(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }

func invalidEndpoint(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}
