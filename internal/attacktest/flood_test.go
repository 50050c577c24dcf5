package attacktest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay/internal/testenv"
)

// 400 connectors to a listener that never answers made another tenant wait for up
// to 14 s, and strangers with random ids kept 17 of 18 valid sign-ins out.
func TestFloodsKeepNobodyFromWorking(t *testing.T) {
	s := start(t, "--trust-forwarded")
	bystander := s.tenant("bystander").onRedis(testenv.Redis(t, false))
	n := s.tenant("flooder")
	who := n.with("Service Connector Contributor", "")
	// Who signs in for the first time: no secret is remembered.
	var fresh []caller
	for i := range 10 {
		fresh = append(fresh, bystander.unknown(fmt.Sprint("fresh", i)))
	}

	connected := make(chan struct{}, 1)
	silent := listener(t, func(c net.Conn) {
		select {
		case connected <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, c)
	})
	const hanging, perLocation = 120, 60
	for i := range hanging {
		id := fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/locations/local%d/connectors/c%d", n.group, i/perLocation, i)
		s.must(2, who.token, "PUT", id, linkers, toEndpoint("redis://"+silent), "Prefer", "respond-async")
	}
	<-connected

	f := strangers(s, bystander.id)
	var validations, signIns []time.Duration
	for i := range 30 {
		validations = append(validations, bystander.works())
		c := bystander.caller
		if i < len(fresh) {
			c = fresh[i]
		}
		began := time.Now()
		if status, answer := bystander.signIn(c.app, c.secret); status != http.StatusOK {
			t.Errorf("a valid sign-in is answered %d %v", status, answer)
		}
		signIns = append(signIns, time.Since(began))
	}
	answered, refused := f.end()
	s.alive()
	if answered == 0 || refused != answered {
		t.Errorf("%d of %d strangers were refused", refused, answered)
	}
	flooding := 0
	for i := range hanging {
		id := fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/locations/local%d/connectors/c%d", n.group, i/perLocation, i)
		_, list := s.call(s.token, "GET", "/providers/Patchbay.Connector/operations?connection="+url.QueryEscape(id), own, nil)
		value, _ := list["value"].([]any)
		if len(value) > 0 && !slices.Contains([]string{"done", "undone", "abandoned"}, text(value[0], "state")) {
			flooding++
		}
	}
	if flooding < 100 {
		t.Errorf("only %d connectors were left hanging", flooding)
	}
	t.Logf("beside %d connectors that hang and %d strangers: validate p50 %s, p99 %s; sign in p50 %s, p99 %s",
		flooding, answered, quantile(validations, 50), quantile(validations, 99), quantile(signIns, 50), quantile(signIns, 99))
}

func quantile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(100 * time.Microsecond)
}

// unknown is a principal that has never signed in.
func (n *tenant) unknown(name string) caller {
	n.s.t.Helper()
	made := n.s.must(2, n.s.token, "POST", "/providers/Patchbay.Connector/principals?tenant="+n.id, own, map[string]any{"name": name})
	return caller{object: text(made, "id"), app: text(made, "appId"), secret: text(made, "secret")}
}

// crowd is strangers who sign in, each with a client id and from an address that
// nobody has seen.
type crowd struct {
	stop              context.CancelFunc
	all               sync.WaitGroup
	answered, refused atomic.Int64
}

// strangers ask some thousands of times at the most. They have begun when they
// return.
func strangers(s *server, tenant string) *crowd {
	const atOnce, each = 64, 50
	ctx, stop := context.WithCancel(s.t.Context())
	f := &crowd{stop: stop}
	begun := make(chan struct{}, atOnce*each)
	for who := range atOnce {
		f.all.Go(func() {
			for i := range each {
				form := url.Values{"grant_type": {"client_credentials"}, "client_id": {uuid.NewString()}, "client_secret": {uuid.NewString()}, "scope": {s.url + "/.default"}}
				header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-For": {fmt.Sprintf("198.18.%d.%d", who, i)}}
				status, _, err := s.send(ctx, "POST", "/"+tenant+"/oauth2/v2.0/token", header, []byte(form.Encode()))
				if err != nil {
					return
				}
				f.answered.Add(1)
				if status >= 400 && status < 500 {
					f.refused.Add(1)
				}
				begun <- struct{}{}
			}
		})
	}
	<-begun
	return f
}

// end is how many were answered, and how many of them were refused.
func (f *crowd) end() (answered, refused int64) {
	f.stop()
	f.all.Wait()
	return f.answered.Load(), f.refused.Load()
}
