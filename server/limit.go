package server

import (
	"container/list"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"patchbay.dev/patchbay"
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

const (
	burstSeconds = 10
	maxBuckets   = 10_000 // who is remembered at once
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

// limiter has the buckets of those who asked last.
type limiter struct {
	limits Limits
	mu     sync.Mutex
	byKey  map[string]*list.Element
	order  *list.List // the last to ask in front
}

type bucket struct {
	key string
	*rate.Limiter
}

func newLimiter(l Limits) *limiter {
	return &limiter{limits: l.withDefaults(), byKey: map[string]*list.Element{}, order: list.New()}
}

func (l *limiter) bucket(key string, perSecond float64) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byKey[key]; e != nil {
		l.order.MoveToFront(e)
		return e.Value.(bucket).Limiter
	}
	if l.order.Len() >= maxBuckets {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.byKey, last.Value.(bucket).key)
	}
	b := bucket{key, rate.NewLimiter(rate.Limit(perSecond), int(math.Ceil(perSecond*burstSeconds)))}
	l.byKey[key] = l.order.PushFront(b)
	return b.Limiter
}

// take takes one of a bucket; when it is empty, wait is when there is one.
func (l *limiter) take(key string, perSecond float64, now time.Time) (left int, wait time.Duration, ok bool) {
	if perSecond < 0 {
		return math.MaxInt32, 0, true
	}
	b := l.bucket(key, perSecond)
	if b.AllowN(now, 1) {
		return int(b.TokensAt(now)), 0, true
	}
	missing := 1 - b.TokensAt(now)
	return 0, time.Duration(missing / perSecond * float64(time.Second)), false
}

// full reports whether a bucket has something left, and takes nothing.
func (l *limiter) full(key string, perSecond float64, now time.Time) bool {
	return perSecond < 0 || l.bucket(key, perSecond).TokensAt(now) >= 1
}

// limit counts a request of a caller, against its own limit and its tenant's.
func (s *Server) limit(w http.ResponseWriter, r *http.Request, who patchbay.Subject) error {
	if who.Operator {
		return nil
	}
	l := s.limiter.limits
	kind, one, all := "reads", l.Reads, l.TenantReads
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		kind, one, all = "writes", l.Writes, l.TenantWrites
	}
	now := s.now()
	left, wait, ok := s.limiter.take(kind+" of "+who.Tenant+"/"+who.ID, one, now)
	whose := "this caller"
	if ok {
		var left2 int
		left2, wait, ok = s.limiter.take(kind+" in "+who.Tenant, all, now)
		left, whose = min(left, left2), "the caller's tenant"
	}
	w.Header().Set("x-ms-ratelimit-remaining-subscription-"+kind, strconv.Itoa(left))
	if ok {
		return nil
	}
	return tooMany(w, wait, whose+" sent more "+kind+" than it may")
}

// limitStranger refuses to look at more tokens from an address that sent too
// many that were not good.
func (s *Server) limitStranger(w http.ResponseWriter, r *http.Request) error {
	if s.limiter.full(s.stranger(r), s.limiter.limits.Strangers, s.now()) {
		return nil
	}
	return tooMany(w, time.Second, "too many requests from this address were not signed in")
}

// stranger is the bucket of a request that nobody signed in with.
func (s *Server) stranger(r *http.Request) string { return "stranger " + network(s.addressOf(r)) }

func (s *Server) countStranger(r *http.Request) {
	s.limiter.take(s.stranger(r), s.limiter.limits.Strangers, s.now())
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
