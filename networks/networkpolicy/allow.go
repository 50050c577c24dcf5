package networkpolicy

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// namespaceName is the label that Kubernetes itself puts on each namespace.
const namespaceName = "kubernetes.io/metadata.name"

// parseAllow reads what is always let in: an address or prefix, or NAMESPACE/LABELS.
func parseAllow(texts []string) ([]networkingv1.NetworkPolicyPeer, error) {
	var all []networkingv1.NetworkPolicyPeer
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); addrErr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err == nil {
			all = append(all, block(p))
			continue
		}
		peer, ok := parsePods(text)
		if !ok {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q in allow is nobody that a policy can let in", driver.Quoted(text)).
				WithFix("give NAMESPACE/LABEL=VALUE, as in monitoring/app=prometheus, NAMESPACE/ for all of its pods, or a prefix such as 10.0.9.0/24")
		}
		all = append(all, peer)
	}
	return sortedPeers(all), nil
}

// parsePods reads NAMESPACE/LABEL=VALUE+LABEL=VALUE. A label may have a slash, a
// namespace has none.
func parsePods(text string) (networkingv1.NetworkPolicyPeer, bool) {
	namespace, rest, ok := strings.Cut(text, "/")
	if !ok || len(validation.IsDNS1123Label(namespace)) > 0 {
		return networkingv1.NetworkPolicyPeer{}, false
	}
	if rest == "" {
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: inNamespace(namespace)}, true
	}
	labels := map[string]string{}
	for one := range strings.SplitSeq(rest, "+") {
		name, value, ok := strings.Cut(one, "=")
		if !ok || len(validation.IsQualifiedName(name)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return networkingv1.NetworkPolicyPeer{}, false
		}
		labels[name] = value
	}
	return pods(namespace, labels), true
}

func inNamespace(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{namespaceName: name}}
}

// pods are those of a namespace that bear the labels.
func pods(namespace string, labels map[string]string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: inNamespace(namespace), PodSelector: &metav1.LabelSelector{MatchLabels: labels}}
}

// block is who comes from there. An IPv4 address in IPv6's clothes is written as what it
// is: the API server refuses it otherwise.
func block(p netip.Prefix) networkingv1.NetworkPolicyPeer {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: p.Masked().String()}}
}
