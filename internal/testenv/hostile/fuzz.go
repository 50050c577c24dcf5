package hostile

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strconv"
)

// Fuzz is a server that speaks the protocol of that kind and changes its
// answers as the seed says: the same seed is the same conversation. Every four
// bytes of it are one change: what, where (two bytes), and how. After the last
// one it is honest. For a kind that no client here speaks it is nil.
func Fuzz(kind string, seed []byte) func(net.Conn) {
	i := slices.IndexFunc(protocols(), func(p protocol) bool { return slices.Contains(p.kinds, kind) })
	if i < 0 {
		return nil
	}
	return func(c net.Conn) {
		rest := seed
		protocols()[i].converse(c, func(_ string, answer []byte, l *line) (bool, error) {
			answer = bytes.Clone(answer)
			for len(rest) >= 4 && answer != nil {
				op, at, value := rest[0], int(binary.BigEndian.Uint16(rest[1:])), rest[3]
				rest = rest[4:]
				if op&0x80 != 0 { // the next answer
					break
				}
				answer = change(answer, op, at, value)
			}
			if answer == nil {
				return false, io.EOF
			}
			_, err := l.Write(answer)
			return false, err
		})
	}
}

// Kinds are those that Fuzz can play, one of each protocol.
func Kinds() []string {
	var kinds []string
	for _, p := range protocols() {
		kinds = append(kinds, p.kinds[0])
	}
	return kinds
}

// limits are where numbers overflow something.
var limits = []uint64{
	0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0xffffff, 0x7fffffff, 0x80000000, 0xffffffff,
	1 << 46, 1<<63 - 1, 1 << 63, 1<<64 - 1,
}

// largest bounds an answer that was made longer.
const largest = 4 << 20

// change makes one change; nil hangs up.
func change(b []byte, op byte, at int, value byte) []byte {
	if len(b) == 0 {
		return b
	}
	at %= len(b)
	limit := limits[int(value)%len(limits)]
	overwrite := func(n []byte) []byte {
		copy(b[at:], n)
		return b
	}
	switch op % 12 {
	case 0:
		b[at] ^= 1 << (value % 8)
	case 1:
		b[at] = value
	case 2:
		return overwrite(binary.BigEndian.AppendUint16(nil, uint16(limit)))
	case 3:
		return overwrite(binary.BigEndian.AppendUint32(nil, uint32(limit)))
	case 4:
		return overwrite(binary.LittleEndian.AppendUint32(nil, uint32(limit)))
	case 5:
		return overwrite(binary.BigEndian.AppendUint64(nil, limit))
	case 6:
		return number(b, at, limit)
	case 7:
		return b[:at]
	case 8:
		return slices.Insert(b, at, noise(uint64(value), int(value))...)
	case 9: // a part of it again and again
		part := b[at:min(len(b), at+int(value)+1)]
		return slices.Insert(b, at, bytes.Repeat(part, min(256, largest/len(b)))...)
	case 10:
		return slices.Delete(b, at, min(len(b), at+int(value)))
	case 11:
		return nil
	}
	return b
}

// number replaces the next decimal number at a place.
func number(b []byte, at int, limit uint64) []byte {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	for at < len(b) && !digit(b[at]) {
		at++
	}
	end := at
	for end < len(b) && digit(b[end]) {
		end++
	}
	return slices.Replace(b, at, end, strconv.AppendUint(nil, limit, 10)...)
}
