package driver_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

type saying struct {
	net.Conn
	io.Reader
}

func (s saying) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func TestABudgetIsForACallAndForAllConnections(t *testing.T) {
	b := driver.NewBudget("db.test:5432", 10)
	one, other := b.Conn(saying{Reader: strings.NewReader(strings.Repeat("x", 8))}), b.Conn(saying{Reader: strings.NewReader(strings.Repeat("x", 20))})
	if _, err := io.ReadAll(one); err != nil {
		t.Fatal(err)
	}
	if left := b.Left(); left != 2 {
		t.Errorf("%d bytes are left", left)
	}
	b.Renew()
	buffer := make([]byte, 8)
	if n, err := other.Read(buffer); n != 8 || err != nil {
		t.Fatalf("%d bytes of the next call: %v", n, err)
	}
	n, err := other.Read(buffer)
	if n != 0 || patchbay.CodeOf(err) != patchbay.TargetMisbehaved || patchbay.IsTransient(err) {
		t.Errorf("%d bytes beyond it: %v", n, err)
	}
	b.Renew()
	if _, err := one.Read(buffer); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Errorf("who misbehaved is listened to again: %v", err)
	}
	if patchbay.CodeOf(b.Fault()) != patchbay.TargetMisbehaved {
		t.Error("it is forgotten")
	}
}
