package rabbitmq_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"patchbay.dev/patchbay"
)

// BenchmarkLogin makes, inspects and removes a login beside others: 10, and 1,000.
func BenchmarkLogin(b *testing.B) {
	s := shared(b)
	at := vhost(b, s, "bench")
	target := opened(b, register(s))
	for _, others := range []int{10, 1000} {
		b.Run(fmt.Sprint(others, " others"), func(b *testing.B) {
			for i := range others {
				name := fmt.Sprintf("/api/users/other%d", i)
				do(b, s, http.MethodPut, name, map[string]string{"password_hash": "", "tags": "patchbay"}, nil)
				do(b, s, http.MethodPut, fmt.Sprintf("/api/permissions/bench/other%d", i), map[string]string{"configure": "", "write": "", "read": ""}, nil)
				b.Cleanup(func() { do(b, s, http.MethodDelete, name, nil, nil) })
			}
			r := request(b, target, "bench", at, patchbay.Writer, nil)
			steps := []struct {
				name string
				do   func(context.Context) error
			}{
				{"ensure", func(ctx context.Context) error { return target.EnsureLogin(ctx, r) }},
				{"inspect", func(ctx context.Context) error { _, err := target.InspectLogin(ctx, r); return err }},
				{"remove", func(ctx context.Context) error { return target.RemoveLogin(ctx, r) }},
			}
			for b.Loop() {
				for _, step := range steps {
					if err := step.do(b.Context()); err != nil {
						b.Fatalf("%s: %v", step.name, err)
					}
				}
			}
		})
	}
}
