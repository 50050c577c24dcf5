package azurestorage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/azurestorage"
)

// One emulator serves all tests of the package. Each has containers of its own.
var (
	emulator     *testenv.AzuriteServer
	emulatorErr  error
	emulatorOnce sync.Once
)

func TestMain(m *testing.M) {
	if which := os.Getenv(program); which != "" {
		if err := goProgram(which); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if err := emulator.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is the emulator, which a test leaves as it was.
func shared(t testing.TB) *testenv.AzuriteServer {
	t.Helper()
	emulatorOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		emulator, emulatorErr = testenv.StartAzurite(ctx)
	})
	if errors.Is(emulatorErr, testenv.ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skip(emulatorErr)
	}
	if emulatorErr != nil {
		t.Fatal(emulatorErr)
	}
	return emulator
}

// register is the configuration of s as a target, with more properties.
func register(s *testenv.AzuriteServer, properties map[string]any) driver.Config {
	all := map[string]any{"endpoints": map[string]any{"queue": s.Queue(), "table": s.Table()}}
	for name, value := range properties {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/orders",
		Endpoint: s.Blob(), Properties: text, Admin: driver.Secrets{"key": patchbay.NewSecret(s.Key)}, Dialer: &net.Dialer{},
	}
}

func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, azurestorage.Driver(), c)
}

func request(t testing.TB, target driver.Administrator, uid, sub string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/x"}, Name: "pb_" + uid + "_g1",
		Sub: sub, Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// made is a login that is there until the test ends.
func made(t testing.TB, target driver.Administrator, uid, sub string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, sub, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.RemoveLogin(context.Background(), r); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("clean up: %v", err)
		}
	})
	return r
}

func probe(t testing.TB, target drivertest.Opened, r driver.LoginRequest) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access, Options: r.Options})
}
