package external

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
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

const maxServers = 32

// parseAddress takes host, host:port, URLs, and several with commas between
// them. What is wrong is said without showing any of it: there may be a
// password in it.
func parseAddress(what, text string) (address, error) {
	if text == "" || len(text) > maxValue || hostile(text) {
		return address{}, invalid("%s is empty, too long, or has control characters", what)
	}
	var a address
	items := strings.Split(text, ",")
	if len(items) > maxServers {
		return address{}, invalid("%s has more than %d servers", what, maxServers)
	}
	for i, item := range items {
		one, err := parseServer(what, strings.TrimSpace(item))
		if err != nil {
			return address{}, err
		}
		if i == 0 {
			a = one
		} else if one.scheme != a.scheme && one.scheme != "" || strings.Trim(one.path, "/") != "" || len(one.query) > 0 {
			return address{}, invalid("%s has servers of several forms", what)
		}
		server := one.host
		if one.port != "" {
			server = net.JoinHostPort(one.host, one.port)
		}
		a.servers = append(a.servers, server)
	}
	return a, nil
}

func parseServer(what, item string) (address, error) {
	text := item
	if rest, ok := cutPrefixFold(text, "SASL_SSL://"); ok { // as Confluent's pages show it
		text = "kafka://" + rest
	}
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return address{}, invalid("%s is not host, host:port or a URL", what)
	}
	query, err := url.ParseQuery(u.RawQuery)
	a := address{scheme: strings.ToLower(u.Scheme), host: u.Hostname(), port: u.Port(), path: u.Path, query: query}
	switch {
	case u.User != nil:
		return address{}, invalid("%s has a login in it", what).WithFix("give the login on its own, and the endpoint without it")
	case err != nil || u.Fragment != "":
		return address{}, invalid("%s has something behind it that can't be read", what)
	case hostile(a.path):
		return address{}, invalid("%s has control characters", what)
	case !isHost(a.host):
		return address{}, invalid("%s names a host that can't be one", what)
	case strings.HasSuffix(u.Host, ":"):
		return address{}, invalid("%s has no port behind its colon", what)
	}
	if n, err := strconv.ParseUint(a.port, 10, 16); a.port != "" && (err != nil || n == 0) {
		return address{}, invalid("%s has a port that is not a number from 1 to 65535", what)
	}
	return a, nil
}

// isHost reports whether s is an address or of the characters of a name.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && len(s) <= 253 && !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, ".") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
		})
}

// fits says what is wrong with a as the endpoint of a kind.
func (a address) fits(kind string) error {
	s := serviceOf(kind)
	if len(a.servers) > 1 && s.place != inURLs && s.place != inServers {
		return invalid("the endpoint of %s is one server", kind)
	}
	_, known := s.schemes[a.scheme]
	isWeb := a.scheme == "https" || a.scheme == "http"
	switch {
	case a.scheme == "" || known:
	case s.place == inURL && isWeb:
	case s.pages && a.scheme == "https":
	default:
		return invalid("an endpoint of %s can't have the scheme %s", kind, clip(a.scheme))
	}
	return nil
}
