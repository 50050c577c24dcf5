package pghba

import (
	"net/netip"
	"strings"

	"patchbay.dev/patchbay"
)

// What stands between these two lines of pg_hba.conf is ours. Since version 16 it is
// the inclusion of a file of our own, before that the rules themselves.
const (
	blockBegin = "# patchbay: begin\n"
	blockEnd   = "# patchbay: end\n"
)

// conf is a pg_hba.conf.
type conf struct {
	rest  string // without what is ours
	at    int    // where in rest our block is, -1 when there is none
	block string // what is in it
	// first and last are the block's lines in the file, from 1; 0 when there is none.
	first, last int
}

// parseConf finds our block.
func parseConf(text string) (conf, error) {
	c := conf{at: -1}
	var rest, block strings.Builder
	inside, n := false, 0
	for l := range strings.Lines(text) {
		n++
		is := func(sign string) bool { return strings.TrimRight(l, "\r\n") == strings.TrimSuffix(sign, "\n") }
		switch {
		case is(blockBegin) && !inside:
			if inside = true; c.at < 0 { // else somebody has copied it
				c.at, c.first = rest.Len(), n
			}
		case is(blockEnd) && inside:
			inside = false
			if c.last == 0 {
				c.last = n
			}
		case inside:
			block.WriteString(l)
		default:
			rest.WriteString(l)
		}
	}
	if inside {
		return conf{}, patchbay.Errorf(patchbay.NotOurs, "Patchbay's block in pg_hba.conf begins in line %d and has no end: whose the lines behind it are can't be known", max(c.first, 1)).
			WithFix("put the line %q where the block ended, or take the line %q away", strings.TrimSpace(blockEnd), strings.TrimSpace(blockBegin))
	}
	c.rest, c.block = rest.String(), block.String()
	return c, nil
}

// with is the file with that block at that place of rest; without one when it is "".
func (c conf) with(block string, at int) string {
	if block == "" {
		return c.rest
	}
	return c.rest[:at] + blockBegin + block + blockEnd + c.rest[at:]
}

// place is where in rest a new block goes: before the first line that may let
// anybody in, and the comments above that. rejects says of which lines the server says
// that they refuse; what stands at the top to keep somebody out stays there. An
// included file may hold anything.
func (c conf) place(rejects map[int]bool) int {
	type physical struct {
		at   int
		text string
	}
	var lines []physical
	offset := 0
	for l := range strings.Lines(c.rest) {
		lines = append(lines, physical{offset, strings.TrimRight(l, "\r\n")})
		offset += len(l)
	}
	// One that ends with a backslash goes on in the next, whatever that is.
	continues := func(i int) bool { return i >= 0 && strings.HasSuffix(lines[i].text, `\`) }
	idle := func(i int) bool {
		text := strings.TrimSpace(lines[i].text)
		return text == "" || strings.HasPrefix(text, "#")
	}
	i := 0
	for i < len(lines) {
		if !idle(i) && !rejects[i+1] {
			break
		}
		for continues(i) {
			i++
		}
		i++
	}
	if i >= len(lines) {
		// Nobody is let in: behind the last line, unless that has no end.
		if c.rest == "" || strings.HasSuffix(c.rest, "\n") && !continues(len(lines)-1) {
			return len(c.rest)
		}
		i = len(lines) - 1
	}
	for i > 0 && (continues(i-1) || idle(i-1)) {
		i--
	}
	return lines[i].at
}

// entry is a line of the rules as the server reads them (pg_hba_file_rules).
type entry struct {
	file      string
	number    int
	kind      string // local, host, hostssl…; "" when it can't be read
	databases []string
	users     []string
	from      netip.Prefix // invalid where address says it otherwise
	address   string       // all, samehost, samenet, a name; "" of local, and where from does
	method    string
	broken    string // what the server says of it
}
