package patchbay

import (
	"slices"
	"strings"
)

// Catalog is what a server can connect, as its clients have to know it: the
// commands, the questions, the forms and the documentation are made from it.
type Catalog struct {
	Targets []Driver     `json:"targets"` // by name
	Sources []Driver     `json:"sources"`
	Hosts   []Driver     `json:"hosts,omitempty"`  // machines that sources run on
	Guards  []Driver     `json:"guards,omitempty"` // what targets are behind
	Kinds   []TargetKind `json:"kinds"`            // those that some driver administers first
}

// Driver is what a driver says of itself: which resources it serves, and what it
// has to be told of one.
type Driver struct {
	Name  string `json:"name"`  // postgres; the word for it on the wire and in `resource add`
	Title string `json:"title"` // PostgreSQL
	Noun  string `json:"noun"`  // what a resource is, in a sentence: PostgreSQL server
	About string `json:"about"` // what registering one means; paragraphs, as help shows them
	// Types are the ARM types of its resources, the one that a new one gets first.
	Types []string `json:"types"`
	// Kinds are what a resource may be, where the driver serves several products.
	Kinds    []ResourceKind `json:"kinds,omitempty"`
	Endpoint Endpoint       `json:"endpoint"`
	// Properties are what else it is told of a resource; Admin is the credential
	// that it administers a target with, or the login that it hands out.
	Properties []Field `json:"properties,omitempty"`
	Admin      []Field `json:"admin,omitempty"`
	// AdminForms are the sets of parts of Admin of which one must be there in
	// whole. None: the credential may be left out.
	AdminForms [][]string `json:"adminForms,omitempty"`
	// Part is what a connection's scope names of a source: a container, a namespace.
	// "": a source has no parts, and its settings are those of all of it.
	Part string `json:"part,omitempty"`
	// Search are the names of what a search for such sources is told of where to look,
	// among Properties and "endpoint"; none: they can't be searched for.
	Search []string `json:"search,omitempty"`
	// Solutions are the types of vNetSolution that a guard stands for.
	Solutions []string `json:"solutions,omitempty"`
	// Logins is what the logins that it makes may be; nil when it makes none.
	Logins *Logins `json:"logins,omitempty"`
	// Lacks is what it can't do, each with the reason.
	Lacks []Lack `json:"lacks,omitempty"`
}

// ResourceKind is a product that a driver of several can serve.
type ResourceKind struct {
	Name string `json:"name"` // redis
	Type string `json:"type"` // the ARM type of its resources
	Kind string `json:"kind,omitempty"`
}

// Endpoint says how it is said where a resource is; of one without About, nothing is:
// its host is.
type Endpoint struct {
	Field
	// Port is what an endpoint without one has; "" when it has none, or when that
	// depends on the scheme.
	Port string `json:"port,omitempty"`
	// Schemes are those that an endpoint which is a URL may have.
	Schemes []string `json:"schemes,omitempty"`
}

// Field is one thing that a driver is told of a resource.
type Field struct {
	// Name is its name on the wire; tls.ca is the member ca of the object tls.
	Name string `json:"name"`
	// Flag is its name on the command line, without dashes; "": made from Name. A
	// secret's flag is the beginning of two: NAME-file and NAME-env.
	Flag    string    `json:"flag,omitempty"`
	Type    FieldType `json:"type"`
	About   string    `json:"about"`             // a line for people
	Words   []string  `json:"words,omitempty"`   // the only ones allowed; none: any
	Default string    `json:"default,omitempty"` // for people; the driver applies it
	Example string    `json:"example,omitempty"`
	// Form is what stands for a value in help: HOST:PORT. A path's is DIR when it is
	// a directory's.
	Form string `json:"form,omitempty"`
	// Commas says that the items of a list may stand in one text, with commas
	// between them.
	Commas   bool `json:"commas,omitempty"`
	Secret   bool `json:"secret,omitempty"`
	Required bool `json:"required,omitempty"`
}

// FieldType is the form of a field's value.
type FieldType string

// The types of fields. On the wire a text, a path and the content of a file are
// strings, a list is an array of strings, and a map an object of them.
const (
	TextField FieldType = "text"
	BoolField FieldType = "bool"
	ListField FieldType = "list"
	MapField  FieldType = "map"
	FileField FieldType = "file" // the content of a file: on a command line, its name
	PathField FieldType = "path" // a file or directory on the server's machine, or on the resource's host
	HostField FieldType = "host" // the id of a registered host
)

