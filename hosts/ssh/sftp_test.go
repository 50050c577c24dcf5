package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"patchbay.dev/patchbay/hosts"
)

// scripted is a server that says what it was told to say, whatever it is asked.
type scripted struct {
	io.Reader
	closed chan struct{}
}

func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }

func (s *scripted) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// Whatever a file server says, nobody waits for ever, and nothing is read behind its
// end.
func FuzzAnswers(f *testing.F) {
	version := packet(fxVersion, append(uint32Bytes(3), append(text(extRename), text("1")...)...))
	answers := [][]byte{
		packet(fxStatus, append(uint32Bytes(0), uint32Bytes(statusFailure)...)),
		packet(fxHandle, append(uint32Bytes(0), text("h")...)),
		packet(fxName, append(append(uint32Bytes(1), uint32Bytes(1)...), append(text("a"), append(text("a"), uint32Bytes(0)...)...)...)),
		packet(fxAttrs, append(uint32Bytes(0), attributes{}.bytes()...)),
		packet(fxName, append(uint32Bytes(0), uint32Bytes(1<<31)...)),
		packet(fxAttrs, append(uint32Bytes(0), uint32Bytes(0xffffffff)...)),
		{0xff, 0xff, 0xff, 0xff, 0}, {0, 0, 0, 0}, {0, 0, 0, 1, 1},
	}
	for _, a := range answers {
		f.Add(append(append([]byte{}, version...), a...))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		server := &scripted{bytes.NewReader(said), make(chan struct{})}
		c, err := newSFTP(server, nil)
		if err != nil {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for _, ask := range []func() error{
			func() error { _, err := c.list(ctx, "/"); return err },
			func() error { _, err := c.statOf(ctx, fxLstat, "/"); return err },
			func() error { _, err := c.open(ctx, "/f", openRead, attributes{}); return err },
			func() error { _, err := c.read(ctx, "h", 1<<20); return err },
			func() error { return c.write(ctx, "h", make([]byte, 100<<10)) },
			func() error { _, err := c.space(ctx, "/"); return err },
		} {
			if err := ask(); errors.Is(err, context.Canceled) {
				t.Error("somebody waited until he was called off")
			}
		}
		<-c.done
		if err := c.close(ctx, "h"); !errors.Is(err, hosts.ErrCut) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// What the server's words are in the system's.
func TestModesAreThoseOfPOSIX(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100640: "-rw-r-----", 0o040755: "drwxr-xr-x", 0o120777: "Lrwxrwxrwx", 0o010600: "prw-------", 0o140600: "Srw-------", 0o060600: "Drw-------", 0o020600: "Dcrw-------", 0o104755: "urwxr-xr-x", 0o041777: "dtrwxrwxrwx",
	} {
		if got := fileMode(mode).String(); got != want {
			t.Errorf("%o is %s, want %s", mode, got, want)
		}
	}
}
