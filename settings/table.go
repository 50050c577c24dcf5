package settings

import (
	"embed"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"patchbay.dev/patchbay"
)

// The table is one file a kind, and shared.yaml for what most have in common.
// table/README.md says how a file is written.
//
//go:embed table/*.yaml
var files embed.FS

// everyClient is what a rule without clients is for.
var everyClient = []patchbay.ClientType{
	"none", "dotnet", "java", "nodejs", "python", "go", "php", "ruby", "django",
	"springBoot", "kafka-springBoot", "jms-springBoot", "dapr",
}

// namings are all of them, in the order in which they are shown.
var namings = []patchbay.Naming{patchbay.NamingAzure, patchbay.NamingNative, patchbay.NamingServiceBinding}

// kind is one file of the table, checked and complete.
type kind struct {
	name     string
	title    string
	ids      []patchbay.TargetID
	variant  string   // "cognitiveservices/OpenAI"
	ofKind   bool     // variant is the resource's kind, and not a way to connect
	cli      []string // of a variant, which has no ids of its own
	connstr  bool     // .NET may ask for one string
	keyed    bool     // its secret is an access key of the resource
	prefix   string
	auths    []patchbay.AuthType
	values   []patchbay.TargetValue
	property map[string]string            // value → the connection string property that brings it
	need     [][]string                   // one of these sets of values must be there
	words    map[string]map[string]string // word list → our word → the library's
	about    map[string]string            // setting → what it is
	readers  []reader
	rules    map[patchbay.Naming][]rule
	found    *foundFile
}

// A rule says which settings some client types get with some auth types. What
// the rules of a naming say adds up.
type rule struct {
	about   string
	clients []patchbay.ClientType
	auths   []patchbay.AuthType
	set     []setting
}

// setting is one name and the template of its value.
type setting struct {
	name     string
	about    string
	template template
	syntax   *syntax
	file     bool
	exact    bool // a caller's own, whose name stays as it is
	matcher  func() matcher
}

// namesAuthority reports whether the setting says where the authority's file is.
func (s setting) namesAuthority() (found bool) {
	s.template.holes(func(p part, _ bool) { found = found || p.value == authorityPath })
	return found
}

// authority is the setting that is the authority's file.
func (k *kind) authority() setting {
	s := setting{
		name: AuthorityFile, about: k.value(authority).About, template: template{{value: authority}}, syntax: syntaxes["text"], file: true,
	}
	s.matcher = sync.OnceValue(func() matcher { return k.matcher(s.template, s.syntax) })
	return s
}

func (k *kind) value(name string) *patchbay.TargetValue {
	for i := range k.values {
		if k.values[i].Name == name {
			return &k.values[i]
		}
	}
	return nil
}

// exists says which values there are with an auth type.
func (k *kind) exists(auth patchbay.AuthType) func(name string) bool {
	return func(name string) bool {
		v := k.value(name)
		return len(v.Auths) == 0 || slices.Contains(v.Auths, auth)
	}
}

// here is s as it concerns an auth type: whether it can be there at all,
// whether it always is, and whether it holds a credential.
func (k *kind) here(s setting, auth patchbay.AuthType) (possible, always, secret bool) {
	possible, always = true, true
	exists := k.exists(auth)
	s.template.holes(func(p part, inside bool) {
		v := k.value(p.value)
		switch {
		case !exists(p.value):
			possible = possible && inside
		case v.Secret:
			secret = true
		}
		if !inside && (p.special || v.Optional) {
			always = false
		}
	})
	return possible, always, secret && possible
}

