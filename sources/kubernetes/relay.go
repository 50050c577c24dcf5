package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/relay"
)

const (
	// relayLabel is on every pod that relays; it tells those of one source from others.
	relayLabel = "patchbay.dev/relay"
	// relayGate keeps such a pod from ever being ready, so that no Service sends it
	// anything.
	relayGate = "patchbay.dev/takes-no-traffic"
	// relayName is its container.
	relayName = "relay"
	// relayUser is nobody.
	relayUser = 65534
)

// relayNeeds are the rights that speaking from a pod takes, besides a connection's.
func (k *kind) relayNeeds() []right {
	all := slices.Concat(
		rightsOn("", "pods", "list", "get", "create", "delete"),
		rightsOn("", "pods/attach", "get", "create"), // a server asks for the one, a later one for both
		rightsOn("", "events", "list"),
		rightsOn("", "services", "list"))
	if k.name == "DaemonSet" {
		all = append(all, right{"", "namespaces", "get"})
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
	s.sweep(ctx)
	pod, err := s.relayPod(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.unserved(ctx, pod.Labels); err != nil {
		return nil, err
	}
	made, err := s.pods.Create(ctx, pod, metav1.CreateOptions{FieldManager: "patchbay.dev/relay"})
	if err != nil {
		return nil, s.fault(patchbay.NotSupported, right{"", "pods", "create"}, err)
	}
	end := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return s.endRelay(ctx, made, 1)
	}
	remote, err := s.speakTo(ctx, made)
	if err != nil {
		_ = end() // the next one sweeps
		return nil, err
	}
	return &relay.Dialer{Network: &relayed{remote, end}, Control: s.dials.Control}, nil
}

// relayed is a pod's network.
type relayed struct {
	*relay.Remote
	end func() error
}

func (r *relayed) Close() error {
	_ = r.Remote.Close() // its pod is what counts
	return r.end()
}

// speakTo waits until the pod runs, and speaks to it. From then on it is a pod that is
// being deleted, and goes as soon as it ends, which it does when nobody speaks to it any
// more, whatever becomes of this process.
func (s *source) speakTo(ctx context.Context, pod *corev1.Pod) (*relay.Remote, error) {
	pod, err := s.relayUp(ctx, pod)
	if err != nil {
		return nil, err
	}
	attached, err := s.attach(ctx, pod.Name, relayName)
	if err != nil {
		return nil, s.fault(patchbay.NotSupported, right{"", "pods/attach", "create"}, err)
	}
	opening, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	remote, err := relay.Open(opening, attached)
	switch {
	case errors.Is(err, relay.ErrSilent):
		return nil, s.noRelay("the program of the image %s does not relay: it is to be an image of Patchbay, of this release", s.relayImage)
	case ctx.Err() != nil:
		return nil, interrupted(ctx.Err())
	case err != nil:
		return nil, s.noRelay("the program of the image %s does not answer: it is to be an image of Patchbay, of this release", s.relayImage)
	}
	if len(pod.Spec.Containers) == 1 { // others', which were put into it, would end right now
		if err := s.endRelay(ctx, pod, int64(relay.Life/time.Second)); err != nil {
			_ = remote.Close()
			return nil, err
		}
	}
	return remote, nil
}

func (s *source) noRelay(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotSupported, "nobody can speak from a pod's network: "+format, args...)
}

// relayUp waits until the relay runs, for as long as a start may take.
func (s *source) relayUp(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	l := look{since: map[string]time.Time{}}
	l.why = "the API server does not answer"
	for {
		now, err := s.pods.Get(ctx, pod.Name, metav1.GetOptions{})
		switch {
		case missing(err):
			return nil, s.noRelay("somebody deleted the pod %s", pod.Name)
		case err == nil:
			pod = now
			l.why = fmt.Sprintf("the pod %s is not started", pod.Name)
			bad, _, lasting := trouble(*pod)
			switch started := relayStatus(pod); {
			case started != nil && started.Running != nil:
				return pod, nil
			case started != nil && started.Terminated != nil:
				return nil, s.noRelay("the program of the image %s ends at once, with exit code %d: it is to be an image of Patchbay", s.relayImage, started.Terminated.ExitCode)
			case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
				return nil, s.stuckRelay(ctx, pod, "the pod "+pod.Name+" is not let run ("+driver.Quoted(cmp.Or(pod.Status.Reason, string(pod.Status.Phase)))+")")
			case bad != "" && (lasting || l.persists(bad)):
				return nil, s.stuckRelay(ctx, pod, "the pod "+pod.Name+" "+bad)
			case bad != "":
				l.why = "the pod " + pod.Name + " " + bad
			}
		case ctx.Err() == nil:
			if e := patchbay.AsError(s.fault(patchbay.NotSupported, right{"", "pods", "get"}, err)); !e.Transient {
				return nil, e
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return nil, interrupted(context.Canceled)
			}
			return nil, s.stuckRelay(context.WithoutCancel(ctx), pod, fmt.Sprintf("after %s %s", s.limit, l.why))
		case <-time.After(s.poll):
		}
	}
}

