package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A template is a setting's value with its holes:
//
//	{host}         the value host, escaped as the syntax wants it
//	{sslmode:tls}  the same in the words of the kind's word list tls, or
//	               escaped as in the syntax of that name
//	{port!}        the value unless it is the default
//	[…]            a segment, left out when one of its values is not there
//	{{ }} [[ ]]    the characters themselves
//
// A whole setting is left out when a value outside of its segments is not
// there: because it does not exist with the auth type, is optional and was not
// given, or is the default and marked with !.
type template []part

type part struct {
	text    string // a literal, when there is neither value nor segment
	value   string
	as      string // a word list or a syntax
	special bool   // only when it is not the default
	segment template
}

// parseTemplate reads a template.
func parseTemplate(s string) (template, error) {
	t, rest, err := parseParts(s, false)
	if err == nil && rest != "" {
		err = fmt.Errorf("a ] too many")
	}
	return t, err
}

func parseParts(s string, inside bool) (t template, rest string, err error) {
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			t = append(t, part{text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		c := s[0]
		if strings.IndexByte("{}[]", c) < 0 {
			text.WriteByte(c)
			s = s[1:]
			continue
		}
		if len(s) > 1 && s[1] == c {
			text.WriteByte(c)
			s = s[2:]
			continue
		}
		switch {
		case c == '{':
			hole, after, ok := strings.Cut(s[1:], "}")
			p := part{}
			hole, p.special = strings.CutSuffix(hole, "!")
			p.value, p.as, _ = strings.Cut(hole, ":")
			if !ok || p.value == "" {
				return nil, "", fmt.Errorf("a { without its }")
			}
			flush()
			t, s = append(t, p), after
		case c == '[' && !inside:
			segment, after, err := parseParts(s[1:], true)
			if err != nil {
				return nil, "", err
			}
			if !strings.HasPrefix(after, "]") {
				return nil, "", fmt.Errorf("a [ without its ]")
			}
			flush()
			t, s = append(t, part{segment: segment}), after[1:]
		case c == ']':
			flush()
			return t, s, nil
		default:
			return nil, "", fmt.Errorf("a stray %c", c)
		}
	}
	flush()
	return t, "", nil
}

// holes calls f for every value in t, and says whether it is inside a segment.
func (t template) holes(f func(p part, inside bool)) { t.walk(f, false) }

func (t template) walk(f func(p part, inside bool), inside bool) {
	for _, p := range t {
		switch {
		case p.segment != nil:
			p.segment.walk(f, true)
		case p.value != "":
			f(p, inside)
		}
	}
}

// alone is the value that a template is nothing but, "" when it is more.
func (t template) alone() string {
	if len(t) == 1 {
		return t[0].value
	}
	return ""
}

// last is the literal that a template ends in, "" when it ends in a value.
func (t template) last() string {
	if len(t) == 0 {
		return ""
	}
	p := t[len(t)-1]
	if p.segment != nil {
		return p.segment.last()
	}
	return p.text
}

// filling is what goes into templates: the values of one request.
type filling struct {
	kind    *kind
	values  map[string]string // resolved: defaults are in
	regular map[string]string // the defaults
	exists  func(name string) bool
	missing map[string]bool // values that were needed and not there
	blanks  bool            // some values are only ‹names›
}

func newFilling(k *kind, exists func(name string) bool) *filling {
	return &filling{
		kind: k, exists: exists,
		values: make(map[string]string), regular: make(map[string]string), missing: make(map[string]bool),
	}
}

// fill gives t with its values, and which ones it wrote. left says that it is
// left out.
func (f *filling) fill(t template, x *syntax) (text string, wrote []string, left bool) {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.segment != nil:
			if s, w, left := f.fill(p.segment, x); !left {
				b.WriteString(s)
				wrote = append(wrote, w...)
			}
		case p.value == "":
			b.WriteString(p.text)
		case !f.exists(p.value):
			return "", nil, true
		default:
			value, ok := f.values[p.value]
			switch {
			case !ok && f.kind.value(p.value).Optional:
				return "", nil, true
			case !ok:
				f.missing[p.value] = true
			case p.special && value == f.regular[p.value]:
				return "", nil, true
			case f.isBlank(value):
				b.WriteString(value)
			default:
				b.WriteString(f.kind.encode(p, x, value))
				wrote = append(wrote, p.value)
			}
		}
	}
	return b.String(), wrote, false
}

// encode is a value as it stands in p's place.
func (k *kind) encode(p part, x *syntax, value string) string {
	if w, ok := k.words[p.as]; ok {
		return w[value]
	}
	if p.as != "" {
		x = syntaxes[p.as]
	}
	return x.encode(p.value, value)
}

// decode gives the values that may stand behind s in p's place: several when a
// library's words are coarser than ours.
func (k *kind) decode(p part, x *syntax, s string) []string {
	w, ok := k.words[p.as]
	if !ok {
		if p.as != "" {
			x = syntaxes[p.as]
		}
		return []string{x.decode(p.value, s)}
	}
	var all []string
	for _, word := range k.value(p.value).Words {
		if w[word] == s {
			all = append(all, word)
		}
	}
	return all
}

// matcher finds a template's values in a string again.
type matcher struct {
	re    *regexp.Regexp
	parts []part // of each group
}

func (k *kind) matcher(t template, x *syntax) matcher {
	var m matcher
	var b strings.Builder
	var write func(template)
	write = func(t template) {
		for _, p := range t {
			switch {
			case p.segment != nil:
				b.WriteString("(?:")
				write(p.segment)
				b.WriteString(")?")
			case p.value == "":
				b.WriteString(regexp.QuoteMeta(p.text))
			default:
				b.WriteString("(" + k.accepts(p, x) + ")")
				m.parts = append(m.parts, p)
			}
		}
	}
	b.WriteString(`(?s)\A`)
	write(t)
	b.WriteString(x.tail(t.last()) + `\z`)
	m.re = regexp.MustCompile(b.String())
	return m
}

// accepts is the pattern of what may stand in p's place.
func (k *kind) accepts(p part, x *syntax) string {
	if w, ok := k.words[p.as]; ok {
		var all []string
		for _, word := range k.value(p.value).Words {
			all = append(all, regexp.QuoteMeta(w[word]))
		}
		// One may begin another, and what follows could be a further property.
		slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
		return strings.Join(all, "|")
	}
	if p.as != "" {
		x = syntaxes[p.as]
	}
	return x.accepts(p.value)
}
