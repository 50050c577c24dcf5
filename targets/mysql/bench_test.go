package mysql_test

import (
	"fmt"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// BenchmarkLogin makes, looks at and removes a login: through the driver, beside ten and
// beside a thousand others, and by hand, with the statements of somebody who grants each
// login its rights.
func BenchmarkLogin(b *testing.B) {
	s := sharedServer(b)
	target := open(b, config(s, "admin"))
	bench := func(i int) driver.LoginRequest {
		r := driver.LoginRequest{
			Mark: driver.Mark{UID: fmt.Sprintf("bench%d", i), Generation: 1}, Name: fmt.Sprintf("pb_bench%d_g1", i),
			Sub: "shop", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
		}
		r.Credential, _ = target.NewCredential(b.Context(), r)
		return r
	}
	made := 0
	for _, others := range []int{10, 1000} {
		for ; made < others; made++ {
			if err := target.EnsureLogin(b.Context(), bench(made)); err != nil {
				b.Fatal(err)
			}
		}
		r := bench(1_000_000)
		b.Run(fmt.Sprintf("beside %d others", others), func(b *testing.B) {
			for b.Loop() {
				if err := target.EnsureLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				if state, err := target.InspectLogin(b.Context(), r); err != nil || !state.Ours {
					b.Fatal(err)
				}
				if err := target.RemoveLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			run(b, s, "create user by_hand identified by 'secret'", "grant select, show view, insert, update, delete, execute, create temporary tables on shop.* to by_hand",
				"show grants for by_hand", "drop user by_hand")
		}
	})
	for i := range made {
		if err := target.RemoveLogin(b.Context(), bench(i)); err != nil {
			b.Fatal(err)
		}
	}
}
