package envfile

import (
	"fmt"
	"maps"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// document is a settings file, read.
type document struct {
	dialect    dialect
	statements []statement
	lineBreak  string
}

func parse(d dialect, text string) (*document, error) {
	if err := checkText([]byte(text)); err != nil {
		return nil, err
	}
	list, err := d.parse(text)
	if err != nil {
		return nil, err
	}
	return &document{dialect: d, statements: list, lineBreak: lineBreak(text)}, nil
}

func (d *document) text() string {
	var b strings.Builder
	for _, s := range d.statements {
		b.WriteString(s.text)
	}
	return b.String()
}

// values are what a reader of the file gets: of several assignments of one
// name, all readers take the last.
func (d *document) values() map[string]string {
	values := map[string]string{}
	for _, s := range d.statements {
		if s.kind == assignment {
			values[s.name] = s.value
		}
	}
	return values
}

// marks are the marks of all connections, in order.
func (d *document) marks() []mark {
	var list []mark
	for _, s := range d.statements {
		if m, ok := parseMark(s.text); ok && s.kind == comment {
			list = append(list, m)
		}
	}
	return list
}

// last is where a name is assigned last, or -1.
func (d *document) last(name string) int {
	for i := len(d.statements) - 1; i >= 0; i-- {
		if s := d.statements[i]; s.kind == assignment && s.name == name {
			return i
		}
	}
	return -1
}

// block is what stands in a file for one connection.
type block struct {
	at       int   // index of the first mark, -1 for none
	marks    []int // every mark of the connection; a copy by hand makes two
	mark     mark
	from, to int // the statements behind the mark that are in the block
}

// block finds what a connection added: its mark, and the settings right behind
// that which the mark lists or the change sets. What somebody wrote below is
// not in it.
func (d *document) block(c driver.Change) block {
	b := block{at: -1}
	set := map[string]bool{}
	for _, s := range c.Set {
		set[s.Name] = set[s.Name] || !s.File
	}
	for i, s := range d.statements {
		if s.kind != comment {
			continue
		}
		m, ok := parseMark(s.text)
		if !ok || m.uid != c.Mark.UID {
			continue
		}
		b.marks = append(b.marks, i)
		if b.at >= 0 {
			continue
		}
		b.at, b.mark, b.from, b.to = i, m, i+1, i+1
		for b.to < len(d.statements) {
			s := d.statements[b.to]
			if s.kind != assignment || !m.lists(s.name) && !set[s.name] {
				break
			}
			b.to++
		}
	}
	return b
}

func (b block) holds(i int) bool { return b.at >= 0 && b.from <= i && i < b.to }

// edits are what becomes of a document's statements: the new text by index,
// and what is added at the end.
type edits struct {
	d       *document
	replace map[int]string
	end     strings.Builder
}

func (d *document) edit() *edits { return &edits{d: d, replace: map[int]string{}} }

func (e *edits) String() string {
	var b strings.Builder
	for i, s := range e.d.statements {
		if text, ok := e.replace[i]; ok {
			b.WriteString(text)
		} else {
			b.WriteString(s.text)
		}
	}
	text := b.String()
	if e.end.Len() > 0 && text != "" && text != byteOrderMark && !strings.HasSuffix(text, "\n") {
		text += e.d.lineBreak
	}
	return text + e.end.String()
}

// applyChange makes the text that a change leaves. It depends on nothing but
// the text and the change, and applied again it changes nothing. taken says
// that a name in Remove is the connection's, beside those that its mark lists.
func applyChange(d dialect, source, text string, c driver.Change, taken func(name string) bool) (string, error) {
	doc, err := parse(d, text)
	if err != nil {
		return "", err
	}
	values := map[string]string{} // of the change
	for _, s := range c.Set {
		if !s.File {
			if err := checkSetting(d, s); err != nil {
				return "", err
			}
			values[s.Name] = s.Value.Reveal()
		}
	}
	old := doc.block(c)
	e := doc.edit()
	for _, i := range old.marks {
		e.replace[i] = ""
	}
	for i := old.from; i < old.to; i++ {
		e.replace[i] = ""
	}
	for _, name := range c.Remove {
		if _, set := values[name]; set || !old.mark.lists(name) && !taken(name) {
			continue
		}
		for i, s := range doc.statements {
			if s.kind == assignment && s.name == name {
				e.replace[i] = ""
			}
		}
	}
	var added strings.Builder
	for _, s := range c.Set {
		if s.File {
			continue
		}
		written, _ := d.encode(values[s.Name])
		if i := doc.last(s.Name); i >= 0 && !old.holds(i) {
			e.replace[i] = doc.statements[i].assign(written)
		} else {
			added.WriteString(s.Name + "=" + written + doc.lineBreak)
		}
	}
	if m := newMark(source, c); len(m.names) > 0 {
		all := m.line() + doc.lineBreak + added.String()
		if old.at >= 0 {
			e.replace[old.at] = all
		} else {
			e.end.WriteString(all)
		}
	}
	changed := e.String()
	expect := map[string]string{}
	for i, s := range doc.statements {
		if text, edited := e.replace[i]; s.kind == assignment && (!edited || text != "") {
			expect[s.name] = s.value
		}
	}
	maps.Copy(expect, values)
	return changed, checkEdit(d, changed, expect)
}

// checkEdit reads a new text before anybody else does: what the change sets
// must be there, and every other setting as it was.
func checkEdit(d dialect, text string, expect map[string]string) error {
	doc, err := parse(d, text)
	if err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the file can't be changed without breaking it: %w", err)
	}
	if name, same := difference(expect, doc.values()); !same {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the file can't be changed without changing what %s is read as", clip(name)).
			WithFix("look at the lines around it for quotes and backslashes that are not closed")
	}
	return nil
}

