package settings

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// A syntax is how one family of libraries writes several values into one
// string: what it quotes, how it is taken apart again, and where further
// properties go. Every rendered string is read back with the same syntax
// before it is given out, so a value that the syntax can't hold is an error
// and never a second property.
type syntax struct {
	title string
	// escape makes a value safe between the literals of a template, unescape
	// takes that back. Nil: a value stands as it is.
	escape, unescape func(string) string
	// pattern matches an escaped value, and a host's where that differs.
	pattern, host string
	// sep is what stands before a further property, end what closes the string
	// behind them, quote what stands around a property's value. Without sep the
	// string takes no properties.
	sep, end, quote string
	// params is the syntax of a further property's value; nil: this one.
	params *syntax
}

// A host in brackets is an IPv6 address that is followed by a port.
const bracketed = `\[[^\]]*\]|`

// syntaxes are those that a template can name by its YAML tag; a template
// without a tag is text.
var syntaxes = map[string]*syntax{
	"text": {title: "text", pattern: `.*?`},

	// libpq, section Connection Strings, Keyword/Value. psycopg, pgx, lib/pq,
	// PHP and Ruby read the same.
	"libpq": {
		title:   "a libpq keyword/value string",
		pattern: `'(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*`,
		escape: func(s string) string {
			if s != "" && !strings.ContainsFunc(s, quotedByLibpq) {
				return s
			}
			return "'" + backslashed.Replace(s) + "'"
		},
		unescape: func(s string) string {
			if len(s) > 1 && s[0] == '\'' {
				s = s[1 : len(s)-1]
			}
			return unbackslash(s)
		},
		sep: " ",
	},

	// The connection strings of .NET (DbConnectionStringBuilder): double quotes
	// around anything unusual, doubled inside.
	"ado": {
		title:   "an ADO.NET connection string",
		pattern: `"(?:[^"]|"")*"|'(?:[^']|'')*'|(?:[^;"'][^;]*)?`,
		escape: func(s string) string {
			if s != "" && !strings.ContainsFunc(s, quotedByADO) {
				return s
			}
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		},
		unescape: func(s string) string {
			if len(s) > 1 && (s[0] == '"' || s[0] == '\'') {
				q := s[:1]
				return strings.ReplaceAll(s[1:len(s)-1], q+q, q)
			}
			return s
		},
		sep: ";",
	},

	// ODBC and Microsoft's JDBC driver: braces around anything unusual, a
	// closing one doubled inside.
	"odbc": {
		title:   "an ODBC or JDBC connection string with braces",
		pattern: `\{(?:[^}]|\}\})*\}|(?:[^;{][^;]*)?`,
		escape: func(s string) string {
			if s != "" && !strings.ContainsFunc(s, quotedByODBC) {
				return s
			}
			return "{" + strings.ReplaceAll(s, "}", "}}") + "}"
		},
		unescape: func(s string) string {
			if len(s) > 1 && s[0] == '{' {
				return strings.ReplaceAll(s[1:len(s)-1], "}}", "}")
			}
			return s
		},
		sep: ";",
	},

	// The connection strings of the Azure SDKs, which know no quotes.
	"pairs": {
		title:   "a connection string of the Azure SDKs",
		pattern: `[^;]*`, host: bracketed + `[^;:/]*`, sep: ";",
	},

	// StackExchange.Redis, which knows no quotes either.
	"stackexchange": {
		title:   "a StackExchange.Redis configuration string",
		pattern: `[^,]*`, host: bracketed + `[^,:]*`, sep: ",",
	},

	// A URL, in whose every place a value is percent-encoded down to RFC 3986's
	// unreserved characters.
	"url": uri,

	// A URL that is no connection string: it takes no properties.
	"link": {title: "a URL", pattern: uri.pattern, host: uri.host, escape: percent, unescape: unpercent},

	// go-sql-driver/mysql, which knows no escape for a user name or password: the
	// first colon, the last @ and the last slash count.
	"gomysql": {
		title:   "a go-sql-driver/mysql DSN",
		pattern: `.*?`, host: bracketed + `[^:()/\[\]]*`, sep: "&", params: uri,
	},

	// What stands between the quotes of a JSON string.
	"json": {title: "a JSON string", pattern: `(?:[^"\\]|\\.)*`, escape: inJSON, unescape: ofJSON},

	// A JAAS login configuration line.
	"jaas": {
		title:    "a JAAS login configuration",
		pattern:  `(?:[^'\\]|\\.)*`,
		escape:   inJAAS.Replace,
		unescape: ofJAAS.Replace,
		sep:      " ", end: ";", quote: "'",
	},
}

var uri = &syntax{
	title:   "a URL",
	pattern: `[^:/?#&@\[\]\s]*`,
	// Parsers refuse escapes in a host name, but for those of other scripts.
	host:   bracketed + `(?:[^:/?#&@\[\]\s%]|%[89A-Fa-f][0-9A-Fa-f])*`,
	escape: percent, unescape: unpercent, sep: "&",
}

