package envfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// document is a settings file, read.
type document struct {
	statements []statement
}

func parse(d dialect, text string) (*document, error) {
	if err := checkText([]byte(text)); err != nil {
		return nil, err
	}
	list, err := d.parse(text)
	if err != nil {
		return nil, err
	}
	return &document{statements: list}, nil
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
	at    int          // index of its mark, the first one; -1 for none
	marks []int        // all of them: a copy by hand makes two
	lists []mark       // the same, read
	holds map[int]bool // the statements that are in the block
	last  int          // the last of those behind the first mark, or the mark itself
}

// block finds what a connection added: its mark, and the settings right behind
// that which the mark lists, the change sets, or the change removes. What
// somebody wrote below is not in it.
func (d *document) block(c driver.Change, taken func(name string) bool) block {
	b := block{at: -1, last: -1, holds: map[int]bool{}}
	named := map[string]bool{}
	for _, s := range c.Set {
		named[s.Name] = named[s.Name] || !s.File
	}
	for _, name := range c.Remove {
		named[name] = named[name] || taken(name)
	}
	for i, s := range d.statements {
		m, ok := parseMark(s.text)
		if s.kind != comment || !ok || m.uid != c.Mark.UID {
			continue
		}
		b.marks, b.lists = append(b.marks, i), append(b.lists, m)
		if b.at < 0 {
			b.at, b.last = i, i
		}
	}
	for _, at := range b.marks {
		for i := at + 1; i < len(d.statements); i++ {
			s := d.statements[i]
			if slices.Contains(b.marks, i) {
				continue
			}
			if s.kind != assignment || !named[s.name] && !b.names(s.name) {
				break
			}
			b.holds[i] = true
			if at == b.at {
				b.last = i
			}
		}
	}
	return b
}

// names reports whether a mark of the block lists a setting.
func (b block) names(name string) bool {
	return slices.ContainsFunc(b.lists, func(m mark) bool { return slices.Contains(m.names, name) })
}

// lineBreak is what our lines end in: as those that are there already do, else
// as the file's first line does.
func (d *document) lineBreak(b block) string {
	from := max(b.at, 0)
	for _, s := range slices.Concat(d.statements[from:], d.statements[:from]) {
		switch {
		case strings.HasSuffix(s.text, "\r\n"), strings.HasSuffix(s.text, "\r"):
			return "\r\n"
		case strings.HasSuffix(s.text, "\n"):
			return "\n"
		}
	}
	return "\n"
}

// nobody has a name beside those that marks list.
func nobody(string) bool { return false }

// edits are what becomes of a document's statements: the new text by index,
// and what is added at the end.
type edits struct {
	d         *document
	lineBreak string
	replace   map[int]string
	end       strings.Builder
}

func (d *document) edit(b block) *edits {
	return &edits{d: d, lineBreak: d.lineBreak(b), replace: map[int]string{}}
}

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
	switch {
	case e.end.Len() == 0, text == "", text == byteOrderMark, strings.HasSuffix(text, "\n"):
	case strings.HasSuffix(text, "\r"):
		text += "\n" // half of a line end is there
	default:
		text += e.lineBreak
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
	old := doc.block(c, taken)
	e := doc.edit(old)
	for _, i := range old.marks {
		e.replace[i] = ""
	}
	for i := range old.holds {
		e.replace[i] = ""
	}
	for _, name := range c.Remove {
		if _, set := values[name]; set || !old.names(name) && !taken(name) {
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
		if i := doc.last(s.Name); i >= 0 && !old.holds[i] {
			e.replace[i] = doc.statements[i].assign(written)
		} else {
			added.WriteString(s.Name + "=" + written + e.lineBreak)
		}
	}
	if m := newMark(source, c); len(m.names) > 0 {
		all := m.line() + e.lineBreak + added.String()
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
	mine, was := doc.block(c, nobody), old.block(c, nobody)
	e := doc.edit(mine)
	for _, i := range mine.marks {
		e.replace[i] = ""
	}
	line := func(i int) string { // of before, ended when it was the last one
		text := old.statements[i].text
		switch {
		case strings.HasSuffix(text, "\n"):
			return text
		case strings.HasSuffix(text, "\r"):
			return text + "\n"
		}
		return text + e.lineBreak
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
		if was.holds[at] {
			again.WriteString(line(at))
		} else {
			e.end.WriteString(line(at))
		}
	}
	if was.at >= 0 {
		switch {
		case mine.at < 0:
			e.end.WriteString(line(was.at) + again.String())
		case mine.last == mine.at:
			e.replace[mine.at] = line(was.at) + again.String()
		default:
			text, edited := e.replace[mine.last]
			if !edited {
				text = doc.statements[mine.last].text
			}
			e.replace[mine.at], e.replace[mine.last] = line(was.at), text+again.String()
		}
	}
	left := e.String()
	// The line end that was added before our block, when nothing else follows.
	if left == before+e.lineBreak {
		left = before
	}
	if _, err := parse(d, left); err != nil {
		return "", patchbay.Errorf(patchbay.SettingsUnreadable, "our settings can't be taken out of the file without breaking it: %w", err)
	}
	return left, nil
}
