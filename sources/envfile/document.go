package envfile

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// document is a settings file, read.
type document struct {
	dialect    dialect
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
	return &document{d, list}, nil
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
	marks []int        // all of them: a copy by hand, or a merge, makes two
	lists []mark       // the same, read
	holds map[int]bool // the statements that are in the block
	again map[int]bool // those of them that are there more often than there are marks
	stale map[int]bool // of a delete: those behind a mark of a generation that it is not of
	last  int          // the last of those behind the first mark, or the mark itself
	// others are the names that the marks of other connections list.
	others map[string]bool
}

// conflict matches the lines that a merge leaves around what it could not decide.
var conflict = regexp.MustCompile(`^(?:<{7}|>{7}|\|{7})(?: .*)?$|^={7}$`)

func isConflict(s statement) bool { return conflict.MatchString(strings.TrimRight(s.text, "\r\n")) }

// block finds what a connection added: its marks, and behind each the settings
// that a mark lists or the change sets. Empty lines, comments and what a merge
// leaves may have come between them; behind those a name counts as often as there
// are marks that list it. What somebody wrote below is not in it.
func (d *document) block(c driver.Change) block {
	b := block{at: -1, last: -1, holds: map[int]bool{}, again: map[int]bool{}, stale: map[int]bool{}, others: map[string]bool{}}
	named := map[string]bool{}
	for _, s := range c.Set {
		named[s.Name] = named[s.Name] || !s.File
	}
	for i, s := range d.statements {
		m, ok := parseMark(s.text)
		switch {
		case s.kind == comment && !ok && isTorn(s.text, c.Mark.UID):
			m = newMark("", driver.Change{Name: c.Name, Mark: c.Mark, Set: c.Had})
		case s.kind != comment || !ok:
			continue
		case m.uid != c.Mark.UID:
			for _, name := range m.names {
				b.others[name] = true
			}
			continue
		}
		b.marks, b.lists = append(b.marks, i), append(b.lists, m)
		if b.at < 0 {
			b.at, b.last = i, i
		}
	}
	for n := 0; n < len(b.marks); {
		listed, seen := map[string]int{}, map[string]int{}
		both, apart := 0, false // sides of a conflict; something came between
		for i := b.marks[n]; i < len(d.statements); i++ {
			s := d.statements[i]
			switch {
			case n < len(b.marks) && i == b.marks[n]:
				for _, name := range b.lists[n].names {
					listed[name]++
				}
				n++
				continue
			case isConflict(s):
				if both == 0 {
					both = 1
				}
				continue
			case s.kind != assignment:
				if _, other := parseMark(s.text); !other {
					apart = true
					continue
				}
			case apart && seen[s.name] >= listed[s.name]+both*min(1, listed[s.name]), !named[s.name] && !b.names(s.name):
			default:
				b.holds[i] = true
				seen[s.name]++
				b.stale[i] = len(c.Set) == 0 && b.lists[n-1].generation != c.Mark.Generation
				b.again[i] = seen[s.name] > max(1, listed[s.name])+both
				if n == 1 && !apart {
					b.last = i
				}
				continue
			}
			break
		}
	}
	return b
}

// names reports whether a mark of the block lists a setting.
func (b block) names(name string) bool {
	return slices.ContainsFunc(b.lists, func(m mark) bool { return slices.Contains(m.names, name) })
}

// origin is what the block's marks say of the file.
func (b block) origin() (o origin) {
	for _, m := range b.lists {
		o = origin{o.file || m.file, cmp.Or(o.lineBreak, m.lineBreak)}
	}
	return o
}

// goes are the statements that are the connection's and that c drops or writes
// anew: those in its block, and those elsewhere that hold what it had, were they
// made comments, or that name a login of its. In the block, another value of a
// name that it drops is somebody's edit, or a line that somebody put below; unless
// the name is there as often as there are marks, or the mark is of another
// generation: then it is what a merge, or an old copy of the file, brought back.
func (d *document) goes(b block, c driver.Change) map[int]bool {
	had, set := values(c.Had), values(c.Set)
	// A uid is in the name of each of the connection's logins, and in nothing else.
	names := func(s statement) bool {
		_, known := had[s.name]
		return (known || b.names(s.name)) && !b.others[s.name] && len(c.Mark.UID) >= 8 && strings.Contains(s.value, c.Mark.UID)
	}
	goes, times := map[int]bool{}, map[string]int{}
	other := func(i int) bool { // another value of a name that is dropped
		value, known := had[d.statements[i].name]
		_, again := set[d.statements[i].name]
		return known && !again && value != d.statements[i].value
	}
	for i, s := range d.statements {
		value, known := had[s.name]
		switch {
		case s.kind == comment:
			goes[i] = d.hides(s, func(s statement) bool {
				return !b.others[s.name] && had[s.name] != "" && had[s.name] == s.value || names(s)
			})
		case s.kind != assignment:
		case names(s):
			goes[i] = true
		case b.holds[i] && !(b.again[i] && other(i)), known && value == s.value && !b.others[s.name]:
			goes[i] = true
			if b.holds[i] {
				times[s.name]++
			}
		}
	}
	for i := range goes {
		if !goes[i] || d.statements[i].kind == assignment && other(i) && times[d.statements[i].name] == 1 && !b.stale[i] && !names(d.statements[i]) {
			delete(goes, i)
		}
	}
	return goes
}