// quotedByLibpq reports what ends or bends an unquoted value for libpq or for
// one of its reimplementations (lib/pq takes any Unicode space for one).
func quotedByLibpq(r rune) bool { return invisible(r) || strings.ContainsRune(`'\`, r) }

// quotedByADO reports what .NET itself quotes.
func quotedByADO(r rune) bool { return invisible(r) || strings.ContainsRune(`"'=;`, r) }

// quotedByODBC reports what ODBC's grammar or Microsoft's JDBC driver reserves.
func quotedByODBC(r rune) bool { return invisible(r) || strings.ContainsRune(`[]{}(),;?*=!@"'`, r) }

func invisible(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

var (
	backslashed = strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	inJAAS      = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	ofJAAS      = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\n`, "\n", `\r`, "\r", `\t`, "\t")
)

// unbackslash drops each backslash, keeping what it escapes.
func unbackslash(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// inJSON is s between the quotes of a JSON string, ofJSON the reverse; what is none
// stands for itself.
func inJSON(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text
	return strings.TrimSuffix(b.String(), "\n")[1 : b.Len()-2]
}

func ofJSON(s string) string {
	var text string
	if json.Unmarshal([]byte(`"`+s+`"`), &text) != nil {
		return s
	}
	return text
}

// percent encodes everything but RFC 3986's unreserved characters. A space is
// %20: a plus sign is one only in forms.
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// unpercent is the reverse of percent; a bad escape stands for itself.
func unpercent(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// hosted reports whether a value of that name has a form of its own: a host, or servers,
// host:port with commas between them.
func (x *syntax) hosted(name, of string) bool { return name == of && x.host != "" }

// encode is a value as it stands in a string of the syntax.
func (x *syntax) encode(name, value string) string {
	if x.hosted(name, "servers") {
		return eachServer(value, func(host string) string { return x.encode("host", host) })
	}
	if x.hosted(name, "host") && strings.Contains(value, ":") {
		if x.escape != nil {
			value = strings.ReplaceAll(x.escape(value), "%3A", ":")
		}
		return "[" + value + "]"
	}
	if x.escape == nil {
		return value
	}
	return x.escape(value)
}

// decode is the reverse of encode.
func (x *syntax) decode(name, s string) string {
	if x.hosted(name, "servers") {
		return eachServer(s, func(host string) string {
			host = x.decode("host", host)
			if strings.Contains(host, ":") {
				return "[" + host + "]"
			}
			return host
		})
	}
	if x.hosted(name, "host") {
		s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	}
	if x.unescape == nil {
		return s
	}
	return x.unescape(s)
}

// accepts is the pattern of a value of that name.
func (x *syntax) accepts(name string) string {
	if x.hosted(name, "host") {
		return x.host
	}
	if x.hosted(name, "servers") {
		one := `(?:` + x.host + `)(?::[0-9]+)?`
		return one + `(?:,` + one + `)*`
	}
	return x.pattern
}

// eachServer does something to the hosts of host:port, with commas between them. A
// host that is an address of IPv6 is in brackets, and goes to do without.
func eachServer(servers string, do func(host string) string) string {
	all := strings.Split(servers, ",")
	for i, one := range all {
		host, port := one, ""
		if at := strings.LastIndexByte(one, ':'); at > strings.LastIndexByte(one, ']') {
			host, port = one[:at], one[at:]
		}
		all[i] = do(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")) + port
	}
	return strings.Join(all, ",")
}

// holds reports whether a string can have that value by itself, as a further
// property's or between two literals.
func (x *syntax) holds(name, value string) bool {
	s := x.encode(name, value)
	return x.decode(name, s) == value && regexp.MustCompile(`(?s)\A(?:`+x.accepts(name)+`)\z`).MatchString(s)
}

// with is s with a further property at its end.
func (x *syntax) with(s, key, value string) string {
	v := x
	if x.params != nil {
		v = x.params
	}
	p := key + "=" + x.quote + v.encode("", value) + x.quote
	s = strings.TrimSuffix(s, x.end)
	switch {
	case strings.HasSuffix(s, x.sep):
		return s + p + x.sep
	case x.sep == "&" && !strings.Contains(s, "?"):
		return s + "?" + p
	}
	return s + x.sep + p + x.end
}

// tail matches the further properties that may follow a string that ends in
// the literal last.
func (x *syntax) tail(last string) string {
	rest := `.*`
	if x.params != nil {
		rest = `[^/]*` // a later slash would move the start of the database's name
	}
	switch {
	case x.sep == "":
		return ""
	case strings.HasSuffix(last, x.sep):
		return rest
	case x.sep == "&":
		return `(?:[?&]` + rest + `)?`
	}
	return `(?:` + regexp.QuoteMeta(x.sep) + rest + `)?` + regexp.QuoteMeta(x.end)
}