// difference names something that differs.
func difference(a, b map[string]string) (name string, same bool) {
	for name, value := range a {
		if other, ok := b[name]; !ok || other != value {
			return name, false
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			return name, false
		}
	}
	return "", true
}

// takeBack makes the text that is left of now when a change to before is taken
// out of it, name by name: somebody else wrote meanwhile. A name that holds
// the change's value gets back the line that before had, or goes; one that the
// change removed and nobody set again comes back.
func takeBack(d dialect, now, before string, c driver.Change) (string, error) {
	doc, err := parse(d, now)
	if err != nil {
		return "", err
	}
	old, err := parse(d, before)
	if err != nil {
		return "", fmt.Errorf("the settings as they were before: %w", err)
	}
	mine, was := doc.block(c), old.block(c)
	e := doc.edit()
	for _, i := range mine.marks {
		e.replace[i] = ""
	}
	line := func(i int) string { // of before, as a whole line of now
		return strings.TrimRight(old.statements[i].text, "\r\n") + doc.lineBreak
	}
	var again strings.Builder // comes back into the block
	for _, s := range c.Set {
		i := doc.last(s.Name)
		if s.File || i < 0 || doc.statements[i].value != s.Value.Reveal() {
			continue
		}
		e.replace[i] = ""
		if at := old.last(s.Name); at >= 0 {
			e.replace[i] = line(at)
		}
	}
	for _, name := range c.Remove {
		at := old.last(name)
		if at < 0 || doc.last(name) >= 0 {
			continue
		}
		if was.holds(at) {
			again.WriteString(line(at))
		} else {
			e.end.WriteString(line(at))
		}
	}
	if was.at >= 0 {
		switch last := mine.to - 1; {
		case mine.at < 0:
			e.end.WriteString(line(was.at) + again.String())
		case last < mine.from:
			e.replace[mine.at] = line(was.at) + again.String()
		default:
			text, edited := e.replace[last]
			if !edited {
				text = doc.statements[last].text
			}
			e.replace[mine.at], e.replace[last] = line(was.at), text+again.String()
		}
	}
	left := e.String()
	// The line end that was added before our block, when nothing else follows.
	if left == before+doc.lineBreak {
		left = before
	}
	if _, err := parse(d, left); err != nil {
		return "", patchbay.Errorf(patchbay.SettingsUnreadable, "our settings can't be taken out of the file without breaking it: %w", err)
	}
	return left, nil
}