// settings are those of a client type and auth type, or an error that says
// which ones there are.
func (k *kind) settings(naming patchbay.Naming, client patchbay.ClientType, auth patchbay.AuthType) ([]setting, error) {
	rules := k.rules[naming]
	if len(rules) == 0 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument,
			"%s has no names in the naming %s. Supported namings are %s", k.title, naming, list(k.namings()))
	}
	client = canonical(client)
	var set []setting
	var auths []patchbay.AuthType
	for _, r := range rules {
		if !slices.Contains(r.clients, client) {
			continue
		}
		auths = append(auths, r.auths...)
		if !slices.Contains(r.auths, auth) {
			continue
		}
		for _, s := range r.set {
			if possible, _, _ := k.here(s, auth); possible {
				set = append(set, s)
			}
		}
	}
	if naming == patchbay.NamingServiceBinding || slices.ContainsFunc(set, setting.namesAuthority) {
		set = append(set, k.authority())
	}
	switch {
	case len(auths) == 0:
		return nil, patchbay.Errorf(patchbay.InvalidArgument,
			"Client type %s is not supported by target resource. Supported client types are %s", client, list(k.clients(naming)))
	case !slices.Contains(auths, auth):
		return nil, patchbay.Errorf(patchbay.InvalidArgument,
			"Auth type %s is not supported by target resource with client type %s. Supported auth types are %s",
			quoteEmpty(string(auth)), client, list(unique(auths)))
	}
	return set, nil
}

// canonical is the client type that the table has for one: az has two more
// words for .NET, and a client that says nothing gets separate keys.
func canonical(c patchbay.ClientType) patchbay.ClientType {
	switch c {
	case "":
		return "none"
	case "dotnet-connectionString", "dotnet-internal":
		return "dotnet"
	}
	return c
}

func (k *kind) namings() []patchbay.Naming {
	return slices.DeleteFunc(slices.Clone(namings), func(n patchbay.Naming) bool { return len(k.rules[n]) == 0 })
}

// naming is the default: Azure's names where Azure has some.
func (k *kind) naming() patchbay.Naming { return k.namings()[0] }

func (k *kind) clients(naming patchbay.Naming) []patchbay.ClientType {
	return slices.DeleteFunc(slices.Clone(everyClient), func(c patchbay.ClientType) bool {
		return !slices.ContainsFunc(k.rules[naming], func(r rule) bool { return slices.Contains(r.clients, c) })
	})
}

func (k *kind) authsOf(naming patchbay.Naming, client patchbay.ClientType) []patchbay.AuthType {
	var all []patchbay.AuthType
	for _, r := range k.rules[naming] {
		if client == "" || slices.Contains(r.clients, client) {
			all = append(all, r.auths...)
		}
	}
	return slices.DeleteFunc(slices.Clone(everyAuth), func(a patchbay.AuthType) bool { return !slices.Contains(all, a) })
}

// everyAuth is the order in which auth types are shown.
var everyAuth = []patchbay.AuthType{
	patchbay.AuthSecret, patchbay.AuthSystemIdentity, patchbay.AuthUserIdentity,
	patchbay.AuthSPSecret, patchbay.AuthUserAccount,
}

// public is what the package says of a kind.
func (k *kind) public() patchbay.TargetKind {
	variant := ""
	if k.ofKind {
		variant = k.variant
	}
	return patchbay.TargetKind{
		Name: k.name, Title: k.title, IDs: slices.Clone(k.ids), Variant: variant, Words: k.commandWords(),
		Namings: k.namings(), Clients: k.clients(k.naming()), Auths: k.authsOf(k.naming(), ""),
		ConnectionString: k.connstr, Values: slices.Clone(k.values),
	}
}

// commandWords are the command line's.
func (k *kind) commandWords() []string {
	words := slices.Clone(k.cli)
	for _, id := range k.ids {
		words = append(words, id.Words...)
	}
	return unique(words)
}

// Kinds are all kinds, sorted by name.
func Kinds() []patchbay.TargetKind {
	var all []patchbay.TargetKind
	for _, name := range slices.Sorted(maps.Keys(table())) {
		all = append(all, table()[name].public())
	}
	return all
}

// KindOf is the kind of a target of that ARM type, with its sub-resource
// (Microsoft.DBforPostgreSQL/flexibleServers/databases), or of that target
// service type (ConfluentBootstrapServer). Case does not matter. A resource of
// no product's type is of Patchbay.Services/{kind}.
func KindOf(resourceType string) (kind string, ok bool) {
	if namespace, name, cut := strings.Cut(resourceType, "/"); cut && strings.EqualFold(namespace, "Patchbay.Services") {
		for kind := range table() {
			if strings.EqualFold(kind, name) {
				return kind, true
			}
		}
	}
	for name, k := range table() {
		if slices.ContainsFunc(k.ids, func(id patchbay.TargetID) bool { return strings.EqualFold(id.Type(), resourceType) }) {
			return name, true
		}
	}
	return "", false
}

