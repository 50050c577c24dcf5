package networkpolicy

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// target is what is guarded, as Patchbay reaches it to administer it.
type target struct {
	dialer   driver.Dialer
	endpoint string
	settle   time.Duration // [settle], but in tests
}

const (
	tryLimit = 2 * time.Second
	pause    = 250 * time.Millisecond // between two attempts
	// settle is how long a cluster's network may take to do what a policy says.
	settle = 5 * time.Second
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
func (t target) reached(ctx context.Context) []string {
	all := t.addresses()
	failed := make([]error, len(all))
	var dials sync.WaitGroup
	for i, address := range all {
		dials.Go(func() { failed[i] = dial(ctx, t.dialer, address) })
	}
	dials.Wait()
	var reached []string
	for i, address := range all {
		if failed[i] == nil {
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
	ends := time.Now().Add(t.settle)
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

// attempt is a policy that closes, and of which nobody knows yet whether it shuts Patchbay out.
type attempt struct {
	closed, open *networkingv1.NetworkPolicy // what is wanted there
	// before is what was there and shuts nobody out; nil: nothing that is known to.
	before *networkingv1.NetworkPolicy
	// begun: somebody has made it already, who died or is at it.
	begun bool
	// uid and generation are of what is tried: with another one, what comes of it says nothing.
	uid        string
	generation int64
}

// untried are the attempts that a rule takes.
func (n *network) untried(ctx context.Context, want rule) ([]*attempt, error) {
	var all []*attempt
	for i, o := range want.closed {
		have, err := n.get(ctx, o.Namespace, o.Name)
		if err != nil {
			return nil, err
		}
		if have != nil && (triedAs(have, o.Spec.Ingress) || !bears(have, o)) {
			continue
		}
		t := &attempt{closed: o, open: want.open[i]}
		if have != nil {
			t.before = knownGood(have, o)
			t.begun = t.before == nil || !equality.Semantic.DeepEqual(have.Spec, t.before.Spec)
		}
		all = append(all, t)
	}
	return all, nil
}

// triedAs reports whether a policy that closes has been tried with that content.
func triedAs(have *networkingv1.NetworkPolicy, ingress []networkingv1.NetworkPolicyIngressRule) bool {
	return have.Annotations[triedAnnotation] == contentOf(ingress)
}

func contentOf(ingress []networkingv1.NetworkPolicyIngressRule) string {
	text, _ := json.Marshal(ingress) // labels and prefixes
	return string(text)
}

// knownGood is a policy as it was last tried; nil when it never was, or nobody can tell.
func knownGood(have, want *networkingv1.NetworkPolicy) *networkingv1.NetworkPolicy {
	was := want.DeepCopy()
	was.Spec.Ingress = nil
	if err := json.Unmarshal([]byte(have.Annotations[triedAnnotation]), &was.Spec.Ingress); err != nil || len(was.Spec.Ingress) == 0 {
		return nil
	}
	return was
}

// reachedWithout is what Patchbay reaches without what is to be tried. What somebody has
// begun is taken back for it, unless nothing is missing with it either.
func (n *network) reachedWithout(ctx context.Context, all []*attempt) ([]string, error) {
	reached := n.target.reached(ctx)
	begun := slices.DeleteFunc(slices.Clone(all), func(t *attempt) bool { return !t.begun })
	if len(begun) == 0 || len(reached) == len(n.target.addresses()) {
		return reached, nil
	}
	if err := n.takeBack(ctx, begun); err != nil {
		return nil, err
	}
	_ = n.target.allSettled(ctx, n.target.addresses())
	return n.target.reached(ctx), kubeconnect.Interrupted(ctx.Err())
}

// takeBack has it as it was before: a policy that was tried is in force again. Where there
// was none, what a rule opens goes with it: alone, it would close the pods as well.
func (n *network) takeBack(ctx context.Context, all []*attempt) error {
	for _, t := range all {
		if t.before != nil {
			if _, err := n.ensure(ctx, t.before); err != nil {
				return err
			}
			continue
		}
		for _, o := range []*networkingv1.NetworkPolicy{t.open, t.closed} {
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
func (n *network) try(ctx context.Context, all []*attempt, before []string) error {
	failed := n.target.allSettled(ctx, before)
	for i, address := range before {
		shut := failed[i]
		if shut == nil {
			continue
		}
		if ended := kubeconnect.Interrupted(ctx.Err()); ended != nil {
			return ended // it is tried again by who goes on
		}
		if err := n.takeBack(ctx, all); err != nil {
			return patchbay.Errorf(patchbay.TargetUnreachable, "the guard shuts Patchbay out of %s, and that can't be taken back: %w", driver.Quoted(address), err).
				WithFix("kubectl -n %s delete networkpolicies -l %s=true", all[0].closed.Namespace, closedLabel)
		}
		now := "what it closed is open again"
		if slices.ContainsFunc(all, func(t *attempt) bool { return t.before != nil }) {
			now = "whom it let in before it lets in again"
		}
		return patchbay.Errorf(patchbay.TargetUnreachable, "with the guard, Patchbay does not reach %s any more (%w): %s", driver.Quoted(address), driver.DialError(shut, address), now).
			WithFix("register the guard again with --allow for Patchbay: NAMESPACE/LABEL=VALUE of its own pods, or the address that the cluster sees it come from")
	}
	for _, t := range all {
		if err := n.tried(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// tried puts on record that a policy shuts nobody out who should not be, if it still is the
// one that was tried.
func (n *network) tried(ctx context.Context, t *attempt) error {
	for range 5 {
		have, err := n.get(ctx, t.closed.Namespace, t.closed.Name)
		switch {
		case err != nil:
			return err
		case have == nil, string(have.UID) != t.uid, have.Generation != t.generation:
			return kubeconnect.Changed("the NetworkPolicy " + t.closed.Name).AsTransient()
		case triedAs(have, t.closed.Spec.Ingress): // by somebody beside
			return nil
		}
		metav1.SetMetaDataAnnotation(&have.ObjectMeta, triedAnnotation, contentOf(t.closed.Spec.Ingress))
		_, err = n.in(have.Namespace).Update(ctx, have, metav1.UpdateOptions{FieldManager: fieldManager})
		if err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return n.Fault(patchbay.TargetUnreachable, n.may("update"), err)
		}
	}
	return kubeconnect.Changed("the NetworkPolicy " + t.closed.Name).AsTransient()
}

// stayClosed has a place closed whose rule goes: as it was tried last, and where somebody
// took that away, as it would be now, to be tried by the next rule.
func (n *network) stayClosed(ctx context.Context, p place) error {
	want := n.closing(p)
	have, err := n.get(ctx, want.Namespace, want.Name)
	if err != nil {
		return err
	}
	if have != nil && bears(have, want) {
		if want = knownGood(have, want); want == nil { // nobody knows better than what is there
			return nil
		}
	}
	_, err = n.ensure(ctx, want)
	return err
}
