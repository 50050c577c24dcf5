package sqlserver

import "encoding/binary"

// Tokens of an answer.
const (
	tokenReturnStatus = 0x79
	tokenColumns      = 0x81
	tokenOrder        = 0xa9
	tokenError        = 0xaa
	tokenInfo         = 0xab
	tokenSignedIn     = 0xad
	tokenFeatures     = 0xae
	tokenRow          = 0xd1
	tokenRowWithNulls = 0xd2
	tokenChange       = 0xe3
	tokenDone         = 0xfd
	tokenDoneProc     = 0xfe
	tokenDoneInProc   = 0xff
)

// Types of columns. All that we ask is cast to one of these.
const (
	typeInt       = 0x26 // of 1, 2, 4 or 8 bytes, or NULL
	typeNVarChar  = 0xe7
	typeInt4      = 0x38
	maxColumns    = 64
	maxColumnSize = 8000 // bytes; what is longer is announced as without a bound
)

// scanner reads an answer from its beginning. What is not there is read as zero, and
// fails it.
type scanner struct {
	rest   []byte
	failed bool
}

func (s *scanner) take(n int) []byte {
	if s.failed || n < 0 || n > len(s.rest) {
		s.failed = true
		return make([]byte, max(0, min(n, 16)))
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) byte() int   { return int(s.take(1)[0]) }
func (s *scanner) uint16() int { return int(binary.LittleEndian.Uint16(s.take(2))) }
func (s *scanner) uint32() int { return int(binary.LittleEndian.Uint32(s.take(4))) }

// column is the type of one, and how long it may be.
type column struct{ kind, size int }

// look judges a whole answer: nothing in it may be longer than the answer is, and of
// another kind than what was asked for.
func (w *wire) look(body []byte) error {
	s := &scanner{rest: body}
	var columns []column
	for len(s.rest) > 0 && !s.failed {
		token := s.byte()
		switch token {
		case tokenChange, tokenInfo, tokenError, tokenSignedIn, tokenOrder:
			s.take(s.uint16())
			w.in = w.in || token == tokenSignedIn
		case tokenReturnStatus:
			s.take(4)
		case tokenDone, tokenDoneProc, tokenDoneInProc:
			s.take(12)
		case tokenFeatures:
			for s.byte() != 0xff && !s.failed {
				s.take(s.uint32())
			}
		case tokenColumns:
			columns = s.columns()
			if columns == nil && !s.failed {
				return w.budget.Refuse("announces columns that nobody asked for")
			}
		case tokenRow, tokenRowWithNulls:
			if len(columns) == 0 {
				return w.budget.Refuse("sends a row without columns")
			}
			s.row(columns, token == tokenRowWithNulls)
		default:
			return w.budget.Refuse("sends what is no answer to what it was asked (%#x)", token)
		}
	}
	if s.failed {
		return w.budget.Refuse("announces more than it sends")
	}
	return nil
}

// columns are those that are announced; nil where they are not such as we ask for.
func (s *scanner) columns() []column {
	n := s.uint16()
	if n == 0xffff { // none
		return []column{}
	}
	if n == 0 || n > maxColumns {
		return nil
	}
	all := make([]column, 0, n)
	for range n {
		s.take(6) // a type that is nobody's, and flags
		c := column{kind: s.byte()}
		switch c.kind {
		case typeInt4:
			c.size = 4
		case typeInt:
			if c.size = s.byte(); c.size != 1 && c.size != 2 && c.size != 4 && c.size != 8 {
				return nil
			}
		case typeNVarChar:
			if c.size = s.uint16(); c.size > maxColumnSize {
				return nil
			}
			s.take(5) // a collation
		default:
			return nil
		}
		s.take(2 * s.byte()) // its name
		all = append(all, c)
	}
	return all
}

func (s *scanner) row(columns []column, nulls bool) {
	var bits []byte
	if nulls {
		bits = s.take((len(columns) + 7) / 8)
	}
	for i, c := range columns {
		if nulls && bits[i/8]&(1<<(i%8)) != 0 {
			continue
		}
		switch c.kind {
		case typeInt4:
			s.take(4)
		case typeInt:
			if n := s.byte(); n != 0 && n != c.size {
				s.failed = true
			} else {
				s.take(n)
			}
		case typeNVarChar:
			if n := s.uint16(); n == 0xffff { // NULL
				continue
			} else if n > c.size || n%2 != 0 {
				s.failed = true
			} else {
				s.take(n)
			}
		}
	}
}