// Variant is the kind for a resource of that kind whose own kind property is
// resourceKind: an account of Cognitive Services of kind OpenAI has names of
// its own. It is kind itself when there is nothing special about it.
func Variant(kind, resourceKind string) string {
	for name, k := range table() {
		if k.variant != "" && strings.EqualFold(k.variant, kind+"/"+resourceKind) {
			return name
		}
	}
	return kind
}

// DefaultNaming is the naming of connections that do not choose one: azure for
// what Azure has names for, native for the rest.
func DefaultNaming(kind string) patchbay.Naming {
	if k, ok := table()[kind]; ok {
		return k.naming()
	}
	return patchbay.NamingNative
}

// find is the kind and the naming of a request.
func find(name string, naming patchbay.Naming) (*kind, patchbay.Naming, error) {
	k, ok := table()[name]
	if !ok {
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument,
			"target kind %q is not known. Known kinds are %s", name, list(slices.Sorted(maps.Keys(table()))))
	}
	if naming == "" {
		naming = k.naming()
	}
	return k, naming, nil
}

// table is the whole table. The files are part of the program: a mistake in
// one is found by the first test that looks, so it panics and is not an error
// of everything that asks for a setting.
var table = sync.OnceValue(func() map[string]*kind {
	t, err := load()
	if err != nil {
		panic(err)
	}
	added.Lock()
	defer added.Unlock()
	maps.Copy(t, added.kinds)
	added.late = true
	return t
})

// added are the kinds of other modules.
var added struct {
	sync.Mutex
	kinds map[string]*kind
	late  bool // the table was asked for
}

// Add adds the kind of a target whose driver is in another module: file is as one of this
// package's table, and name what it would be called. It is for the beginning of a program,
// before anything asks for a kind. It fails when the file is none, when there is such a
// kind, when one of its targets or of its words is another's, and when it comes too late.
func Add(name string, file []byte) error {
	k, err := parse(name, file)
	if err != nil {
		return fmt.Errorf("the kind of target %s: %w", name, err)
	}
	present, err := load()
	if err != nil {
		return err
	}
	added.Lock()
	defer added.Unlock()
	maps.Copy(present, added.kinds)
	for other, there := range present {
		if other == name {
			return fmt.Errorf("there is a kind of target %s already", name)
		}
		for _, id := range k.ids {
			if slices.ContainsFunc(there.ids, func(of patchbay.TargetID) bool { return strings.EqualFold(of.Type(), id.Type()) }) {
				return fmt.Errorf("the kind of target %s: %s is the type of %s", name, id.Type(), other)
			}
		}
		for _, word := range k.commandWords() {
			if slices.Contains(there.commandWords(), word) {
				return fmt.Errorf("the kind of target %s: %s is a word for %s", name, word, other)
			}
		}
	}
	if added.late {
		return fmt.Errorf("the kind of target %s comes too late: the table was read", name)
	}
	if added.kinds == nil {
		added.kinds = map[string]*kind{}
	}
	added.kinds[name] = k
	return nil
}