// stuckRelay is the error of a pod that does not come up, with what its events say.
func (s *source) stuckRelay(ctx context.Context, pod *corev1.Pod, what string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e := s.noRelay("%s", what)
	if words := driver.LastWords(s.eventsOf(ctx, pod), nil); words != "" { // nothing of a connection is in it
		e.Message += "; Kubernetes says: " + words
	}
	return e
}

// relayStatus is the state of the relay's container, nil when there is none yet.
func relayStatus(pod *corev1.Pod) *corev1.ContainerState {
	for i, c := range pod.Status.ContainerStatuses {
		if c.Name == relayName {
			return &pod.Status.ContainerStatuses[i].State
		}
	}
	return nil
}

// endRelay deletes the pod, which has so many seconds to end by itself.
func (s *source) endRelay(ctx context.Context, pod *corev1.Pod, seconds int64) error {
	uid := pod.UID
	err := s.pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &seconds, Preconditions: &metav1.Preconditions{UID: &uid}})
	if missing(err) || apierrors.IsConflict(err) { // it is gone, or another one
		return nil
	}
	return s.fault(patchbay.NotSupported, right{"", "pods", "delete"}, err)
}

// sweep deletes what processes left that died before their pod was being deleted:
// pods that have ended, or never will. It is tried; the next one tries again.
func (s *source) sweep(ctx context.Context) {
	list, err := s.pods.List(ctx, metav1.ListOptions{LabelSelector: relayLabel + "=" + s.relayKey()})
	if err != nil {
		return
	}
	for i, pod := range list.Items {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if ended || time.Since(pod.CreationTimestamp.Time) > 2*relay.Life {
			_ = s.endRelay(ctx, &list.Items[i], 1)
		}
	}
}

// relayKey is the source, as the value of a label.
func (s *source) relayKey() string { return sum([]byte(strings.ToLower(string(s.id)))) }

// unserved refuses labels whose pods get traffic although they are not ready.
func (s *source) unserved(ctx context.Context, of map[string]string) error {
	var list corev1.ServiceList
	if err := s.core.Get().Namespace(s.namespace).Resource("services").Do(ctx).Into(&list); err != nil {
		return s.fault(patchbay.NotSupported, right{"", "services", "list"}, err)
	}
	for _, service := range list.Items {
		if service.Spec.PublishNotReadyAddresses && len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(of)) {
			return s.noRelay("the Service %s sends traffic to pods that are not ready (publishNotReadyAddresses), and one with the workload's labels would get it", service.Name)
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
			return nil, s.fault(patchbay.NotSupported, right{"", "pods", "list"}, err)
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
	no, yes, user := false, true, int64(relayUser)
	life := int64(relay.Life / time.Second)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "patchbay-relay-", Namespace: s.namespace,
			Labels: maps.Clone(w.template.Labels), OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: relayName, Image: s.relayImage, Args: []string{relay.Command}, Stdin: true, StdinOnce: true,
				Resources: corev1.ResourceRequirements{
					Requests: amounts("10m", "32Mi"),
					Limits:   amounts("500m", "128Mi"),
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &life,
			ReadinessGates:               []corev1.PodReadinessGate{{ConditionType: relayGate}},
			AutomountServiceAccountToken: &no, EnableServiceLinks: &no,

			// On the node of one that runs, past the scheduler: rules that keep the
			// workload's pods apart would keep this one away.
			NodeName: node, NodeSelector: t.NodeSelector, Tolerations: t.Tolerations, SchedulerName: t.SchedulerName, RuntimeClassName: t.RuntimeClassName,
			ServiceAccountName: t.ServiceAccountName, ImagePullSecrets: t.ImagePullSecrets,
			HostNetwork: t.HostNetwork, DNSPolicy: t.DNSPolicy, DNSConfig: t.DNSConfig, HostAliases: t.HostAliases,
		},
	}
	if t.Affinity != nil && t.Affinity.NodeAffinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: t.Affinity.NodeAffinity}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[relayLabel] = s.relayKey()
	return pod, nil
}

// amounts are of what a quota usually asks for. No disk: nodes that don't count it have
// none to give.
func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
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
			return metav1.OwnerReference{}, s.fault(patchbay.NotSupported, right{"", "namespaces", "get"}, err)
		}
		owner = metav1.OwnerReference{APIVersion: "v1", Kind: "Namespace", Name: n.Name, UID: n.UID, Controller: &yes}
	}
	return owner, nil
}
