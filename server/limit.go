package server

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/recent"
)

// Limits say how many requests are answered, in requests a second; bursts of
// ten times as many go through. 0 takes the default, a negative number is no
// limit. The operator has none.
type Limits struct {
	Reads  float64 // of one principal; the default is 200
	Writes float64 // of one principal: everything but GET; the default is 50
	// Of all principals of a tenant; the default is ten times that of one.
	TenantReads, TenantWrites float64
	// Strangers is for requests of one address that nobody signed in with; the
	// default is 20. Who is beyond is answered without looking at its token.
	Strangers float64
}

// The kinds of requests that are counted apart.
const (
	reads  = "reads"
	writes = "writes"
)

const (
	burstSeconds = 10
	maxBuckets   = 10_000 // who is remembered at once, of each tenant and of the strangers
)

func (l Limits) withDefaults() Limits {
	def := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Reads, 200)
	def(&l.Writes, 50)
	def(&l.TenantReads, 10*l.Reads)
	def(&l.TenantWrites, 10*l.Writes)
	def(&l.Strangers, 20)
	return l
}

// limiter has the buckets of those who asked last, of each tenant and of the
// strangers.
type limiter struct {
	limits  Limits
	mu      sync.Mutex
	buckets *recent.Map[*rate.Limiter]
}

// strangers are all whom nobody knows yet, beside the tenants.
const strangers = ""

func newLimiter(l Limits) *limiter {
	return &limiter{limits: l.withDefaults(), buckets: recent.New[*rate.Limiter](maxBuckets)}
}

func (l *limiter) bucket(group, key string, perSecond float64) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets.Get(group, key)
	if !ok {
		b = rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(perSecond*burstSeconds)))
		l.buckets.Put(group, key, b)
	}
	return b
}

// take takes one of a bucket; when it is empty, wait is when there is one.
func (l *limiter) take(group, key string, perSecond float64, now time.Time) (left int, wait time.Duration, ok bool) {
	if perSecond < 0 {
		return math.MaxInt32, 0, true
	}
	b := l.bucket(group, key, perSecond)
	if b.AllowN(now, 1) {
		return int(b.TokensAt(now)), 0, true
	}
	missing := 1 - b.TokensAt(now)
	return 0, time.Duration(missing / perSecond * float64(time.Second)), false
}

// spend takes n of a bucket, which may then owe some.
func (l *limiter) spend(group, key string, perSecond float64, n int, now time.Time) {
	if perSecond >= 0 {
		b := l.bucket(group, key, perSecond)
		b.ReserveN(now, min(n, b.Burst()))
	}
}

// full reports whether a bucket has something left, and takes nothing.
func (l *limiter) full(group, key string, perSecond float64, now time.Time) bool {
	return perSecond < 0 || l.bucket(group, key, perSecond).TokensAt(now) >= 1
}

// limit counts a request of a caller, against its own limit and its tenant's.
func (s *Server) limit(w http.ResponseWriter, r *http.Request, who patchbay.Subject) error {
	if who.Operator {
		return nil
	}
	l := s.limiter.limits
	kind, one, all := reads, l.Reads, l.TenantReads
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		kind, one, all = writes, l.Writes, l.TenantWrites
	}
	now := s.now()
	left, wait, ok := s.limiter.take(who.Tenant, kind+" of "+who.ID, one, now)
	whose := "this caller"
	if ok {
		var left2 int
		left2, wait, ok = s.limiter.take(who.Tenant, kind, all, now)
		left, whose = min(left, left2), "the caller's tenant"
	}
	w.Header().Set("x-ms-ratelimit-remaining-subscription-"+kind, strconv.Itoa(left))
	if ok {
		return nil
	}
	return tooMany(w, wait, whose+" sent more "+kind+" than it may")
}

// recordsOfARead is how many records of a list are one read.
const recordsOfARead = 100

// charge counts a list as so many reads more as it read records, whether or not
// its caller was shown them: what it is beyond the limits, the caller waits
// before the next read.
func (s *Server) charge(who patchbay.Subject, records int) {
	more := records / recordsOfARead
	if who.Operator || more == 0 {
		return
	}
	l, now := s.limiter.limits, s.now()
	s.limiter.spend(who.Tenant, reads+" of "+who.ID, l.Reads, more, now)
	s.limiter.spend(who.Tenant, reads, l.TenantReads, more, now)
}

// limitStranger refuses to look at more tokens from an address that sent too
// many that were not good.
func (s *Server) limitStranger(w http.ResponseWriter, r *http.Request) error {
	if s.limiter.full(strangers, network(s.addressOf(r)), s.limiter.limits.Strangers, s.now()) {
		return nil
	}
	return tooMany(w, time.Second, "too many requests from this address were not signed in")
}

func (s *Server) countStranger(r *http.Request) {
	s.limiter.take(strangers, network(s.addressOf(r)), s.limiter.limits.Strangers, s.now())
}

// network is what one stranger can call from: an address, or the /64 that
// whoever has one IPv6 address has.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() {
		return address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

func tooMany(w http.ResponseWriter, wait time.Duration, why string) error {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	e := patchbay.Errorf(patchbay.TooManyRequests, "%s; try again in %d s", why, seconds)
	e.Transient = true
	return e
}
