package pgconnect

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func message(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
}

// heard is what is handed on of what a server says, in pieces of so many bytes.
func heard(said string, piece int) ([]byte, error) {
	w := &wire{budget: driver.NewBudget("db.test:5432", driver.CallBytes), gate: gate{weakest: AuthClear}, parameters: map[string]bool{}}
	if w.from = io.Reader(strings.NewReader(said)); piece == 1 {
		w.from = iotest.OneByteReader(w.from)
	} else {
		w.from = pieces{w.from, piece}
	}
	return io.ReadAll(w)
}

type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func scram(rounds string) string { return message('R', "\x00\x00\x00\x0br=abc,s=c2FsdA==,i="+rounds) }

func TestWhatIsWithinTheBoundsIsHandedOnAsItIs(t *testing.T) {
	for _, said := range []string{
		message('Z', "I"), message('1', "") + message('2', ""), message('R', "\x00\x00\x00\x00") + message('S', "server_version\x0016.4\x00") + message('Z', "I"),
		scram("4096"), scram("1000000"), message('D', strings.Repeat("x", 1<<20)), message('E', strings.Repeat("x", 1<<18)),
		strings.Repeat(message('D', "\x00\x00"), 1000), strings.Repeat(message('S', "a\x00b\x00"), 1000),
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 13} {
			if got, err := heard(said, piece); err != nil || string(got) != said {
				t.Errorf("%.40q in pieces of %d: %.40q, %v", said, piece, got, err)
			}
		}
	}
}

func TestWhatIsBeyondTheBoundsIsRefused(t *testing.T) {
	var parameters strings.Builder
	for i := range maxParameters + 1 {
		parameters.WriteString(message('S', fmt.Sprintf("p%d\x00v\x00", i)))
	}
	for _, said := range []string{
		"Z\x00\x00\x00\x03", "Z\xff\xff\xff\xff", "Z\x80\x00\x00\x00", "D\x40\x00\x00\x00", "T\x00\x10\x00\x00", "E\x01\x00\x00\x00", "S\x00\x00\x30\x00",
		scram("1000001"), scram("2147483647"), message('Z', "I") + scram("2147483647"), strings.Repeat(message('R', "\x00\x00\x00\x03"), maxSignIn+1),
		parameters.String(),
	} {
		for _, piece := range []int{1, 2, 3, 7, 1 << 13} {
			if _, err := heard(said, piece); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
				t.Errorf("%.40q in pieces of %d: %v", said, piece, err)
			}
		}
	}
	if _, err := heard(strings.Repeat(message('D', "\x00\x00"), maxMessages+1), 1<<13); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Errorf("too many rows: %v", err)
	}
}

// A server decides how much there is to compute, and whoever registers one how
// many sign in.
func TestFewSignInsThatTakeLongAreMadeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rounds, most := range map[string]int64{"4096": 20, "1000000": 4} {
			ctx, cancel := context.WithCancel(t.Context())
			var computed atomic.Int64
			for range 20 {
				go func() {
					w := &wire{budget: driver.NewBudget("db.test:5432", driver.CallBytes), from: strings.NewReader(scram(rounds))}
					w.budget.Renew(ctx)
					if _, err := io.ReadAll(w); err == nil {
						computed.Add(1)
					}
				}()
			}
			synctest.Wait()
			if n := computed.Load(); n != most {
				t.Errorf("%d sign-ins with %s rounds at once, want %d", n, rounds, most)
			}
			cancel()
			synctest.Wait()
			if n := computed.Load(); n != most {
				t.Errorf("%d sign-ins with %s rounds, some after they had ended", n, rounds)
			}
		}
	})
}

func FuzzTheBoundsDoNotDependOnThePieces(f *testing.F) {
	f.Add([]byte(scram("4096")+message('Z', "I")), uint8(3))
	f.Add([]byte(message('S', "a\x00b\x00")+"D\x40\x00\x00\x00"), uint8(0))
	f.Fuzz(func(t *testing.T, said []byte, piece uint8) {
		_, err1 := heard(string(said), max(1, len(said)))
		got, err2 := heard(string(said), int(piece)+1)
		if patchbay.CodeOf(err1) != patchbay.CodeOf(err2) {
			t.Fatalf("%v, and %v", err1, err2)
		}
		if err2 == nil && string(got) != string(said) {
			t.Fatal("something else was handed on")
		}
	})
}
