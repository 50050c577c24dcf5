package patchbay

import (
	"fmt"
	"strings"
	"unicode"
)

// Limits on what an id may hold. Azure's own are 260 for a name and 2,048 for
// a URL; they bound what reaches a log line, an index or a role name.
const (
	MaxIDLength      = 2048
	MaxSegmentLength = 260
)

// maxShown is how much of what is no id its error shows, in bytes.
const maxShown = 512

// linkerMark separates a source's id from its connection's: a connection is an
// extension resource, so the last one in an id counts.
const linkerMark = "/providers/microsoft.servicelinker/"

// ID is the ARM id of a resource, in the casing that its creator wrote:
//
//	/subscriptions/{s}/resourceGroups/{rg}/providers/{namespace}/{type}/{name}[/{type}/{name}…]
//
// Ids are equal without regard to case; compare them with [ID.Equal], index
// them by [ID.Key].
type ID string

// ParseID checks that s has the form of an ARM id below a subscription and
// returns it with exactly one leading slash, doubled slashes folded, and the
// literal segments (subscriptions, resourceGroups, providers) in their usual
// casing. Names keep the caller's. The error's code is InvalidResourceID.
func ParseID(s string) (ID, error) {
	if len(s) > MaxIDLength {
		return "", badID(s[:64]+"…", fmt.Sprintf("is longer than %d bytes", MaxIDLength))
	}
	var parts []string
	for part := range strings.SplitSeq(s, "/") {
		if part == "" {
			continue
		}
		if err := checkSegment(part); err != "" {
			return "", badID(s, err)
		}
		parts = append(parts, part)
	}
	if len(parts) < 2 || !strings.EqualFold(parts[0], "subscriptions") {
		return "", badID(s, "does not start with /subscriptions/{subscription}")
	}
	if len(parts)%2 != 0 {
		return "", badID(s, "ends in a type without a name")
	}
	for i := 0; i < len(parts); i += 2 {
		switch {
		case strings.EqualFold(parts[i], "subscriptions"):
			parts[i] = "subscriptions"
		case strings.EqualFold(parts[i], "resourceGroups"):
			parts[i] = "resourceGroups"
		case strings.EqualFold(parts[i], "providers"):
			parts[i] = "providers"
		}
	}
	return ID("/" + strings.Join(parts, "/")), nil
}

func checkSegment(s string) string {
	switch {
	case len(s) > MaxSegmentLength:
		return fmt.Sprintf("has a segment longer than %d bytes", MaxSegmentLength)
	case s == "." || s == "..":
		return "has a segment that is a relative path"
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || strings.ContainsRune(`<>%&\?#`, r)
	}):
		return "has a character that ARM ids may not hold"
	}
	return ""
}

func badID(s, why string) error {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return &Error{Code: InvalidResourceID, Subject: s, Message: fmt.Sprintf("the resource id %q %s", s, why)}
}

// Key is the id in lower case: what two spellings of one id share.
func (id ID) Key() string { return strings.ToLower(string(id)) }

// Equal reports whether both name the same resource: whether they have one key.
// Folding case as strings.EqualFold does would make one of more, servers of
// ſervers.
func (id ID) Equal(other ID) bool { return id == other || id.Key() == other.Key() }

func (id ID) String() string { return string(id) }

func (id ID) parts() []string {
	return strings.Split(strings.TrimPrefix(string(id), "/"), "/")
}

func (id ID) after(literal string) string {
	p := id.parts()
	for i := 0; i+1 < len(p); i += 2 {
		if strings.EqualFold(p[i], literal) {
			return p[i+1]
		}
	}
	return ""
}

// Subscription is the id's subscription.
func (id ID) Subscription() string { return id.after("subscriptions") }

// ResourceGroup is the id's resource group, "" when it is not in one.
func (id ID) ResourceGroup() string { return id.after("resourceGroups") }

// Name is the last segment.
func (id ID) Name() string {
	p := id.parts()
	return p[len(p)-1]
}

