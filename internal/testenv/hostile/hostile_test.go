package hostile_test

import (
	"bytes"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv/hostile"
)

func TestEveryAttackHasANameOfItsOwnAndAKind(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range hostile.Attacks() {
		if seen[a.Name] {
			t.Errorf("there are two of %s", a.Name)
		}
		seen[a.Name] = true
		if len(a.Kinds) == 0 {
			t.Errorf("%s is on nobody", a.Name)
		}
	}
	for _, kind := range hostile.Kinds() {
		if len(hostile.Against(kind)) < 20 {
			t.Errorf("there are only %d attacks on %s", len(hostile.Against(kind)), kind)
		}
		if hostile.Fuzz(kind, nil) == nil {
			t.Errorf("%s can't be fuzzed", kind)
		}
	}
}

func TestTheOrderOfAttacksStays(t *testing.T) {
	names := func() (all []string) {
		for _, a := range hostile.Attacks() {
			all = append(all, a.Name)
		}
		return all
	}
	if !slices.Equal(names(), names()) {
		t.Error("it does not")
	}
}

// What a client that greets and then listens is told.
func told(t *testing.T, serve func(net.Conn), says string) []byte {
	t.Helper()
	conn, err := net.DialTimeout("tcp", hostile.Listen(t, serve), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, says); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(io.LimitReader(conn, 1<<20)) // it may hang up in any way
	return answer
}

func TestTheSameSeedIsTheSameConversation(t *testing.T) {
	const says = "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"
	if got := told(t, hostile.Fuzz("redis", nil), says); string(got) != "+PONG\r\n+PONG\r\n" {
		t.Errorf("without a seed it is not honest: %q", got)
	}
	seed := []byte{9, 0, 1, 3, 8, 0, 2, 5, 0x80, 0, 0, 0}
	once, twice := told(t, hostile.Fuzz("redis", seed), says), told(t, hostile.Fuzz("redis", seed), says)
	if !bytes.Equal(once, twice) {
		t.Errorf("%q is not %q", once, twice)
	}
	if string(once) == "+PONG\r\n+PONG\r\n" {
		t.Error("the seed changed nothing")
	}
}

func FuzzEveryProtocolCanBeChangedInEveryWay(f *testing.F) {
	f.Add(uint8(0), []byte{6, 0, 0, 1, 9, 0, 0, 255})
	f.Fuzz(func(t *testing.T, kind uint8, seed []byte) {
		kinds := hostile.Kinds()
		server, client := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			hostile.Fuzz(kinds[int(kind)%len(kinds)], seed)(server)
			_ = server.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		_, _ = client.Write([]byte("*1\r\n$4\r\nPING\r\n"))
		_ = client.Close()
		<-done
	})
}

func TestMemoryIsBoundedInAConfinedTest(t *testing.T) {
	if !hostile.Confined(t, 256<<20) {
		return
	}
	if len(make([]byte, 16<<20)) == 0 {
		t.Error("not even a little")
	}
	if _, err := syscall.Mmap(-1, 0, 1<<30, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE); err == nil {
		t.Error("more is reserved than may be used")
	}
}
