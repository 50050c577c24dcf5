package arm

import (
	"strings"
	"unicode"

	"patchbay.dev/patchbay"
)

// Limits on a filter, in bytes and comparisons.
const (
	maxFilter      = 2048
	maxComparisons = 16
)

// Filter is what a list is narrowed to: values by field, all of which have to
// be equal, in any case.
type Filter map[string]string

// ParseFilter reads the query parameter $filter: comparisons of the form
// FIELD eq 'VALUE', joined by and, in parentheses or not. Two single quotes in
// a value are one. Fields and words are taken in any case; the fields are those
// that are given. "" is no filter.
func ParseFilter(text string, fields ...string) (Filter, error) {
	f := Filter{}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	p := filtering{rest: text, text: text, fields: fields, into: f}
	if len(text) > maxFilter {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter is longer than %d bytes", maxFilter)
	}
	if err := p.conjunction(0); err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, p.wrong("and")
	}
	return f, nil
}

// Matches reports whether value is what the field is narrowed to.
func (f Filter) Matches(field, value string) bool {
	want, ok := f[field]
	return !ok || strings.EqualFold(want, value)
}

// filtering is a filter being read.
type filtering struct {
	text, rest string
	fields     []string
	count      int
	into       Filter
}

func (p *filtering) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *filtering) wrong(want string) error {
	return patchbay.Errorf(patchbay.InvalidArgument,
		"the query parameter $filter is not understood at byte %d, where %s is expected; it is FIELD eq 'VALUE', more of them joined by and, and the fields are %s",
		len(p.text)-len(p.rest), want, strings.Join(p.fields, ", "))
}

func (p *filtering) conjunction(depth int) error {
	for {
		if err := p.term(depth); err != nil {
			return err
		}
		p.space()
		before := p.rest
		if !strings.EqualFold(p.word(), "and") {
			p.rest = before
			return nil
		}
	}
}

func (p *filtering) term(depth int) error {
	p.space()
	if strings.HasPrefix(p.rest, "(") {
		if depth == maxComparisons {
			return p.wrong("a field")
		}
		p.rest = p.rest[1:]
		if err := p.conjunction(depth + 1); err != nil {
			return err
		}
		p.space()
		if !strings.HasPrefix(p.rest, ")") {
			return p.wrong("a closing parenthesis")
		}
		p.rest = p.rest[1:]
		return nil
	}
	return p.comparison()
}

func (p *filtering) comparison() error {
	before := p.rest
	word, field := p.word(), ""
	for _, known := range p.fields {
		if strings.EqualFold(known, word) {
			field = known
		}
	}
	if field == "" {
		p.rest = before
		return p.wrong("a field")
	}
	p.space()
	before = p.rest
	if !strings.EqualFold(p.word(), "eq") {
		p.rest = before
		return p.wrong("eq")
	}
	p.space()
	before = p.rest
	value, ok := p.quoted()
	if !ok {
		p.rest = before
		return p.wrong("a value in single quotes")
	}
	if p.count++; p.count > maxComparisons {
		return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter has more than %d comparisons", maxComparisons)
	}
	if old, twice := p.into[field]; twice && !strings.EqualFold(old, value) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $filter wants two values of %s", field)
	}
	p.into[field] = value
	return nil
}

// word is the letters that come next.
func (p *filtering) word() string {
	end := strings.IndexFunc(p.rest, func(r rune) bool { return !unicode.IsLetter(r) })
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

// quoted is the text in single quotes that comes next.
func (p *filtering) quoted() (string, bool) {
	if !strings.HasPrefix(p.rest, "'") {
		return "", false
	}
	var b strings.Builder
	for at := 1; at < len(p.rest); at++ {
		switch {
		case p.rest[at] != '\'':
			b.WriteByte(p.rest[at])
		case at+1 < len(p.rest) && p.rest[at+1] == '\'':
			b.WriteByte('\'')
			at++
		default:
			p.rest = p.rest[at+1:]
			return b.String(), true
		}
	}
	return "", false
}
