package mosquitto_test

import (
	"fmt"
	"net"
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
			var commands []map[string]any
			for i := range others {
				commands = append(commands, map[string]any{"command": "createClient", "username": fmt.Sprint("other", i)})
			}
			if err := s.MustControl(b.Context(), commands...); err != nil {
				b.Fatal(err)
			}
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
