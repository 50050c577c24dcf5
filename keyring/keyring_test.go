package keyring

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func load(t *testing.T, path string) *Keyring {
	t.Helper()
	k, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestASealedValueOpensOnlyForItsOwnRecord(t *testing.T) {
	k := load(t, filepath.Join(t.TempDir(), "key"))
	sealed := k.Seal([]byte("hunter2"), "connection a")
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal("the ciphertext holds the secret")
	}
	got, err := k.Open(sealed, "connection a")
	if err != nil || string(got) != "hunter2" {
		t.Fatalf("Open = %q, %v", got, err)
	}
	if _, err := k.Open(sealed, "connection b"); err == nil {
		t.Error("it opened for another record")
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := k.Open(changed, "connection a"); err == nil {
			t.Fatalf("it opened with byte %d changed", i)
		}
	}
	for n := range len(sealed) {
		if _, err := k.Open(sealed[:n], "connection a"); err == nil {
			t.Fatalf("it opened when cut to %d bytes", n)
		}
	}
}

func TestAKeyIsRotatedByALineOnTop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	old := load(t, path)
	sealed, mac := old.Seal([]byte("x"), "c"), old.MAC([]byte("m"))
	oldLine, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "key")
	load(t, other)
	newLine, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(newLine, oldLine...), 0o600); err != nil {
		t.Fatal(err)
	}
	both := load(t, path)
	if _, err := both.Open(sealed, "c"); err != nil {
		t.Error("the old key's secret no longer opens:", err)
	}
	if !bytes.Equal(mac, both.MAC([]byte("m"))) {
		t.Error("the MAC changed with the new key")
	}
	if _, err := old.Open(both.Seal([]byte("y"), "c"), "c"); err == nil || !strings.Contains(err.Error(), "not in the key file") {
		t.Error("what the new key sealed opened without it, or the error does not say why:", err)
	}
}

func TestAKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	load(t, path)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Fatalf("Load = %v", err)
	}
}

func TestTwoProcessesThatStartTogetherShareOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	rings := make([]*Keyring, 8)
	for i := range rings {
		wg.Go(func() { rings[i], _ = Load(path) })
	}
	wg.Wait()
	sealed := rings[0].Seal([]byte("x"), "c")
	for i, k := range rings {
		if _, err := k.Open(sealed, "c"); err != nil {
			t.Errorf("ring %d: %v", i, err)
		}
	}
}
