package networkpolicy

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// podName is the label that a StatefulSet puts on each of its pods.
const podName = "statefulset.kubernetes.io/pod-name"

// place is where a target is: pods, and the ports of theirs that are spoken to.
type place struct {
	namespace string
	pods      map[string]string // labels
	siblings  map[string]string // labels of the pods that they are some of
	ports     []networkingv1.NetworkPolicyPort
}

func (p place) key() string { return p.namespace + " " + labels.Set(p.pods).String() }

// address is one of a target's servers, in the words of the cluster.
type address struct {
	namespace, service string
	pod                string // one of the Service's, or ""
	port               uint16
	// outside says that it is no name of the cluster's: the guard's registration names
	// the Service, the port may be a node's, and pods find it by the Service's name.
	outside bool
}

// parse reads SERVICE.NAMESPACE.svc:PORT, with a pod's name before it and the cluster's
// domain behind it or without. Anything else is an address of the Service that the guard is registered with.
func (n *network) parse(server string) (address, error) {
	host, text, err := net.SplitHostPort(server)
	port, portErr := strconv.ParseUint(text, 10, 16)
	if err != nil || portErr != nil || port == 0 {
		return address{}, patchbay.Errorf(patchbay.InvalidArgument, "%q is no host and port of a target", driver.Quoted(server))
	}
	a := address{port: uint16(port)}
	words := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	switch {
	case len(words) > 2 && words[2] == "svc":
		a.service, a.namespace = words[0], words[1]
	case len(words) > 3 && words[3] == "svc":
		a.pod, a.service, a.namespace = words[0], words[1], words[2]
	case n.service == "":
		return address{}, patchbay.Errorf(patchbay.NotSupported, "%s is no name in the cluster, so which pods are behind it is not known", driver.Quoted(server)).
			WithFix("register the guard again with --namespace and --service, or the target by SERVICE.NAMESPACE.svc:PORT")
	default:
		return address{namespace: n.Namespace, service: n.service, port: a.port, outside: true}, nil
	}
	for _, name := range []string{a.namespace, a.service} {
		if len(validation.IsDNS1123Label(name)) > 0 {
			return address{}, patchbay.Errorf(patchbay.InvalidArgument, "%s is no name of a Service", driver.Quoted(server))
		}
	}
	if a.pod != "" && len(validation.IsValidLabelValue(a.pod)) > 0 {
		return address{}, patchbay.Errorf(patchbay.InvalidArgument, "%s is no name of a pod", driver.Quoted(server))
	}
	if n.Namespace != "" && a.namespace != n.Namespace {
		return address{}, patchbay.Errorf(patchbay.NotSupported, "%s is in the namespace %s, and the guard is registered for the namespace %s", driver.Quoted(server), a.namespace, n.Namespace).
			WithFix("register another guard for that namespace, or this one without --namespace")
	}
	return a, nil
}

// places are where the servers are, in order.
func (n *network) places(ctx context.Context, servers []string) ([]place, error) {
	if len(servers) == 0 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "an opening is from somewhere to somewhere")
	}
	var all []place
	for _, server := range servers {
		a, err := n.parse(server)
		if err != nil {
			return nil, err
		}
		p, _, err := n.place(ctx, a)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(all, func(had place) bool { return had.key() == p.key() })
		if at < 0 {
			all = append(all, p)
			continue
		}
		all[at].ports = append(all[at].ports, p.ports...)
	}
	for i := range all {
		byPort := func(a, b networkingv1.NetworkPolicyPort) int {
			return strings.Compare(a.Port.String(), b.Port.String())
		}
		slices.SortFunc(all[i].ports, byPort)
		all[i].ports = slices.CompactFunc(all[i].ports, func(a, b networkingv1.NetworkPolicyPort) bool { return *a.Port == *b.Port })
	}
	slices.SortFunc(all, func(a, b place) int { return strings.Compare(a.key(), b.key()) })
	return all, nil
}

