package nats

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// heard is what is handed on of what a server says, in pieces of so many bytes.
func heard(said string, piece int) ([]byte, error) {
	budget := driver.NewBudget("nats.test:4222", driver.CallBytes)
	w := &wire{Conn: connOf(said, piece), budget: budget}
	return io.ReadAll(w)
}

type saidConn struct {
	net.Conn
	r io.Reader
}

func (c saidConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func connOf(said string, piece int) net.Conn {
	r := io.Reader(strings.NewReader(said))
	if piece == 1 {
		return saidConn{r: iotest.OneByteReader(r)}
	}
	return saidConn{r: pieces{r, piece}}
}

type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func TestWhatIsWithinTheBoundsIsHandedOnAsItIs(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	for _, said := range []string{
		"PING\r\n", "PONG\r\n+OK\r\n", "INFO {}\r\n", "-ERR 'no'\r\n",
		"MSG a 1 0\r\n\r\nPING\r\n", "MSG a 1 5\r\nPING\n\r\n", "MSG a 1 b 2\r\n\r\n\r\nMSG a 2 1\r\nx\r\n", "msg\ta  1\t2\r\nab\r\n",
		"HMSG a 1 b 12 14\r\nNATS/1.0\r\n\r\nab\r\n", "INFO {\"a\":\"" + large[:1<<19] + "\"}\r\n", fmt.Sprintf("MSG a 1 %d\r\n%s\r\n", len(large), large),
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 15} {
			if got, err := heard(said, piece); err != nil || string(got) != said {
				t.Errorf("%.40q in pieces of %d: %.40q, %v", said, piece, got, err)
			}
		}
	}
}

func TestWhatIsBeyondTheBoundsIsRefused(t *testing.T) {
	for _, said := range []string{
		"MSG a 1 16777217\r\n", "MSG a 1 70368744177664\r\n", "MSG a 1 18446744073709551617\r\n", "MSG a 1 -1\r\n", "MSG a 1 x\r\n", "MSG a\r\n",
		"msg a 1 70368744177664\r\n", "HMSG a 1 9999999 9999999\r\n", "HMSG a 1 -1 10\r\n", "HMSG a 1 12 70368744177664\r\n",
		"MSG a 1 5\r0\r\n", "MSG a 1 2\r\nabc\r\n", "MSG a 1 2\r\nab\nP", "MSG a 1 0\r\nMSG a 1 70368744177664\r\n",
		"MSG " + strings.Repeat("a", maxLine) + " 1 1\r\n", "-ERR '" + strings.Repeat("a", maxLine), "INFO {\"" + strings.Repeat("a", maxInfo), strings.Repeat("\x00", maxInfo),
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 15} {
			_, err := heard(said, piece)
			if patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
				t.Errorf("%.40q in pieces of %d: %v", said, piece, err)
			}
		}
	}
}

func FuzzTheBoundsDoNotDependOnThePieces(f *testing.F) {
	f.Add([]byte("MSG a 1 5\r\nhello\r\nPING\r\n"), uint8(3))
	f.Add([]byte("HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nab\r\nMSG a 1 99999999\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, said []byte, piece uint8) {
		whole, err1 := heard(string(said), max(1, len(said)))
		cut, err2 := heard(string(said), int(piece)+1)
		if patchbay.CodeOf(err1) != patchbay.CodeOf(err2) {
			t.Fatalf("%v, and %v", err1, err2)
		}
		if err1 == nil && (!bytes.Equal(whole, said) || !bytes.Equal(cut, said)) {
			t.Fatal("something else was handed on")
		}
	})
}