// parse reads the file of a kind that is not one of this package's.
func parse(name string, file []byte) (*kind, error) {
	if !kindName.MatchString(name) {
		return nil, fmt.Errorf("%q is no name for one: small letters, digits and hyphens, a letter first", name)
	}
	var shared sharedFile
	if err := read("table/shared.yaml", &shared); err != nil {
		return nil, err
	}
	var f kindFile
	if err := yaml.Load(file, &f, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if err := f.inherit(); err != nil {
		return nil, err
	}
	return f.kind(name, shared.Values)
}

var kindName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// The files as they are written.
type (
	kindFile struct {
		Title   string                       `yaml:"title"`
		Like    string                       `yaml:"like"` // another kind, whose words and rules it has
		Targets []targetFile                 `yaml:"targets"`
		Variant string                       `yaml:"variant"`
		As      string                       `yaml:"connectAs"`
		CLI     []string                     `yaml:"cli"`
		Connstr bool                         `yaml:"connectionString"`
		Keyed   bool                         `yaml:"accessKey"`
		Prefix  string                       `yaml:"prefix"`
		Auths   []patchbay.AuthType          `yaml:"auth"`
		Values  []valueFile                  `yaml:"values"`
		Found   *foundFile                   `yaml:"found"`
		Need    [][]string                   `yaml:"need"`
		Words   map[string]map[string]string `yaml:"words"`
		Readers []readerFile                 `yaml:"readers"`
		About   map[string]string            `yaml:"about"`
		Azure   []ruleFile                   `yaml:"azure"`
		Native  []ruleFile                   `yaml:"native"`
		Binding []ruleFile                   `yaml:"servicebinding"`
	}
	targetFile struct {
		Form  string   `yaml:"form"`
		Words []string `yaml:"words"`
	}
	valueFile struct {
		Name     string              `yaml:"name"`
		Text     string              `yaml:"text"`
		Default  string              `yaml:"default"`
		Example  string              `yaml:"example"`
		Words    []string            `yaml:"words"`
		Auths    []patchbay.AuthType `yaml:"auth"`
		Secret   bool                `yaml:"secret"`
		Optional bool                `yaml:"optional"`
		Told     bool                `yaml:"told"`
		Property string              `yaml:"property"`
	}
	readerFile struct {
		By      string                `yaml:"by"`
		Namings []patchbay.Naming     `yaml:"namings"`
		Clients []patchbay.ClientType `yaml:"clients"`
		Reads   map[string]string     `yaml:"reads"`
		Unsaid  string                `yaml:"unsaid"`
		Unread  []string              `yaml:"unread"`
		Known   string                `yaml:"authority"`
		Told    bool                  `yaml:"told"`
		Left    map[string]string     `yaml:"left"`
	}
	ruleFile struct {
		About   string                `yaml:"about"`
		Clients []patchbay.ClientType `yaml:"clients"`
		Auths   []patchbay.AuthType   `yaml:"auth"`
		Set     pairs                 `yaml:"set"`
	}
	// pairs is a mapping in the order of the file, with each value's tag.
	pairs []pair
	pair  struct{ name, syntax, template string }
)

// UnmarshalYAML implements yaml.Unmarshaler.
func (p *pairs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: set is not a mapping", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: %s is not a string", value.Line, key.Value)
		}
		tag := strings.TrimPrefix(value.Tag, "!")
		if strings.HasPrefix(tag, "!") {
			tag = "text" // one of YAML's own
		}
		if syntaxes[tag] == nil {
			return fmt.Errorf("line %d: no syntax is called %s", value.Line, tag)
		}
		*p = append(*p, pair{name: key.Value, syntax: tag, template: value.Value})
	}
	return nil
}

// sharedFile is what kinds have in common.
type sharedFile struct {
	Values    []valueFile                    `yaml:"values"`
	Stores    map[patchbay.ClientType]string `yaml:"stores"`
	Strangers []strangerFile                 `yaml:"strangers"`
}

// stores are how a client type's libraries come to trust an authority that no
// setting tells them.
var stores = sync.OnceValue(func() map[patchbay.ClientType]string {
	var shared sharedFile
	if err := read("table/shared.yaml", &shared); err != nil {
		panic(err)
	}
	return shared.Stores
})

func load() (map[string]*kind, error) {
	var shared sharedFile
	if err := read("table/shared.yaml", &shared); err != nil {
		return nil, err
	}
	names, err := files.ReadDir("table")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*kind)
	for _, entry := range names {
		name := strings.TrimSuffix(entry.Name(), ".yaml")
		if name == "shared" {
			continue
		}
		var f kindFile
		if err := read(path.Join("table", entry.Name()), &f); err != nil {
			return nil, err
		}
		if err := f.inherit(); err != nil {
			return nil, err
		}
		k, err := f.kind(name, shared.Values)
		if err != nil {
			return nil, fmt.Errorf("settings/table/%s: %w", entry.Name(), err)
		}
		all[name] = k
	}
	return all, nil
}

func read(name string, into any) error {
	data, err := files.ReadFile(name)
	if err == nil {
		err = yaml.Load(data, into, yaml.WithKnownFields())
	}
	if err != nil {
		return fmt.Errorf("settings/%s: %w", name, err)
	}
	return nil
}