// place asks the Service what is behind it. The port is the one that it is reached by under
// its own name.
func (n *network) place(ctx context.Context, a address) (place, uint16, error) {
	var s corev1.Service
	err := n.Core.Get().Namespace(a.namespace).Resource("services").Name(a.service).Do(ctx).Into(&s)
	if apierrors.IsNotFound(err) {
		return place{}, 0, patchbay.Errorf(patchbay.TargetNotFound, "there is no Service %s in the namespace %s", a.service, a.namespace).
			WithFix("kubectl -n %s get services", a.namespace)
	}
	if err != nil {
		return place{}, 0, n.Fault(patchbay.TargetUnreachable, kubeconnect.On("", "services", "get"), err)
	}
	refused := func(format string, args ...any) (place, uint16, error) {
		return place{}, 0, patchbay.Errorf(patchbay.NotSupported, "the Service "+a.service+" of the namespace "+a.namespace+" "+format, args...)
	}
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return refused("is another name of %s, which policies of the cluster do not guard", driver.Quoted(s.Spec.ExternalName))
	case len(s.Spec.Selector) == 0:
		return refused("has no selector: no labels say which pods are behind it")
	}
	p := place{namespace: a.namespace, pods: s.Spec.Selector, siblings: s.Spec.Selector}
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if a.pod != "" {
		if !headless {
			return refused("has no names for single pods: it is not headless")
		}
		p.pods = labels.Merge(p.pods, labels.Set{podName: a.pod})
	}
	var to intstr.IntOrString
	served := a.port
	if headless && !a.outside { // its name is that of the pods themselves, and so are the ports
		to = intstr.FromInt32(int32(a.port))
	} else {
		port := portOf(s.Spec.Ports, a)
		if port == nil {
			has := []string{}
			for _, one := range s.Spec.Ports {
				has = append(has, strconv.Itoa(int(one.Port)))
			}
			return refused("has no port %d of TCP; it has %s", a.port, cmp.Or(strings.Join(has, ", "), "none"))
		}
		to, served = podsPort(*port), uint16(port.Port) // #nosec G115 -- the API server has no others
	}
	tcp := corev1.ProtocolTCP
	p.ports = []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &to}}
	if headless && a.outside {
		var err error
		if served, err = n.numberOf(ctx, p, a); err != nil {
			return place{}, 0, err
		}
	}
	return p, served, nil
}

// numberOf is the port of a headless Service's pods: whoever finds them by its name connects
// to them, and no name of a port helps there.
func (n *network) numberOf(ctx context.Context, p place, a address) (uint16, error) {
	if number := p.ports[0].Port.IntVal; number != 0 {
		return uint16(number), nil // #nosec G115 -- the API server has no others
	}
	pods, err := n.podsOf(ctx, p)
	if err != nil {
		return 0, err
	}
	var found []int
	for _, pod := range pods {
		found = append(found, portIn(pod, p.ports[0]))
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 1 && found[0] != 0 {
		return uint16(found[0]), nil // #nosec G115 -- the API server has no others
	}
	return 0, patchbay.Errorf(patchbay.NotSupported, "the Service %s of the namespace %s is headless, and its pods do not say as one which port %s is", a.service, a.namespace, p.ports[0].Port.StrVal).
		WithFix("give that Service a targetPort that is a number, or register the guard again with another --service")
}

// portOf is which of the Service's ports that is. From outside it may be a node's, or one
// that a load balancer has made of the only one.
func portOf(ports []corev1.ServicePort, a address) *corev1.ServicePort {
	ports = slices.DeleteFunc(slices.Clone(ports), func(p corev1.ServicePort) bool { return p.Protocol != "" && p.Protocol != corev1.ProtocolTCP })
	at := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.Port == int32(a.port) })
	if at < 0 && a.outside {
		at = slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.NodePort == int32(a.port) })
	}
	if at < 0 && a.outside && len(ports) == 1 {
		at = 0
	}
	if at < 0 {
		return nil
	}
	return &ports[at]
}

// podsPort is the port of the pods behind one of the Service's.
func podsPort(p corev1.ServicePort) intstr.IntOrString {
	if p.TargetPort == (intstr.IntOrString{}) {
		return intstr.FromInt32(p.Port)
	}
	return p.TargetPort
}

// guardable fails for pods that no policy applies to.
func (n *network) guardable(ctx context.Context, p place) error {
	list, err := n.podsOf(ctx, p)
	if err != nil {
		return err
	}
	for _, pod := range list {
		if pod.Spec.HostNetwork {
			return patchbay.Errorf(patchbay.NotSupported, "the pod %s of the namespace %s is on its node's network (hostNetwork), and policies do not apply to it", pod.Name, p.namespace).
				WithFix("guard the nodes with another guard, such as nftables, or take hostNetwork out of its specification")
		}
	}
	return nil
}

func (n *network) podsOf(ctx context.Context, p place) ([]corev1.Pod, error) {
	list, err := kubeconnect.PodsIn(n.Cluster, p.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set(p.pods).String(), Limit: 100})
	if err != nil {
		return nil, n.Fault(patchbay.TargetUnreachable, kubeconnect.On("", "pods", "list"), err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil }), nil
}
