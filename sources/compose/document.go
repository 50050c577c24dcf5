package compose

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay/driver"
)

// header is the first line of every file of ours.
const header = "# patchbay.dev: settings of connections, for Compose; what is added here by hand stays\n"

// markPrefix begins the comment that says whose the settings behind it are, and
// names them. What stands behind it and is not named is somebody's.
const markPrefix = "# patchbay: "

type mark struct {
	Connection string   `json:"connection"` // its name
	Service    string   `json:"service"`
	UID        string   `json:"uid"`
	Generation int64    `json:"generation"`
	Names      []string `json:"names"`
}

func (m mark) line() string {
	b, _ := json.Marshal(m) // strings and a number
	return markPrefix + string(b)
}

var uidForm = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,63}$`)

func parseMark(line string) (m mark, ok bool) {
	text, ok := strings.CutPrefix(strings.TrimSpace(line), markPrefix)
	ok = ok && json.Unmarshal([]byte(text), &m) == nil && m.Connection != "" && uidForm.MatchString(m.UID)
	return m, ok
}

// marksIn are all marks of a file.
func marksIn(text string) []mark {
	var list []mark
	for line := range strings.Lines(text) {
		if m, ok := parseMark(line); ok {
			list = append(list, m)
		}
	}
	return list
}

// codec is how one setting is written in a line of a file.
type codec interface {
	line(name, value string) string
	// parse reads a line; ok is false for what sets nothing.
	parse(line string) (name, value string, ok bool)
}

// region are the lines of a file in which settings of one service stand.
type region struct {
	codec codec
	lines []string // without their line breaks and indents
}

// item is a line, read.
type item struct {
	text        string
	mark        *mark  // it is one
	name, value string // of a setting
	owner       string // uid of the connection whose mark is before it and names it
}

func (r region) items() []item {
	var list []item
	var current *mark
	for _, line := range r.lines {
		i := item{text: line}
		if m, ok := parseMark(line); ok {
			i.mark, current = &m, &m
		} else if name, value, ok := r.codec.parse(line); ok {
			i.name, i.value = name, value
			if current != nil && slices.Contains(current.Names, name) {
				i.owner = current.UID
			}
		} else {
			current = nil
		}
		list = append(list, i)
	}
	return list
}

func valuesOf(list []item) map[string]string {
	all := map[string]string{}
	for _, i := range list {
		if i.name != "" {
			all[i.name] = i.value
		}
	}
	return all
}

func lines(list []item) []string {
	var all []string
	for _, i := range list {
		all = append(all, i.text)
	}
	return all
}

// apply is r with the change made for that service. All else stays as it is.
func (r region) apply(c driver.Change, service string) region {
	had, set := map[string]string{}, map[string]bool{}
	for _, s := range c.Had {
		had[s.Name] = s.Value.Reveal()
	}
	for _, s := range c.Set {
		set[s.Name] = true
	}
	at := -1
	var left []item
	for _, i := range r.items() {
		value, known := had[i.name]
		goes := false
		switch {
		case i.mark != nil:
			if goes = i.mark.UID == c.Mark.UID; goes && at < 0 {
				at = len(left)
			}
		case i.name == "":
		case set[i.name]:
			goes = true
		case i.owner == c.Mark.UID:
			goes = !known || value == i.value // another value is somebody's edit
		case i.owner == "":
			goes = known && value == i.value
		}
		if !goes {
			left = append(left, i)
		}
	}
	if at < 0 {
		at = len(left)
	}
	return region{r.codec, slices.Insert(lines(left), at, r.block(c, service)...)}
}

// block is what a connection adds.
func (r region) block(c driver.Change, service string) []string {
	if len(c.Set) == 0 {
		return nil
	}
	m := mark{Connection: c.Name, Service: service, UID: c.Mark.UID, Generation: c.Mark.Generation, Names: []string{}}
	var all []string
	for _, s := range c.Set {
		m.Names = append(m.Names, s.Name)
		all = append(all, r.codec.line(s.Name, s.Value.Reveal()))
	}
	return slices.Insert(all, 0, m.line())
}

// takeBack is r with what still is the change's as it was in old; others' edits stay.
func (r region) takeBack(old region, c driver.Change) region {
	wrote := map[string]string{}
	for _, s := range c.Set {
		wrote[s.Name] = s.Value.Reveal()
	}
	at := -1
	var left []item
	for _, i := range r.items() {
		value, ours := wrote[i.name]
		switch {
		case i.mark != nil && i.mark.UID == c.Mark.UID:
			if at < 0 {
				at = len(left)
			}
			continue
		case i.name != "" && ours && value == i.value, i.owner == c.Mark.UID && !ours:
			continue
		}
		left = append(left, i)
	}
	if at < 0 {
		at = len(left)
	}
	there := valuesOf(left)
	var block, end []string
	for _, i := range old.items() {
		_, has := there[i.name]
		_, taken := wrote[i.name]
		switch {
		case i.mark != nil && i.mark.UID == c.Mark.UID, i.name != "" && i.owner == c.Mark.UID && !has:
			block = append(block, i.text)
		case i.name != "" && taken && !has && i.owner != c.Mark.UID:
			end = append(end, i.text) // somebody else's, which the change had taken
		}
	}
	return region{r.codec, append(slices.Insert(lines(left), at, block...), end...)}
}
