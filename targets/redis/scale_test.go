package redis_test

import (
	"fmt"
	"testing"

	"patchbay.dev/patchbay"
)

// BenchmarkLogin makes, inspects and removes a login beside so many others:
//
//	go test ./targets/redis -run '^$' -bench Login
func BenchmarkLogin(b *testing.B) {
	s := sharedServer(b, "")
	admin := eyes(b, s)
	there := 0
	for _, others := range []int{10, 1000} {
		for ; there < others; there++ {
			name := fmt.Sprintf("other_%d", there)
			if err := admin.Do(b.Context(), "ACL", "SETUSER", name, "on", ">x", "~x:*", "+@read").Err(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = admin.Do(b.Context(), "ACL", "DELUSER", name).Err() }()
		}
		target := opened(b, config(s))
		for what, do := range map[string]func(uid string) error{
			"ensure and remove": func(uid string) error {
				r := request(b, target, uid, patchbay.Writer, nil)
				if err := target.EnsureLogin(b.Context(), r); err != nil {
					return err
				}
				return target.RemoveLogin(b.Context(), r)
			},
			"by hand": func(uid string) error {
				name := "hand_" + uid
				for _, c := range [][]any{{"ACL", "SETUSER", name, "on", ">x", "~*", "+@read", "+@write"}, {"ACL", "SAVE"}, {"ACL", "DELUSER", name}, {"ACL", "SAVE"}} {
					if err := admin.Do(b.Context(), c...).Err(); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			b.Run(fmt.Sprintf("%s, others=%d", what, others), func(b *testing.B) {
				for i := range b.N {
					if err := do(fmt.Sprintf("bench%d", i)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		r := made(b, target, "inspected", patchbay.Writer, nil)
		b.Run(fmt.Sprintf("inspect, others=%d", others), func(b *testing.B) {
			for range b.N {
				if state := inspected(b, target, r); !whole(state) {
					b.Fatalf("%+v", state)
				}
			}
		})
		b.Run(fmt.Sprintf("owned, others=%d", others), func(b *testing.B) {
			for range b.N {
				if _, err := target.Owned(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
