package kubeconnect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/gentype"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/relay"
)

const (
	// RelayLabel is on every pod that relays; it tells those of one registration from
	// others.
	RelayLabel = "patchbay.dev/relay"
	// relayGate keeps such a pod from ever being ready, so that no Service sends it
	// anything.
	relayGate = "patchbay.dev/takes-no-traffic"
	// relayName is its container.
	relayName = "relay"
	// relayUser is nobody.
	relayUser = 65534
)

// Patience is how long something may be wrong that often mends itself: a Secret
// that the node has not seen yet, a node that is being added.
const Patience = 5 * time.Second

// ImageName is what a kubelet is told; which ones it takes is its to say.
var ImageName = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._:/@-]{0,511}$`)

// RelayNeeds are the rights that relaying takes.
func RelayNeeds() []Right {
	return slices.Concat(
		RightsOn("", "pods", "list", "get", "create", "delete"),
		RightsOn("", "pods/attach", "get", "create"), // a server asks for the one, a later one for both
		RightsOn("", "events", "list"))
}

// Relays are pods of ours in one namespace, from which others are reached. Each is
// there for as long as somebody speaks to it.
type Relays struct {
	Asker
	Image string
	Key   string        // whose they are, as the value of a label
	Limit time.Duration // for a start
	Poll  time.Duration // between two looks at one
	Dials hosts.DialRules
}

func (r *Relays) pods() *gentype.ClientWithList[*corev1.Pod, *corev1.PodList] {
	return PodsIn(r.Cluster, r.Namespace)
}

// PodsIn is a client of the pods in a namespace.
func PodsIn(c *Cluster, namespace string) *gentype.ClientWithList[*corev1.Pod, *corev1.PodList] {
	return gentype.NewClientWithList("pods", c.Core, c.types.Parameters, namespace,
		func() *corev1.Pod { return &corev1.Pod{} }, func() *corev1.PodList { return &corev1.PodList{} })
}

// EventsIn is a client of the events in a namespace.
func EventsIn(c *Cluster, namespace string) *gentype.ClientWithList[*corev1.Event, *corev1.EventList] {
	return gentype.NewClientWithList("events", c.Core, c.types.Parameters, namespace,
		func() *corev1.Event { return &corev1.Event{} }, func() *corev1.EventList { return &corev1.EventList{} })
}

// Pod is one to start, with the least that a program may have. Its caller adds what makes
// it like others.
func (r *Relays) Pod() *corev1.Pod {
	no, yes, user := false, true, int64(relayUser)
	life := int64(relay.Life / time.Second)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "patchbay-relay-", Namespace: r.Namespace, Labels: map[string]string{RelayLabel: r.Key}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: relayName, Image: r.Image, Args: []string{relay.Command}, Stdin: true, StdinOnce: true,
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
		},
	}
}

// Start starts a pod, and gives what speaks from it until it is closed; ctx bounds the
// start alone.
func (r *Relays) Start(ctx context.Context, pod *corev1.Pod) (*relay.Dialer, error) {
	made, err := r.pods().Create(ctx, pod, metav1.CreateOptions{FieldManager: "patchbay.dev/relay"})
	if err != nil {
		return nil, r.Fault(patchbay.NotSupported, On("", "pods", "create"), err)
	}
	end := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return r.end(ctx, made, 1)
	}
	remote, err := r.speakTo(ctx, made)
	if err != nil {
		_ = end() // the next one sweeps
		return nil, err
	}
	return &relay.Dialer{Network: &Relayed{remote, end}, Control: r.Dials.Control}, nil
}

// Relayed is a pod's network.
type Relayed struct {
	*relay.Remote
	end func() error
}

// Close ends the pod.
func (r *Relayed) Close() error {
	_ = r.Remote.Close() // its pod is what counts
	return r.end()
}

// speakTo waits until the pod runs, and speaks to it. From then on it is a pod that is
// being deleted, and goes as soon as it ends, which it does when nobody speaks to it any
// more, whatever becomes of this process.
func (r *Relays) speakTo(ctx context.Context, pod *corev1.Pod) (*relay.Remote, error) {
	pod, err := r.up(ctx, pod)
	if err != nil {
		return nil, err
	}
	attached, err := r.attach(ctx, r.Namespace, pod.Name, relayName)
	if err != nil {
		return nil, r.Fault(patchbay.NotSupported, On("", "pods/attach", "create"), err)
	}
	opening, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	remote, err := relay.Open(opening, attached)
	switch {
	case errors.Is(err, relay.ErrSilent):
		return nil, r.NoRelay("the program of the image %s does not relay: it is to be an image of Patchbay, of this release", r.Image)
	case ctx.Err() != nil:
		return nil, Interrupted(ctx.Err())
	case err != nil:
		return nil, r.NoRelay("the program of the image %s does not answer: it is to be an image of Patchbay, of this release", r.Image)
	}
	if len(pod.Spec.Containers) == 1 { // others', which were put into it, would end right now
		if err := r.end(ctx, pod, int64(relay.Life/time.Second)); err != nil {
			_ = remote.Close()
			return nil, err
		}
	}
	return remote, nil
}

// NoRelay is the refusal of what can't be spoken from.
func (r *Relays) NoRelay(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotSupported, "nobody can speak from a pod's network: "+format, args...)
}

// up waits until the relay runs, for as long as a start may take.
func (r *Relays) up(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	why := "the API server does not answer"
	since := map[string]time.Time{}
	persists := func(what string) bool {
		if since[what].IsZero() {
			since[what] = time.Now()
		}
		return time.Since(since[what]) >= Patience
	}
	for {
		now, err := r.pods().Get(ctx, pod.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, r.NoRelay("somebody deleted the pod %s", pod.Name)
		case err == nil:
			pod = now
			why = fmt.Sprintf("the pod %s is not started", pod.Name)
			bad, _, lasting := Trouble(*pod)
			switch started := relayStatus(pod); {
			case started != nil && started.Running != nil:
				return pod, nil
			case started != nil && started.Terminated != nil:
				return nil, r.NoRelay("the program of the image %s ends at once, with exit code %d: it is to be an image of Patchbay", r.Image, started.Terminated.ExitCode)
			case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
				return nil, r.stuck(ctx, pod, "the pod "+pod.Name+" is not let run ("+driver.Quoted(cmp.Or(pod.Status.Reason, string(pod.Status.Phase)))+")")
			case bad != "" && (lasting || persists(bad)):
				return nil, r.stuck(ctx, pod, "the pod "+pod.Name+" "+bad)
			case bad != "":
				why = "the pod " + pod.Name + " " + bad
			}
		case ctx.Err() == nil:
			if e := patchbay.AsError(r.Fault(patchbay.NotSupported, On("", "pods", "get"), err)); !e.Transient {
				return nil, e
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return nil, Interrupted(context.Canceled)
			}
			return nil, r.stuck(context.WithoutCancel(ctx), pod, fmt.Sprintf("after %s %s", r.Limit, why))
		case <-time.After(r.Poll):
		}
	}
}

// stuck is the error of a pod that does not come up, with what its events say.
func (r *Relays) stuck(ctx context.Context, pod *corev1.Pod, what string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e := r.NoRelay("%s", what)
	if words := driver.LastWords(EventsOf(ctx, r.Cluster, pod), nil); words != "" { // nothing of a connection is in it
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

// end deletes the pod, which has so many seconds to end by itself.
func (r *Relays) end(ctx context.Context, pod *corev1.Pod, seconds int64) error {
	uid := pod.UID
	err := r.pods().Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &seconds, Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // it is gone, or another one
		return nil
	}
	return r.Fault(patchbay.NotSupported, On("", "pods", "delete"), err)
}

// Sweep deletes what processes left that died before their pod was being deleted:
// pods that have ended, or never will. It is tried; the next one tries again.
func (r *Relays) Sweep(ctx context.Context) {
	list, err := r.pods().List(ctx, metav1.ListOptions{LabelSelector: RelayLabel + "=" + r.Key})
	if err != nil {
		return
	}
	for i, pod := range list.Items {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if ended || time.Since(pod.CreationTimestamp.Time) > 2*relay.Life {
			_ = r.end(ctx, &list.Items[i], 1)
		}
	}
}

// amounts are of what a quota usually asks for. No disk: nodes that don't count it have
// none to give.
func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// Trouble is what keeps a pod from coming up, in words, and the container that has
// crashed; lasting when it does not mend itself.
func Trouble(pod corev1.Pod) (what, crashed string, lasting bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return "can't be scheduled", "", false
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		wait := c.State.Waiting
		if wait == nil || strings.HasPrefix(wait.Message, "failed to sync ") { // the node waits for the API server
			continue
		}
		switch wait.Reason {
		case "CrashLoopBackOff":
			ended := ""
			if t := c.LastTerminationState.Terminated; t != nil {
				ended = fmt.Sprintf(" (exit code %d)", t.ExitCode)
				if t.Reason == "OOMKilled" {
					ended = " (it was out of memory)"
				}
			}
			return "crash-loops in its container " + c.Name + ended, c.Name, true
		case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return "can't get the image of its container " + c.Name + " (" + wait.Reason + ")", "", true
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return "can't start its container " + c.Name + " (" + wait.Reason + ")", "", false
		}
	}
	return "", "", false
}

// EventsOf are the last warnings about a pod, one a line.
func EventsOf(ctx context.Context, c *Cluster, pod *corev1.Pod) []byte {
	list, err := EventsIn(c, pod.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)})
	if err != nil {
		return nil
	}
	at := func(e corev1.Event) time.Time {
		if e.LastTimestamp.IsZero() {
			return e.EventTime.Time
		}
		return e.LastTimestamp.Time
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return at(a).Compare(at(b)) })
	var lines []string
	for _, e := range list.Items {
		if e.Type == corev1.EventTypeWarning && !slices.Contains(lines, e.Message) {
			lines = append(lines, e.Message)
		}
	}
	return []byte(strings.Join(lines[max(0, len(lines)-2):], "\n"))
}