// inherit takes over what a file says by being like another.
func (f *kindFile) inherit() error {
	if f.Like == "" {
		return nil
	}
	var base kindFile
	if err := read("table/"+f.Like+".yaml", &base); err != nil {
		return err
	}
	f.Words, f.Readers, f.About = base.Words, base.Readers, base.About
	f.Azure, f.Native, f.Binding = base.Azure, base.Native, base.Binding
	return nil
}

// kind checks a file and completes it.
func (f *kindFile) kind(name string, shared []valueFile) (*kind, error) {
	k := &kind{
		name: name, title: f.Title, variant: f.Variant + f.As, ofKind: f.Variant != "", cli: f.CLI, connstr: f.Connstr, keyed: f.Keyed, prefix: f.Prefix,
		auths: f.Auths, need: f.Need, words: f.Words, about: f.About, found: f.Found,
		property: make(map[string]string), rules: make(map[patchbay.Naming][]rule),
	}
	if k.title == "" || len(k.auths) == 0 {
		return nil, fmt.Errorf("no title, or no auth")
	}
	for _, t := range f.Targets {
		k.ids = append(k.ids, patchbay.TargetID(t))
	}
	for _, v := range f.Values {
		if at := slices.IndexFunc(shared, func(s valueFile) bool { return s.Name == v.Name }); at >= 0 {
			v = v.over(shared[at])
		}
		k.add(v)
	}
	rules := map[patchbay.Naming][]ruleFile{
		patchbay.NamingAzure: f.Azure, patchbay.NamingNative: f.Native, patchbay.NamingServiceBinding: f.Binding,
	}
	for _, naming := range namings { // in order: rules bring values along
		for _, r := range rules[naming] {
			done, err := k.rule(r, naming, shared)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", naming, err)
			}
			k.rules[naming] = append(k.rules[naming], done)
		}
	}
	if len(k.rules) == 0 {
		return nil, fmt.Errorf("no rules")
	}
	if k.value(authority) == nil && (k.value(authorityPath) != nil || len(k.rules[patchbay.NamingServiceBinding]) > 0) {
		k.add(shared[slices.IndexFunc(shared, func(v valueFile) bool { return v.Name == authority })])
	}
	for _, r := range f.Readers {
		k.readers = append(k.readers, reader{r.By, r.Namings, r.Clients, r.Reads, r.Unread, r.Unsaid, r.Known, r.Told, false, r.Left})
	}
	return k, k.check()
}

// over is v, with what it leaves open taken from base.
func (v valueFile) over(base valueFile) valueFile {
	if v.Text == "" {
		v.Text = base.Text
	}
	if v.Default == "" {
		v.Default = base.Default
	}
	if v.Example == "" {
		v.Example = base.Example
	}
	if v.Words == nil {
		v.Words = base.Words
	}
	if v.Auths == nil {
		v.Auths = base.Auths
	}
	v.Secret = v.Secret || base.Secret
	return v
}

func (k *kind) add(v valueFile) {
	k.values = append(k.values, patchbay.TargetValue{
		Name: v.Name, About: v.Text, Default: v.Default, Example: v.Example,
		Words: v.Words, Auths: v.Auths, Secret: v.Secret, Optional: v.Optional, Told: v.Told,
	})
	if v.Property != "" {
		k.property[v.Name] = v.Property
	}
}

