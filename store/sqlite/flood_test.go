package sqlite_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/sqlite"
)

// BenchmarkAnothersWrite is a line in the audit log of one tenant, while
// nothing else is written, and while another tenant has four hundred
// submissions and lines waiting at any time.
func BenchmarkAnothersWrite(b *testing.B) {
	for _, flood := range []int{0, 400, 4000} {
		b.Run(fmt.Sprint(flood, " writers of another tenant"), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), b.TempDir()+"/db", sqlite.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			ctx, stop := context.WithCancel(patchbay.WithAct(b.Context(), patchbay.Act{Tenant: "a", Tenants: []string{"a"}}))
			var writers sync.WaitGroup
			for i := range flood {
				writers.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						source := patchbay.ID(fmt.Sprintf("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web-%d-%d", i, n))
						_, _, _ = s.Submit(ctx, saga.Life{ID: "me"}, saga.Submission{
							ID: string(source), RequestHash: []byte("h"), Kind: patchbay.OpCreate, Connection: source.Linker("c"), Source: source,
							Plan: []string{"plan", "settings"}, Input: make([]byte, 2000), Share: []string{"a", "db"}, Target: "/db",
						}, saga.Limits{Queued: 64, Target: 1000}, time.Now())
						_ = s.AppendAudit(ctx, patchbay.AuditEntry{Tenant: "a", Action: "x", Result: patchbay.AuditRefused})
					}
				})
			}
			other := patchbay.WithAct(b.Context(), patchbay.Act{Tenant: "b", Tenants: []string{"b"}})
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := s.AppendAudit(other, patchbay.AuditEntry{Tenant: "b", Action: "x", Result: patchbay.AuditRefused}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			stop()
			writers.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		})
	}
}

// BenchmarkALookForWhatWasForgotten is each part of it while ten thousand
// operations run or wait: it is done once a second.
func BenchmarkALookForWhatWasForgotten(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir()+"/db", sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	life := saga.Life{ID: "me", Kinds: []patchbay.OperationKind{patchbay.OpCreate}}
	for i := range 10000 {
		source := patchbay.ID(fmt.Sprintf("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web-%d", i/4))
		if _, _, err := s.Submit(b.Context(), life, saga.Submission{
			ID: fmt.Sprint(i), RequestHash: []byte("h"), Kind: patchbay.OpCreate, Connection: source.Linker(fmt.Sprint(i)), Source: source,
			Plan: []string{"plan"}, Input: make([]byte, 2000),
		}, saga.Limits{Queued: 64, Target: 1000}, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]func() error{
		"claim":   func() error { _, err := s.Claim(b.Context(), life, 256); return err },
		"promote": func() error { _, err := s.Promote(b.Context(), life, time.Now(), 256); return err },
		"mine":    func() error { _, err := s.Mine(b.Context(), life); return err },
		"waiting": func() error { _, err := s.Waiting(b.Context()); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
