package networkpolicy

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// How our policies are known. Argo CD's app.kubernetes.io/instance is not among the
// labels: it would take a policy for one of its own, and prune it.
const (
	managedLabel    = "app.kubernetes.io/managed-by"
	managedBy       = "patchbay"
	connectionLabel = "patchbay.dev/connection"
	ruleLabel       = "patchbay.dev/rule"   // the name of a rule's first policy
	closedLabel     = "patchbay.dev/closed" // "true": lets in nobody but who is always let in

	connectionAnnotation = "patchbay.dev/connection-id"
	generationAnnotation = "patchbay.dev/generation"
	nameAnnotation       = "patchbay.dev/rule-name"
	// triedAnnotation is on a policy that closes, once Patchbay has found that it does not
	// shut itself out with it: whom it let in then.
	triedAnnotation = "patchbay.dev/tried"
)

const maxPeers = 500 // of one rule

var plainName = regexp.MustCompile(`^pb_([a-z0-9]{1,30})_g([0-9]{1,12})$`)

// policyName is what the first policy of the rule of that name is called, no two alike: a
// name, and the value of a label.
func policyName(rule string) string {
	if m := plainName.FindStringSubmatch(rule); m != nil {
		return "patchbay-" + m[1] + "-g" + m[2]
	}
	return "patchbay-" + hosts.Sum([]byte(rule))[:20]
}

// nameAt is what the policy for a rule's place of that number is called.
func nameAt(rule string, i int) string {
	if i == 0 {
		return policyName(rule)
	}
	return policyName(rule) + "-" + strconv.Itoa(i+1)
}

// check refuses a rule that no policy can be made of.
func check(r driver.Rule) error {
	bad := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	}
	switch {
	case r.Name == "":
		return bad("the rule has no name")
	case r.Mark.UID == "" || len(validation.IsValidLabelValue(r.Mark.UID)) > 0 || r.Mark.Generation < 0:
		return bad("a rule bears the mark of a connection")
	case r.Peer == nil && len(r.From) == 0 || len(r.Servers) == 0:
		return bad("an opening is from somewhere to somewhere")
	case len(r.From) > maxPeers:
		return patchbay.Errorf(patchbay.InvalidArgument, "an opening is from at most %d networks, and this one from %d", maxPeers, len(r.From)).
			WithFix("register the source with fewer that hold them: --egress")
	}
	for _, p := range r.From {
		if !p.IsValid() {
			return bad("%s is no network that a source speaks from", p)
		}
	}
	if p := r.Peer; p != nil {
		// A selector without labels would be everybody.
		if len(validation.IsDNS1123Label(p.Scope)) > 0 || len(p.Labels) == 0 {
			return bad("%s is no workload in a namespace", driver.Quoted(p.String()))
		}
		for name, value := range p.Labels {
			if len(validation.IsQualifiedName(name)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
				return bad("%s has a label that Kubernetes has not", driver.Quoted(p.String()))
			}
		}
	}
	return nil
}

// peersOf is whom a rule lets in.
func peersOf(r driver.Rule) []networkingv1.NetworkPolicyPeer {
	var all []networkingv1.NetworkPolicyPeer
	if r.Peer != nil {
		all = append(all, pods(r.Peer.Scope, r.Peer.Labels))
	}
	for _, p := range r.From {
		all = append(all, block(p))
	}
	return sortedPeers(all)
}

// sortedPeers is in an order that does not depend on who asked, each once.
func sortedPeers(all []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	text := func(p networkingv1.NetworkPolicyPeer) string {
		b, _ := json.Marshal(p) // labels and prefixes
		return string(b)
	}
	slices.SortFunc(all, func(a, b networkingv1.NetworkPolicyPeer) int { return strings.Compare(text(a), text(b)) })
	return slices.CompactFunc(all, func(a, b networkingv1.NetworkPolicyPeer) bool { return text(a) == text(b) })
}

func policyOf(namespace, name string, pods map[string]string, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{managedLabel: managedBy}, Annotations: map[string]string{}},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: pods},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     rules,
		},
	}
}

// opening is the policy of a rule for one of its places.
func opening(r driver.Rule, p place, i int) *networkingv1.NetworkPolicy {
	o := policyOf(p.namespace, nameAt(r.Name, i), p.pods, networkingv1.NetworkPolicyIngressRule{From: peersOf(r), Ports: p.ports})
	maps.Copy(o.Labels, map[string]string{connectionLabel: r.Mark.UID, ruleLabel: policyName(r.Name)})
	maps.Copy(o.Annotations, map[string]string{
		connectionAnnotation: string(r.Mark.Connection), generationAnnotation: strconv.FormatInt(r.Mark.Generation, 10), nameAnnotation: r.Name,
	})
	return o
}

// closing is the policy that keeps everybody else out of a place: pods that one policy
// selects let in only whom some policy lets in.
func (n *network) closing(p place) *networkingv1.NetworkPolicy {
	// Replicas of a target speak to each other, as the programs of one machine do.
	from := append([]networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: p.siblings}}}, n.allow...)
	o := policyOf(p.namespace, "patchbay-closed-"+hosts.Sum([]byte(p.key()))[:12], p.pods, networkingv1.NetworkPolicyIngressRule{From: from})
	o.Labels[closedLabel] = "true"
	return o
}

// markOf is whose a policy of a rule is.
func markOf(o *networkingv1.NetworkPolicy) driver.Mark {
	generation, _ := strconv.ParseInt(o.Annotations[generationAnnotation], 10, 64)
	return driver.Mark{UID: o.Labels[connectionLabel], Generation: generation, Connection: patchbay.ID(o.Annotations[connectionAnnotation])}
}

// bears reports whether what is there is what we would call so: its mark is that of want.
func bears(have, want *networkingv1.NetworkPolicy) bool {
	return have.Labels[managedLabel] == managedBy && have.Labels[closedLabel] == want.Labels[closedLabel] &&
		have.Labels[connectionLabel] == want.Labels[connectionLabel] && have.Annotations[generationAnnotation] == want.Annotations[generationAnnotation]
}

// exact reports whether a policy does what is wanted, and is found by what it bears.
func exact(have, want *networkingv1.NetworkPolicy) bool {
	within := func(all, some map[string]string) bool {
		for key, value := range some {
			if all[key] != value {
				return false
			}
		}
		return true
	}
	return equality.Semantic.DeepEqual(have.Spec, want.Spec) && within(have.Labels, want.Labels) && within(have.Annotations, want.Annotations)
}

func byName(a, b *networkingv1.NetworkPolicy) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