// hides reports whether a comment is a setting that somebody made one, and what
// of it is asked for.
func (d *document) hides(comment statement, asked func(statement) bool) bool {
	list, err := d.dialect.parse(strings.TrimLeft(comment.text, "#; \t"))
	return err == nil && len(list) == 1 && list[0].kind == assignment && asked(list[0])
}

// holds reports whether a statement is one of the settings.
func holds(list []patchbay.Setting, s statement) bool {
	value, ok := values(list)[s.name]
	return ok && value == s.value
}

// values are the settings that are not files, by name.
func values(list []patchbay.Setting) map[string]string {
	values := map[string]string{}
	for _, s := range list {
		if !s.File {
			values[s.Name] = s.Value.Reveal()
		}
	}
	return values
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

// String is the new text. When something is added, the last line ends before.
func (e *edits) String() string {
	body := e.body()
	if e.end.Len() == 0 {
		return body
	}
	return body + e.missing(body) + e.end.String()
}

// body is the text without what is added.
func (e *edits) body() string {
	var b strings.Builder
	for i := range e.d.statements {
		b.WriteString(e.text(i))
	}
	return b.String()
}

// text is what becomes of one statement.
func (e *edits) text(i int) string {
	if text, ok := e.replace[i]; ok {
		return text
	}
	return e.d.statements[i].text
}

// missing is what ends the last line of body, "" when it has an end.
func (e *edits) missing(body string) string {
	switch {
	case body == "", body == byteOrderMark, strings.HasSuffix(body, "\n"):
		return ""
	case strings.HasSuffix(body, "\r"):
		return "\n" // half of a line end is there
	}
	return e.lineBreak
}

// remove takes the marks out, and the statements that go.
func (e *edits) remove(b block, goes map[int]bool) {
	for _, i := range b.marks {
		e.replace[i] = ""
	}
	for i := range goes {
		e.replace[i] = ""
	}
	e.settle()
}

// settle takes out what a merge left around nothing but what was taken out.
func (e *edits) settle() {
	for begin, s := range e.d.statements {
		if !isConflict(s) || !strings.HasPrefix(s.text, "<") {
			continue
		}
		ours := false
		for i := begin + 1; i < len(e.d.statements); i++ {
			text, gone := e.replace[i]
			switch s := e.d.statements[i]; {
			case isConflict(s) && strings.HasPrefix(s.text, ">") && ours:
				for ; i >= begin; i-- {
					e.replace[i] = ""
				}
			case isConflict(s) && !strings.HasPrefix(s.text, ">"):
				continue
			case gone && text == "":
				ours = true
				continue
			}
			break
		}
	}
}

// leave is the file when no block takes b's place: what b's first mark had
// added goes too, or is from now on what the next connection's mark says. A
// line break can't go while there is a line of somebody else's behind it.
func (e *edits) leave(b block) (exists bool, text string) {
	left, all := b.origin(), e.d.statements
	hand := func(i int, on func(*origin)) bool { // to the mark that stays there
		m, ok := parseMark(e.text(i))
		if !ok || all[i].kind != comment {
			return false
		}
		on(&m.origin)
		e.replace[i] = m.line() + all[i].text[len(strings.TrimRight(all[i].text, "\r\n")):]
		return true
	}
	behind := max(b.at, 0)
	for behind < len(all) && e.text(behind) == "" {
		behind++
	}
	if behind < len(all) && left.lineBreak != "" {
		hand(behind, func(o *origin) { o.lineBreak = left.lineBreak })
		left.lineBreak = ""
	}
	for i := 0; i < len(all) && left.file; i++ {
		left.file = !hand(i, func(o *origin) { o.file = true })
	}
	text = e.String()
	if e.end.Len() == 0 {
		text = strings.TrimSuffix(text, left.lineBreak)
	}
	return text != "" || !left.file, text
}

// applyChange makes the text that a change leaves. It depends on nothing but
// the text and the change, and applied again it changes nothing.
func applyChange(d dialect, source string, exists bool, text string, c driver.Change) (bool, string, error) {
	doc, err := parse(d, text)
	if err != nil {
		return false, "", err
	}
	for _, s := range c.Set {
		if !s.File {
			if err := checkSetting(d, s, c.Client); err != nil {
				return false, "", err
			}
		}
	}
	set := values(c.Set)
	old := doc.block(c)
	e := doc.edit(old)
	goes := doc.goes(old, c)
	e.remove(old, goes)
	back := map[string]string{}
	for _, s := range c.Back {
		// In the line that the connection took, and only in that one.
		if _, again := set[s.Name]; again || doc.last(s.Name) < 0 || !goes[doc.last(s.Name)] {
			continue
		}
		written, why := d.encode(s.Value.Reveal(), c.Client)
		if why != "" {
			return false, "", invalid(s.Name, "what %s had before the connection took it over %s, and could not come back", s.Name, why)
		}
		i := doc.last(s.Name)
		e.replace[i] = doc.statements[i].assign(written)
		back[s.Name] = s.Value.Reveal()
	}
	var added strings.Builder
	for _, s := range c.Set {
		if s.File {
			continue
		}
		written, _ := d.encode(set[s.Name], c.Client)
		if i := doc.last(s.Name); i >= 0 && !old.holds[i] {
			e.replace[i] = doc.statements[i].assign(written)
		} else {
			added.WriteString(s.Name + "=" + written + e.lineBreak)
		}
	}
	m := newMark(source, c)
	var changed string
	switch {
	case len(m.names) == 0 && old.at >= 0:
		exists, changed = e.leave(old)
	case len(m.names) == 0:
		changed = e.String()
	case old.at >= 0:
		m.origin = old.origin()
		e.replace[old.at] = m.line() + e.lineBreak + added.String()
		exists, changed = true, e.String()
	default:
		m.origin = origin{file: !exists, lineBreak: e.missing(e.body())}
		e.end.WriteString(m.line() + e.lineBreak + added.String())
		exists, changed = true, e.String()
	}
	expect := map[string]string{}
	for i, s := range doc.statements {
		if text, edited := e.replace[i]; s.kind == assignment && (!edited || text != "") {
			expect[s.name] = s.value
		}
	}
	maps.Copy(expect, set)
	maps.Copy(expect, back)
	return exists, changed, checkEdit(d, changed, expect)
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

// takeBack makes what is left of now when a change to before is taken out of
// it, name by name: somebody else wrote meanwhile. A name that holds the
// change's value gets back the line that before had, or goes; one that the
// change dropped and nobody set again comes back.
func takeBack(d dialect, now, before state, c driver.Change) (exists bool, text string, err error) {
	doc, err := parse(d, now.text)
	if err != nil {
		return false, "", err
	}
	old, err := parse(d, before.text)
	if err != nil {
		return false, "", fmt.Errorf("the settings as they were before: %w", err)
	}
	mine, was := doc.block(c), old.block(c)
	goes := doc.goes(mine, driver.Change{Had: c.Set})
	if was.at >= 0 {
		// What the block holds besides is the connection's from before, when this
		// has been taken back already.
		maps.DeleteFunc(goes, func(i int, _ bool) bool { return !holds(c.Set, doc.statements[i]) })
	}
	e := doc.edit(mine)
	e.remove(mine, goes)
	line := func(i int) string { // of before, ended when it was the last one
		text := old.statements[i].text
		return text + e.missing(text)
	}
	var again strings.Builder // comes back into the block
	for _, s := range c.Set {
		i, at := doc.last(s.Name), old.last(s.Name)
		if !s.File && i >= 0 && at >= 0 && goes[i] {
			e.replace[i] = line(at)
		}
	}
	for _, s := range c.Dropped() {
		at := old.last(s.Name)
		if s.File || at < 0 || doc.last(s.Name) >= 0 {
			continue
		}
		if was.holds[at] {
			again.WriteString(line(at))
		} else {
			e.end.WriteString(line(at))
		}
	}
	if was.at >= 0 {
		m := was.lists[0]
		if mine.at >= 0 {
			m.origin = mine.origin()
		}
		mark := m.line() + e.lineBreak
		switch {
		case mine.at < 0:
			e.end.WriteString(mark + again.String())
		case mine.last == mine.at:
			e.replace[mine.at] = mark + again.String()
		default:
			e.replace[mine.at], e.replace[mine.last] = mark, e.text(mine.last)+again.String()
		}
		exists, text = true, e.String()
	} else {
		exists, text = e.leave(mine)
	}
	if _, err := parse(d, text); err != nil {
		return false, "", patchbay.Errorf(patchbay.SettingsUnreadable, "our settings can't be taken out of the file without breaking it: %w", err)
	}
	return exists, text, nil
}
