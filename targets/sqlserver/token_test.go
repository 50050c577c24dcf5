package sqlserver

import (
	"encoding/binary"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// looked is what is made of an answer.
func looked(body []byte) error {
	w := &wire{budget: driver.NewBudget("a server", driver.CallBytes)}
	return w.look(body)
}

// answerOf is one column with one value.
func answerOf(column, value string) []byte {
	return []byte("\x81\x01\x00" + "\x00\x00\x00\x00\x00\x00" + column + "\x00" + "\xd1" + value + "\xfd\x10\x00\xc1\x00\x01\x00\x00\x00\x00\x00\x00\x00")
}

const nvarchar = "\xe7\x10\x00\x09\x04\xd0\x00\x34" // of 16 bytes

func TestAnswersAreLookedThrough(t *testing.T) {
	for name, tt := range map[string]struct {
		body []byte
		ok   bool
	}{
		"a text":                        {answerOf(nvarchar, "\x04\x00a\x00b\x00"), true},
		"no text":                       {answerOf(nvarchar, "\xff\xff"), true},
		"a number":                      {answerOf("\x26\x04", "\x04\x01\x00\x00\x00"), true},
		"no number":                     {answerOf("\x26\x04", "\x00"), true},
		"a number that is there":        {answerOf("\x38", "\x01\x00\x00\x00"), true},
		"a text longer than its column": {answerOf(nvarchar, "\x12\x00"+string(make([]byte, 18))), false},
		"half a sign":                   {answerOf(nvarchar, "\x03\x00abc"), false},
		"a number of another length":    {answerOf("\x26\x04", "\x08"+string(make([]byte, 8))), false},
		"a text without a bound":        {answerOf("\xe7\xff\xff\x09\x04\xd0\x00\x34", "\xff\xff"), false},
		"a date":                        {answerOf("\x3d", string(make([]byte, 8))), false},
		"a row without columns":         {[]byte("\xd1\x00"), false},
		"a token of nobody's":           {[]byte("\x42"), false},
		"features beyond the end":       {[]byte("\xae\x01\xff\xff\xff\x7f"), false},
		"a message beyond the end":      {[]byte("\xab\x10\x00a"), false},
		"more columns than are asked":   {[]byte("\x81\x41\x00"), false},
		"nothing":                       {nil, true},
	} {
		if err := looked(tt.body); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		} else if err != nil && patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%s is %v, want TargetMisbehaved", name, err)
		}
	}
}

// Whatever comes, it is judged, and nothing is made room for.
func FuzzAnswers(f *testing.F) {
	f.Add(answerOf(nvarchar, "\x04\x00a\x00b\x00"))
	f.Add([]byte("\xae\x01\xff\xff\xff\x7f"))
	f.Add([]byte("\x81\x02\x00\x00\x00\x00\x00\x00\x00\x26\x04\x00\x00\x00\x00\x00\x00\x00\x38\x00\xd2\x01\x01\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, body []byte) {
		_ = looked(body)
		_ = encryption(body)
	})
}

func TestWhereEncryptionStands(t *testing.T) {
	packet := func(body string) []byte {
		head := []byte{packetPrelogin, 1, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(head[2:], uint16(packetHead+len(body)))
		return append(head, body...)
	}
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"second":           {"\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff123456\x02", packetHead + 17},
		"nowhere":          {"\x00\x00\x06\x00\x06\xff123456", -1},
		"beyond the end":   {"\x01\xff\xff\x00\x01\xff", -1},
		"without a length": {"\x01\x00\x06\x00\x00\xff\x02", -1},
		"without an end":   {"\x00\x00\x06\x00\x06", -1},
	} {
		if got := encryption(packet(tt.body)); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