// Word is the field's name on a command line: ca-file, sslmode.
func (f Field) Word() string {
	if f.Flag != "" {
		return f.Flag
	}
	var b strings.Builder
	for _, r := range f.Name {
		switch {
		case r == '.':
			b.WriteByte('-')
		case r >= 'A' && r <= 'Z':
			b.WriteString("-" + strings.ToLower(string(r)))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Logins is what the logins may be that a driver makes on a target.
type Logins struct {
	Auths    []AuthType `json:"auths"` // how one may sign in
	Accesses []Access   `json:"accesses"`
	Options  []Option   `json:"options,omitempty"`
	Sessions bool       `json:"sessions"` // its open sessions are counted
	Sources  bool       `json:"sources"`  // it may be bound to source addresses
	// RotatesAdmin says that the administrator's own credential can be replaced.
	RotatesAdmin bool `json:"rotatesAdmin,omitempty"`
}

// Option is something that a connection may ask of its target's driver.
type Option struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Example string `json:"example,omitempty"`
}

// Lack is something that a driver can't do: an auth type, an access, or in
// words.
type Lack struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// TargetKind is a kind of target: how a connection names one, and what its
// settings are made of.
type TargetKind struct {
	Name  string `json:"name"`  // postgresql
	Title string `json:"title"` // PostgreSQL
	// IDs are the forms of a target's id, or the target service type of an endpoint
	// that nobody registers.
	IDs []TargetID `json:"ids,omitempty"`
	// Variant is {kind}/{resource kind} of a kind that a target of another one is
	// when its resource's own kind property is that.
	Variant string       `json:"variant,omitempty"`
	Words   []string     `json:"words"`   // the command line's: postgres, postgres-flexible
	Clients []ClientType `json:"clients"` // those with names of their own in the default naming
	Auths   []AuthType   `json:"auths"`
	Namings []Naming     `json:"namings"` // the default first
	// ConnectionString says that .NET may ask for one string.
	ConnectionString bool          `json:"connectionString,omitempty"`
	Values           []TargetValue `json:"values"`
}

// TargetValue is one thing that settings are made of.
type TargetValue struct {
	Name     string     `json:"name"`
	About    string     `json:"about"`             // what it is, in a few words
	Default  string     `json:"default,omitempty"` // may refer to other values, as {account}; "": there is none
	Example  string     `json:"example,omitempty"`
	Words    []string   `json:"words,omitempty"` // the only ones allowed; empty: any
	Auths    []AuthType `json:"auths,omitempty"` // it exists only with these; empty: with all
	Secret   bool       `json:"secret,omitempty"`
	Optional bool       `json:"optional,omitempty"` // a request may leave it out
	// Told says that a registration has words of its own for it (tls.ca), or nobody
	// gives it: it can't be among the values of one.
	Told bool `json:"told,omitempty"`
}

// Types are the ARM types of the target ids, or target service types.
func (k TargetKind) Types() []string {
	types := make([]string, len(k.IDs))
	for i, id := range k.IDs {
		types[i] = id.Type()
	}
	return types
}

// TargetID is the form of a target's id below its resource group, and the words
// that a command line has for targets with such ids:
// Microsoft.Cache/redis/{server}/databases/{database=0}. A name in braces is the
// caller's to give; what follows = is taken otherwise, where @ is the name of the
// resource.
type TargetID struct {
	Form  string   `json:"form"`
	Words []string `json:"words"`
}

// Segment is one level of a [TargetID]: a type and a name.
type Segment struct {
	Type string // databases; of the first one Microsoft.Cache/redis
	// Name is what the name is called (database), or the name itself when Fixed.
	Name    string
	Fixed   bool
	Default string // "@" is the resource's own name
}

// Segments takes the form apart, the resource first. It is nil when the form is
// none.
func (t TargetID) Segments() []Segment {
	parts := strings.Split(t.Form, "/")
	if len(parts) < 3 || len(parts)%2 == 0 {
		return nil
	}
	parts = slices.Insert(parts[2:], 0, parts[0]+"/"+parts[1])
	var all []Segment
	for pair := range slices.Chunk(parts, 2) {
		s := Segment{Type: pair[0], Name: pair[1], Fixed: true}
		if inner, ok := strings.CutPrefix(pair[1], "{"); ok {
			s.Fixed = false
			s.Name, s.Default, _ = strings.Cut(strings.TrimSuffix(inner, "}"), "=")
		}
		all = append(all, s)
	}
	return all
}

// Type is the ARM type of the target's id: Microsoft.Cache/redis/databases. A
// form that is no id is a target service type, and its own.
func (t TargetID) Type() string {
	if !strings.Contains(t.Form, "/") {
		return t.Form
	}
	var types []string
	for _, s := range t.Segments() {
		types = append(types, s.Type)
	}
	return strings.Join(types, "/")
}

// Resource is the ARM type of the resource that the target belongs to.
func (t TargetID) Resource() string { return t.Segments()[0].Type }
