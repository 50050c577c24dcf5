package networkpolicy

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// target is what is guarded, as Patchbay reaches it to administer it.
type target struct {
	dialer   driver.Dialer
	endpoint string
}

const (
	tryLimit = 2 * time.Second
	pause    = 250 * time.Millisecond // between two attempts
	// settle is how long a cluster's network may take to do what a policy says.
	settle = 5 * time.Second
	// abandoned is how old a policy is that nobody tries any more: no call takes so long.
	abandoned = driver.DefaultTimeout
)

// addresses are what Patchbay connects to; none where the endpoint says no port.
func (t target) addresses() []string {
	var all []string
	for item := range strings.SplitSeq(t.endpoint, ",") {
		if u, err := url.Parse(item); err == nil && u.Host != "" {
			item = u.Host
		}
		if host, port, err := net.SplitHostPort(item); err == nil && host != "" && port != "" && port != "0" {
			all = append(all, item)
		}
	}
	return all
}

// reached are those of its addresses that can be connected to.
func (t target) reached(ctx context.Context) (reached []string) {
	for _, address := range t.addresses() {
		if dial(ctx, t.dialer, address) == nil {
			reached = append(reached, address)
		}
	}
	return reached
}

// dial makes a connection, and ends it.
func dial(ctx context.Context, d driver.Dialer, address string) error {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// settled dials until what comes of it has been the same for as long as a network may
// take to do what a policy says, and gives the last error.
func (t target) settled(ctx context.Context, address string) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	ends := time.Now().Add(settle)
	for {
		err := dial(ctx, t.dialer, address)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(ends) {
			return err
		}
		<-tick.C
	}
}

// allSettled is settled for several addresses at once.
func (t target) allSettled(ctx context.Context, addresses []string) []error {
	failed := make([]error, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { failed[i] = t.settled(ctx, address) })
	}
	all.Wait()
	return failed
}

// untried are those of the policies that close that are not there, or of which nobody knows
// yet whether they shut Patchbay out. One whose maker died is taken back before it is made
// again: with it, nobody could say what Patchbay reaches without.
func (n *network) untried(ctx context.Context, want rule) ([]*networkingv1.NetworkPolicy, error) {
	var all []*networkingv1.NetworkPolicy
	left := false
	for _, o := range want.closed {
		have, err := n.get(ctx, o.Namespace, o.Name)
		if err != nil {
			return nil, err
		}
		if have != nil && (have.Annotations[triedAnnotation] != "" || !bears(have, o)) {
			continue
		}
		all = append(all, o)
		left = left || have != nil && time.Since(have.CreationTimestamp.Time) > n.patience
	}
	if !left {
		return all, nil
	}
	if err := n.takeBack(ctx, want.open, all); err != nil {
		return nil, err
	}
	_ = n.target.allSettled(ctx, n.target.addresses())
	return all, nil
}

func (n *network) takeBack(ctx context.Context, lists ...[]*networkingv1.NetworkPolicy) error {
	for _, list := range lists {
		for _, o := range list {
			have, err := n.get(ctx, o.Namespace, o.Name)
			if err == nil && have != nil && bears(have, o) {
				err = n.remove(ctx, have)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// try finds out whether Patchbay still reaches what it reached before, and takes back what
// shuts it out.
func (n *network) try(ctx context.Context, made rule, untried []*networkingv1.NetworkPolicy, before []string) error {
	failed := n.target.allSettled(ctx, before)
	for i, address := range before {
		shut := failed[i]
		if shut == nil {
			continue
		}
		if ended := kubeconnect.Interrupted(ctx.Err()); ended != nil {
			return ended // it is tried again by who goes on
		}
		if err := n.takeBack(ctx, made.open, untried); err != nil {
			return patchbay.Errorf(patchbay.TargetUnreachable, "the guard shuts Patchbay out of %s, and that can't be taken back: %w", driver.Quoted(address), err).
				WithFix("kubectl -n %s delete networkpolicies -l %s=true", untried[0].Namespace, closedLabel)
		}
		return patchbay.Errorf(patchbay.TargetUnreachable, "with the guard, Patchbay does not reach %s any more (%w): what it closed is open again", driver.Quoted(address), driver.DialError(shut, address)).
			WithFix("register the guard again with --allow for Patchbay: NAMESPACE/LABEL=VALUE of its own pods, or the address that the cluster sees it come from")
	}
	for _, o := range untried {
		if err := n.tried(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// tried puts on record that a policy shuts nobody out who should not be.
func (n *network) tried(ctx context.Context, o *networkingv1.NetworkPolicy) error {
	want := o.DeepCopy()
	metav1.SetMetaDataAnnotation(&want.ObjectMeta, triedAnnotation, "true")
	return n.ensure(ctx, want)
}
