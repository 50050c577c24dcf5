package driver

import (
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
)

// SegmentOf is a name as a segment of an id holds it: a character that none may hold
// stands there as ~ and its two hexadecimal digits, as after the % of a URL. / is ~2F,
// and ~ itself ~7E.
func SegmentOf(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c < ' ' || c == 0x7f || strings.IndexByte(`<>%&\?#/~`, c) >= 0 {
			b.WriteString("~" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// NameIn is the name that [SegmentOf] makes a segment of. A ~ that stands for nothing
// is InvalidArgument.
func NameIn(segment string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		if segment[i] != '~' {
			b.WriteByte(segment[i])
			continue
		}
		n, err := strconv.ParseUint(segment[i+1:min(i+3, len(segment))], 16, 8)
		if err != nil || i+2 >= len(segment) {
			return "", patchbay.Errorf(patchbay.InvalidArgument, "the name %s has a ~ that stands for nothing: ~2F is /, ~7E is ~", Quoted(strconv.Quote(segment)))
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}