func (k *kind) rule(f ruleFile, naming patchbay.Naming, shared []valueFile) (rule, error) {
	r := rule{about: f.About, clients: f.Clients, auths: f.Auths}
	if len(r.clients) == 0 {
		r.clients = everyClient
	}
	if len(r.auths) == 0 {
		r.auths = k.auths
	}
	// What a kind does not have at all, no rule gives it: a kind may share the
	// rules of one that has more.
	r.auths = slices.DeleteFunc(slices.Clone(r.auths), func(a patchbay.AuthType) bool { return !slices.Contains(k.auths, a) })
	for _, c := range r.clients {
		if !slices.Contains(everyClient, c) {
			return r, fmt.Errorf("no client type is called %s", c)
		}
	}
	for _, a := range r.auths {
		if !slices.Contains(everyAuth, a) {
			return r, fmt.Errorf("no auth type is called %s", a)
		}
	}
	for _, p := range f.Set {
		t, err := parseTemplate(p.template)
		if err != nil {
			return r, fmt.Errorf("%s: %w", p.name, err)
		}
		s := setting{name: p.name, template: t, syntax: syntaxes[p.syntax], file: naming == patchbay.NamingServiceBinding}
		t.holes(func(p part, _ bool) {
			// Identity values are the same everywhere: a kind has them when it
			// uses them.
			if k.value(p.value) == nil {
				if at := slices.IndexFunc(shared, func(v valueFile) bool { return v.Name == p.value }); at >= 0 {
					k.add(shared[at])
				}
			}
			if v := k.value(p.value); v == nil {
				err = fmt.Errorf("%s: there is no value %s", s.name, p.value)
			} else if w, ok := k.words[p.as]; ok {
				for _, word := range v.Words {
					if _, ok := w[word]; !ok {
						err = fmt.Errorf("%s: the words %s lack %s", s.name, p.as, word)
					}
				}
			} else if p.as != "" && syntaxes[p.as] == nil {
				err = fmt.Errorf("%s: there are no words and no syntax %s", s.name, p.as)
			}
		})
		if err != nil {
			return r, err
		}
		if s.about = k.describe(r, s); s.about == "" {
			return r, fmt.Errorf("%s: nothing says what it is", s.name)
		}
		if naming == patchbay.NamingAzure && strings.ToUpper(s.name) == s.name && !ProcessWide(s.name) {
			s.name = k.prefix + s.name
		}
		s.matcher = sync.OnceValue(func() matcher { return k.matcher(s.template, s.syntax) })
		r.set = append(r.set, s)
	}
	return r, nil
}

// describe says what a setting is, "" when the table does not.
func (k *kind) describe(r rule, s setting) string {
	switch text, value := k.about[s.name], s.template.alone(); {
	case r.about != "":
		return r.about
	case text != "":
		return text
	case value != "":
		return k.value(value).About
	case len(s.template) == 1:
		return "Always " + s.template[0].text
	case s.syntax == syntaxes["text"]:
		return ""
	}
	return strings.ToUpper(s.syntax.title[:1]) + s.syntax.title[1:]
}

// check looks for what a rule alone can't show.
func (k *kind) check() error {
	for _, v := range k.values {
		t, err := parseTemplate(v.Default)
		if err != nil {
			return fmt.Errorf("the default of %s: %w", v.Name, err)
		}
		t.holes(func(p part, _ bool) {
			if k.value(p.value) == nil || k.value(p.value).Default != "" && strings.Contains(k.value(p.value).Default, "{") {
				err = fmt.Errorf("the default of %s refers to %s", v.Name, p.value)
			}
		})
		if err != nil {
			return err
		}
		if v.About == "" || (v.Example == "" && v.Default == "" && len(v.Words) == 0) {
			return fmt.Errorf("%s needs a text, and an example or a default", v.Name)
		}
	}
	for _, set := range k.need {
		for _, name := range set {
			if v := k.value(name); v == nil || !v.Optional {
				return fmt.Errorf("need: %s is no optional value", name)
			}
		}
	}
	for naming := range k.rules {
		for _, client := range k.clients(naming) {
			for _, auth := range k.authsOf(naming, client) {
				set, err := k.settings(naming, client, auth)
				if err != nil {
					return err
				}
				seen := make(map[string]bool)
				for _, s := range set {
					if seen[strings.ToLower(s.name)] {
						return fmt.Errorf("%s, %s, %s: %s is there twice", naming, client, auth, s.name)
					}
					seen[strings.ToLower(s.name)] = true
				}
			}
		}
	}
	return nil
}

// list is a list for a message.
func list[T ~string](all []T) string {
	s := make([]string, len(all))
	for i, v := range all {
		s[i] = string(v)
	}
	return strings.Join(s, ", ")
}

func unique[T comparable](all []T) []T {
	var u []T
	for _, v := range all {
		if !slices.Contains(u, v) {
			u = append(u, v)
		}
	}
	return u
}

func quoteEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return s
}