// Type is the full type, for example
// Microsoft.DBforPostgreSQL/flexibleServers/databases; of an extension
// resource, the extension's. It is "" for a subscription or resource group.
func (id ID) Type() string {
	p := id.parts()
	at := -1
	for i := 0; i+1 < len(p); i += 2 {
		if strings.EqualFold(p[i], "providers") {
			at = i
		}
	}
	if at < 0 {
		return ""
	}
	t := []string{p[at+1]}
	for i := at + 2; i < len(p); i += 2 {
		t = append(t, p[i])
	}
	return strings.Join(t, "/")
}

// Parent is the id without its last type and name: of a database, its server;
// of a top-level resource, its resource group. It is "" for a subscription.
func (id ID) Parent() ID {
	p := id.parts()
	if len(p) <= 2 {
		return ""
	}
	p = p[:len(p)-2]
	if len(p) >= 2 && strings.EqualFold(p[len(p)-2], "providers") {
		p = p[:len(p)-2]
	}
	return ID("/" + strings.Join(p, "/"))
}

// Child is the id of a child resource, or of an extension when the type has
// its namespace (providers/Microsoft.ServiceLinker/linkers).
func (id ID) Child(typ, name string) ID {
	return ID(string(id) + "/" + typ + "/" + name)
}

// Linker is the id of the connection of that name on source id.
func (id ID) Linker(name string) ID {
	return id.Child("providers/Microsoft.ServiceLinker/linkers", name)
}

// Local is the id of the local connection of that name in the location
// that id is: …/providers/Microsoft.ServiceLinker/locations/{location}.
func (id ID) Local(name string) ID { return id.Child("connectors", name) }

// Location is the id of a location in a resource group, which local
// connections and their dryruns are in.
func (id ID) Location(location string) ID {
	return id.Child("providers/Microsoft.ServiceLinker/locations", location)
}

// LinkerSource splits a linker's id into its source and its name. ok is false
// when id is not a linker's.
func (id ID) LinkerSource() (source ID, name string, ok bool) {
	return id.extension("linkers")
}

// ConnectionSource splits a connection's id into what it is listed under and
// its name: of a linker its source; of a connector, which has none, its
// location. ok is false when id is not a connection's.
func (id ID) ConnectionSource() (source ID, name string, ok bool) {
	if source, name, ok = id.LinkerSource(); ok {
		return source, name, ok
	}
	return id.inLocation("connectors")
}

// IsLocal reports whether id is a local connection's.
func (id ID) IsLocal() bool {
	_, _, ok := id.inLocation("connectors")
	return ok
}

// DryrunSource splits a dryrun's id into its source or location and its name.
func (id ID) DryrunSource() (source ID, name string, ok bool) {
	if source, name, ok = id.extension("dryruns"); ok {
		return source, name, ok
	}
	return id.inLocation("dryruns")
}

// extension splits …/providers/Microsoft.ServiceLinker/{typ}/{name}.
func (id ID) extension(typ string) (of ID, name string, ok bool) {
	at := id.linkerMark()
	if at <= 0 {
		return "", "", false
	}
	rest := strings.Split(string(id)[at+len(linkerMark):], "/")
	if len(rest) != 2 || !strings.EqualFold(rest[0], typ) || rest[1] == "" {
		return "", "", false
	}
	return id[:at], rest[1], true
}

// linkerMark is where the last linkerMark begins; -1: nowhere. It is looked for
// in the id as it is: in lower case some letters take more bytes, or fewer.
func (id ID) linkerMark() int {
	for at := len(id) - len(linkerMark); at >= 0; at-- {
		if id[at] == '/' && strings.EqualFold(string(id[at:at+len(linkerMark)]), linkerMark) {
			return at
		}
	}
	return -1
}

// inLocation splits …/providers/Microsoft.ServiceLinker/locations/{location}/{typ}/{name}.
func (id ID) inLocation(typ string) (location ID, name string, ok bool) {
	at := id.linkerMark()
	if at <= 0 {
		return "", "", false
	}
	rest := strings.Split(string(id)[at+len(linkerMark):], "/")
	if len(rest) != 4 || !strings.EqualFold(rest[0], "locations") || !strings.EqualFold(rest[2], typ) || rest[1] == "" || rest[3] == "" {
		return "", "", false
	}
	return id[:len(id)-len(rest[2])-len(rest[3])-2], rest[3], true
}
