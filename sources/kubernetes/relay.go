package kubernetes

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

const relayLabel = kubeconnect.RelayLabel

// relayNeeds are the rights that speaking from a pod takes, besides a connection's.
func (k *kind) relayNeeds() []right {
	all := append(kubeconnect.RelayNeeds(), on("", "services", "list"))
	if k.name == "DaemonSet" {
		all = append(all, on("", "namespaces", "get"))
	}
	return all
}

// DialerLimit implements [driver.Starter].
func (s *source) DialerLimit() time.Duration {
	if s.relayImage == "" {
		return 0
	}
	return s.limit + driver.DefaultTimeout
}

// Dialer implements [driver.Vantage]: it speaks from a pod of our own, which policies
// take for one of the workload's, and nothing else does.
func (s *source) Dialer(ctx context.Context) (driver.ClosingDialer, error) {
	if s.relayImage == "" {
		return nil, patchbay.Errorf(patchbay.NotSupported, "only what runs in a pod speaks from its network, and Patchbay may start none: no image for it is registered").
			WithFix("register the source again with --relay-image and an image of Patchbay that the cluster can pull")
	}
	relays := s.relays()
	relays.Sweep(ctx)
	pod, err := s.relayPod(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.unserved(ctx, pod.Labels); err != nil {
		return nil, err
	}
	from, err := relays.Start(ctx, pod)
	if err != nil {
		return nil, err
	}
	return from, nil
}

func (s *source) relays() *kubeconnect.Relays {
	return &kubeconnect.Relays{Asker: s.asker(), Image: s.relayImage, Key: s.relayKey(), Limit: s.limit, Poll: s.poll, Dials: s.dials}
}

// relayKey is the source, as the value of a label.
func (s *source) relayKey() string { return sum([]byte(strings.ToLower(string(s.id)))) }

// unserved refuses labels whose pods get traffic although they are not ready.
func (s *source) unserved(ctx context.Context, of map[string]string) error {
	var list corev1.ServiceList
	if err := s.core.Get().Namespace(s.namespace).Resource("services").Do(ctx).Into(&list); err != nil {
		return s.fault(patchbay.NotSupported, on("", "services", "list"), err)
	}
	for _, service := range list.Items {
		if service.Spec.PublishNotReadyAddresses && len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(of)) {
			return s.relays().NoRelay("the Service %s sends traffic to pods that are not ready (publishNotReadyAddresses), and one with the workload's labels would get it", service.Name)
		}
	}
	return nil
}

// relayPod is the pod to make: for policies, quotas and the node it is as one of the
// workload's, with the least that a program may have. Of several workloads it is as one
// of the first that runs.
func (s *source) relayPod(ctx context.Context) (*corev1.Pod, error) {
	workloads, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	w, node := workloads[0], ""
	for _, one := range workloads {
		pods, err := s.podsOf(ctx, one)
		if err != nil {
			return nil, s.fault(patchbay.NotSupported, on("", "pods", "list"), err)
		}
		at := slices.IndexFunc(pods, func(p corev1.Pod) bool {
			return p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && p.Spec.NodeName != ""
		})
		if at >= 0 {
			w, node = one, pods[at].Spec.NodeName
			break
		}
	}
	owner, err := s.relayOwner(ctx, w)
	if err != nil {
		return nil, err
	}
	t := w.template.Spec
	pod := s.relays().Pod()
	mine := pod.Labels
	pod.Labels = maps.Clone(w.template.Labels)
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	// On the node of one that runs, past the scheduler: rules that keep the workload's
	// pods apart would keep this one away.
	p := &pod.Spec
	p.NodeName, p.NodeSelector, p.Tolerations, p.SchedulerName, p.RuntimeClassName = node, t.NodeSelector, t.Tolerations, t.SchedulerName, t.RuntimeClassName
	p.ServiceAccountName, p.ImagePullSecrets = t.ServiceAccountName, t.ImagePullSecrets
	p.HostNetwork, p.DNSPolicy, p.DNSConfig, p.HostAliases = t.HostNetwork, t.DNSPolicy, t.DNSConfig, t.HostAliases
	if t.Affinity != nil && t.Affinity.NodeAffinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: t.Affinity.NodeAffinity}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	maps.Copy(pod.Labels, mine)
	return pod, nil
}

// relayOwner is what the pod is of, so that it goes with it, and that no controller takes
// the pod for one of its own. A ReplicaSet leaves alone what is a Deployment's, and a
// PodDisruptionBudget counts it rightly; a StatefulSet knows its pods by their names; what
// selects a Job's pods is no label of its template. A DaemonSet alone would take any that
// nobody controls, and keep one a node: there the namespace does.
func (s *source) relayOwner(ctx context.Context, w *workload) (metav1.OwnerReference, error) {
	yes := true
	owner := metav1.OwnerReference{APIVersion: w.kind.group + "/v1", Kind: w.kind.name, Name: w.Name, UID: w.UID}
	switch w.kind.name {
	case "Deployment":
		owner.Controller = &yes
	case "DaemonSet":
		var n corev1.Namespace
		if err := s.core.Get().Resource("namespaces").Name(s.namespace).Do(ctx).Into(&n); err != nil {
			return metav1.OwnerReference{}, s.fault(patchbay.NotSupported, on("", "namespaces", "get"), err)
		}
		owner = metav1.OwnerReference{APIVersion: "v1", Kind: "Namespace", Name: n.Name, UID: n.UID, Controller: &yes}
	}
	return owner, nil
}
