package etcd_test

import (
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
)

// BenchmarkALoginAmongOthers makes, looks at and removes one beside so many others:
//
//	go test ./targets/etcd -run '^$' -bench .
func BenchmarkALoginAmongOthers(b *testing.B) {
	s := testenv.Etcd(b, testenv.EtcdOptions{})
	target := opened(b, register(s, scope))
	c := s.Root(b)
	there := 0
	for _, others := range []int{10, 1000} {
		for ; there < others; there++ {
			if err := target.EnsureLogin(b.Context(), request(b, target, fmt.Sprintf("other%d", there), patchbay.Writer, nil)); err != nil {
				b.Fatal(err)
			}
		}
		r := request(b, target, "one", patchbay.Writer, nil)
		b.Run(fmt.Sprintf("create/%d", others), func(b *testing.B) {
			for b.Loop() {
				if err := target.EnsureLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := target.RemoveLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
		// The same requests, without a look.
		b.Run(fmt.Sprintf("create-by-hand/%d", others), func(b *testing.B) {
			for b.Loop() {
				_, err1 := c.RoleAdd(b.Context(), "hand")
				_, err2 := c.UserAdd(b.Context(), "hand", "first")
				_, err3 := c.UserGrantRole(b.Context(), "hand", "hand")
				_, err4 := c.UserChangePassword(b.Context(), "hand", "second")
				_, err5 := c.RoleGrantPermission(b.Context(), "hand", "/orders/", "/orders0", clientv3.PermissionType(clientv3.PermReadWrite))
				_, err6 := c.RoleGrantPermission(b.Context(), "hand", "bills", "billt", clientv3.PermissionType(clientv3.PermReadWrite))
				b.StopTimer()
				_, err7 := c.UserDelete(b.Context(), "hand")
				_, err8 := c.RoleDelete(b.Context(), "hand")
				if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
		if err := target.EnsureLogin(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("inspect/%d", others), func(b *testing.B) {
			for b.Loop() {
				if _, err := target.InspectLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("remove-absent/%d", others), func(b *testing.B) {
			if err := target.RemoveLogin(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := target.RemoveLogin(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("owned/%d", others), func(b *testing.B) {
			for b.Loop() {
				if _, err := target.Owned(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
