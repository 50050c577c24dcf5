package networkpolicy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// despite is what keeps a rule from being worth anything, as far as it can be seen.
func (n *network) despite(ctx context.Context, r driver.Rule, of rule) (string, error) {
	held, err := n.heldBack(ctx, r, of)
	if err != nil || held != "" {
		return held, err
	}
	for _, p := range of.places {
		if why, err := n.unenforced(ctx, p); err != nil || why != "" {
			return why, err
		}
	}
	return "", nil
}

// heldBack says that policies of the source's namespace keep it from connecting there.
// Somebody's pods may have labels that the peer does not name, so a policy that lets any
// pods of the namespace connect is taken to let these; what a selector asks for that is
// not known is taken to be so.
func (n *network) heldBack(ctx context.Context, r driver.Rule, of rule) (string, error) {
	if r.Peer == nil || n.Namespace != "" && r.Peer.Scope != n.Namespace {
		return "", nil // nobody's, or no right of ours
	}
	list, err := n.in(r.Peer.Scope).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", n.Fault(patchbay.TargetUnreachable, n.may("list"), err)
	}
	for _, p := range of.places {
		by, let := "", false
		for _, o := range list.Items {
			if !slices.Contains(o.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
				continue
			}
			if selects(&o.Spec.PodSelector, r.Peer.Labels, true) {
				by = o.Name
			}
			let = let || slices.ContainsFunc(o.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool { return leads(rule, o.Namespace, p) })
		}
		if by != "" && !let {
			return "the NetworkPolicy " + by + " of the namespace " + r.Peer.Scope + " restricts what its pods connect to, and none lets them connect to the pods of " + p.namespace, nil
		}
	}
	return "", nil
}

// selects reports whether a selector is met by pods of which those labels are known: for
// sure, or perhaps.
func selects(s *metav1.LabelSelector, known map[string]string, sure bool) bool {
	for name, value := range s.MatchLabels {
		has, there := known[name]
		if there && has != value || !there && sure {
			return false
		}
	}
	return len(s.MatchExpressions) == 0 || !sure
}

// leads reports whether a rule for egress may let pods of a namespace connect to a place.
func leads(rule networkingv1.NetworkPolicyEgressRule, from string, to place) bool {
	port := len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool {
		if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			return false
		}
		return p.Port == nil || slices.ContainsFunc(to.ports, func(want networkingv1.NetworkPolicyPort) bool {
			if p.Port.IntVal == 0 || want.Port.IntVal == 0 { // a name: which number that is, is the pods' to say
				return true
			}
			return p.Port.IntVal == want.Port.IntVal || p.EndPort != nil && p.Port.IntVal <= want.Port.IntVal && want.Port.IntVal <= *p.EndPort
		})
	})
	return port && (len(rule.To) == 0 || slices.ContainsFunc(rule.To, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return true
		}
		in := p.NamespaceSelector == nil && from == to.namespace ||
			p.NamespaceSelector != nil && selects(p.NamespaceSelector, map[string]string{namespaceName: to.namespace}, false)
		return in && (p.PodSelector == nil || selects(p.PodSelector, to.pods, false))
	}))
}

// trial is what became of one.
type trial struct {
	at  time.Time
	why string
}

const (
	// trialHolds is how long what was found out is taken to be so.
	trialHolds = 10 * time.Minute
	// trialLimit bounds the start of a pod that tries.
	trialLimit = 15 * time.Second
)

// unenforced says that the cluster's network lets in whom no policy lets in. What can't be tried
// is not said.
func (n *network) unenforced(ctx context.Context, p place) (string, error) {
	if n.relayImage == "" {
		return "", nil
	}
	n.mu.Lock()
	had := n.trials[p.key()]
	n.mu.Unlock()
	if !had.at.IsZero() && time.Since(had.at) < trialHolds {
		return had.why, nil
	}
	why, err := n.tryAsNobody(ctx, p)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trials[p.key()] = trial{time.Now(), why}
	return why, nil
}

