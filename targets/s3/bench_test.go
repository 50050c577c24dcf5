package s3_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
)

// A login is made without asking for the users that there are: beside a thousand it takes
// what the gateway itself takes longer to write its file of them.
func TestAThousandUsersAreNotListed(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "among-many")
	var lists atomic.Int32
	c := register(s, nil)
	c.Endpoint = between(t, s, func(_ http.Handler, _ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/list-") {
			lists.Add(1)
		}
		return false
	})
	target := openedWith(t, c)
	r := made(t, target, "among", bucket, patchbay.Writer, nil)
	if err := target.RemoveLogin(t.Context(), r); err != nil || lists.Load() > 0 {
		t.Errorf("the users were listed %d times, %v", lists.Load(), err)
	}
}

// BenchmarkALoginAmongOthers makes and removes one beside so many users:
//
//	go test ./targets/s3 -run '^$' -bench .
func BenchmarkALoginAmongOthers(b *testing.B) {
	s := testenv.VersityGW(b, testenv.VersityGWOptions{})
	target := opened(b, s, nil)
	bucket := aBucket(b, s, "bench")
	there := 0
	for _, others := range []int{10, 1000} {
		for ; there < others; there++ {
			if err := s.AddUser(b.Context(), fmt.Sprintf("other%d", there), "others-secret"); err != nil {
				b.Fatal(err)
			}
		}
		one := asked(b, target, "one", bucket, patchbay.Writer, nil)
		for name, f := range map[string]func(driver.LoginRequest) error{
			"create":  func(r driver.LoginRequest) error { return target.EnsureLogin(b.Context(), r) },
			"by-hand": func(driver.LoginRequest) error { return s.AddUser(b.Context(), "hand", "hands-secret") },
			"inspect": func(r driver.LoginRequest) error { _, err := target.InspectLogin(b.Context(), r); return err },
			"owned":   func(driver.LoginRequest) error { _, err := target.Owned(b.Context()); return err },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, others), func(b *testing.B) {
				for b.Loop() {
					if err := f(one); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if err := target.RemoveLogin(b.Context(), one); err != nil {
						b.Fatal(err)
					}
					if err := s.DropUser(b.Context(), "hand"); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}
