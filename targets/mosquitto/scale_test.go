package mosquitto_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mosquitto"
)

// BenchmarkALoginAmongOthers makes, looks at and removes one login beside others: none of it
// asks for the others. The broker writes its whole file at each change.
func BenchmarkALoginAmongOthers(b *testing.B) {
	for _, others := range []int{10, 1000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			s := testenv.Mosquitto(b, testenv.MosquittoConfig{})
			c := register(s, scope)
			c.Dialer = &net.Dialer{}
			opened, err := mosquitto.Driver().Open(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			target := opened.(driver.Administrator)
			named := func(uid string) driver.LoginRequest {
				r := driver.LoginRequest{Mark: driver.Mark{UID: uid, Generation: 1}, Name: "pb_" + uid + "_g1", Auth: patchbay.AuthSecret, Access: patchbay.Writer, Options: options}
				if r.Credential, err = target.NewCredential(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				return r
			}
			crowd(b, s, others)
			b.ResetTimer()
			for b.Loop() {
				r := named("one")
				if err := target.EnsureLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				if _, err := target.InspectLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				if err := target.RemoveLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if owned, err := target.Owned(b.Context()); err != nil || len(owned) > 0 {
				b.Errorf("%d, %v", len(owned), err)
			}
		})
	}
}

// crowd puts clients and roles into the broker's file, for the broker writes all of it anew for
// each that it is told to make.
func crowd(b *testing.B, s *testenv.MosquittoServer, n int) {
	b.Helper()
	path := filepath.Join(s.ConfigDir(), "dynamic-security.json")
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		b.Fatal(err)
	}
	clients, roles := config["clients"].([]any), config["roles"].([]any)
	for i := range n {
		name := fmt.Sprint("other", i)
		roles = append(roles, map[string]any{"rolename": name, "acls": []any{map[string]any{"acltype": "publishClientSend", "topic": name + "/#", "priority": 0, "allow": true}}})
		clients = append(clients, map[string]any{"username": name, "roles": []any{map[string]any{"rolename": name}}})
	}
	config["clients"], config["roles"] = clients, roles
	if text, err = json.Marshal(config); err == nil {
		err = errors.Join(os.WriteFile(path, text, 0o600), s.Restart(b.Context()))
	}
	if err != nil {
		b.Fatal(err)
	}
}