// tryAsNobody connects from a pod that must be refused.
func (n *network) tryAsNobody(ctx context.Context, p place) (string, error) {
	pods, err := n.podsOf(ctx, p)
	if err != nil {
		return "", err
	}
	var to []string // one of them, by each of its addresses: a network may enforce policies for one family
	for _, pod := range pods {
		if port := portIn(pod, p.ports[0]); port != 0 && ready(pod) {
			for _, ip := range pod.Status.PodIPs {
				to = append(to, net.JoinHostPort(ip.IP, strconv.Itoa(port)))
			}
		}
		if len(to) > 0 {
			break
		}
	}
	if len(to) == 0 {
		return "", nil
	}
	relays := &kubeconnect.Relays{Asker: n.Asker, Image: n.relayImage, Key: n.key, Limit: trialLimit, Poll: 250 * time.Millisecond, Dials: n.dials}
	relays.Namespace = p.namespace
	relays.Sweep(ctx)
	pod := relays.Pod()
	from, err := relays.Start(ctx, pod)
	if err != nil {
		return "", kubeconnect.Interrupted(ctx.Err()) // nobody can try; that is no fault of the rule's
	}
	defer func() { _ = from.Close() }()
	if let, err := n.letsIn(ctx, p, pod.Labels); err != nil || let {
		return "", err
	}
	for _, address := range to {
		reached := settledAs(ctx, from, address) // a policy may be a moment old
		if ctx.Err() != nil {
			return "", kubeconnect.Interrupted(ctx.Err())
		}
		if reached {
			return "the cluster's network does not enforce policies: a pod in " + p.namespace + " that none lets in connects to " + address + " all the same", nil
		}
	}
	return "", nil
}

// settledAs reports whether somebody gets through to the end of the time that a policy may
// take. One refusal is enough.
func settledAs(ctx context.Context, from driver.Dialer, to string) bool {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	ends := time.Now().Add(settle)
	for {
		if err := dial(ctx, from, to); err != nil {
			return false
		}
		if time.Now().After(ends) {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// letsIn reports whether a policy may let a pod of ours with those labels in: then that it
// gets through means nothing.
func (n *network) letsIn(ctx context.Context, p place, as map[string]string) (bool, error) {
	list, err := n.in(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, n.Fault(patchbay.TargetUnreachable, n.may("list"), err)
	}
	here, err := kubeconnect.PodsIn(n.Cluster, p.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(as).String()})
	if err != nil {
		return false, n.Fault(patchbay.TargetUnreachable, kubeconnect.On("", "pods", "list"), err)
	}
	var from []netip.Addr
	for _, pod := range here.Items {
		for _, ip := range pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				from = append(from, a)
			}
		}
	}
	for _, o := range list.Items {
		if !slices.Contains(o.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || !selects(&o.Spec.PodSelector, p.pods, false) {
			continue
		}
		for _, rule := range o.Spec.Ingress {
			if len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(peer networkingv1.NetworkPolicyPeer) bool { return isLet(peer, o.Namespace, p.namespace, as, from) }) {
				return true, nil
			}
		}
	}
	return false, nil
}

// isLet reports whether a policy in one namespace may let a pod of another one in. All
// labels of the pod are known, and of its namespace the name.
func isLet(peer networkingv1.NetworkPolicyPeer, of, namespace string, as map[string]string, from []netip.Addr) bool {
	if peer.IPBlock != nil {
		block, err := netip.ParsePrefix(peer.IPBlock.CIDR)
		return err != nil || slices.ContainsFunc(from, block.Contains)
	}
	in := peer.NamespaceSelector == nil && of == namespace ||
		peer.NamespaceSelector != nil && selects(peer.NamespaceSelector, map[string]string{namespaceName: namespace}, false)
	if !in || peer.PodSelector == nil {
		return in
	}
	s, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
	return err != nil || s.Matches(labels.Set(as))
}

func ready(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// portIn is the number of a policy's port in a pod; 0 when it has none of that name.
func portIn(pod corev1.Pod, p networkingv1.NetworkPolicyPort) int {
	if p.Port.StrVal == "" {
		return int(p.Port.IntVal)
	}
	for _, c := range pod.Spec.Containers {
		for _, one := range c.Ports {
			if one.Name == p.Port.StrVal {
				return int(one.ContainerPort)
			}
		}
	}
	return 0
}
