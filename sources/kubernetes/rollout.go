package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

const patience = kubeconnect.Patience

// RestartLimit implements [driver.Restarter].
func (s *source) RestartLimit() time.Duration { return s.limit + s.steady + 30*time.Second }

// Restart implements [driver.Restarter]. A change of the template has begun the
// rollout already, so nothing is restarted here that has the settings: Kubernetes
// is waited for. It is asked again and again rather than watched: a watch that
// ends, and a server that restarts, are then nothing special.
func (s *source) Restart(ctx context.Context) error {
	workloads, err := s.find(ctx)
	if err != nil {
		return err
	}
	if s.kind.name == "CronJob" {
		return s.awaitRuns(ctx, workloads)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range workloads {
		group.Go(func() error { return s.await(ctx, w.Name) })
	}
	return group.Wait()
}

// await waits until the pods of a workload are up with its template, and stay so.
func (s *source) await(ctx context.Context, name string) error {
	l := look{since: map[string]time.Time{}}
	ends := time.Now().Add(s.limit)
	var upSince time.Time
	var restarts int32
	for {
		w, pods, err := s.lookAt(ctx, name)
		switch {
		case missing(err):
			return patchbay.Errorf(patchbay.SourceNotFound, "%s %s is gone", s.kind.name, name)
		case ctx.Err() != nil:
			return kubeconnect.Interrupted(ctx.Err())
		case err != nil:
			l.why = "the API server does not answer"
			if e := patchbay.AsError(s.fault(patchbay.RestartFailed, s.does("get"), err)); !e.Transient {
				return e
			}
			upSince = time.Time{}
		default:
			verdict := l.judge(w, pods)
			if verdict.failed != "" {
				return s.failed(ctx, w, verdict)
			}
			if verdict.stopped {
				return nil
			}
			if err := s.nudge(ctx, w, verdict); err != nil {
				return err
			}
			if !verdict.up || verdict.restarts != restarts {
				upSince, restarts = time.Time{}, verdict.restarts
			}
			if verdict.up && upSince.IsZero() {
				upSince = time.Now()
			}
			if verdict.up && time.Since(upSince) >= s.steady && (!verdict.ending || time.Now().After(ends)) {
				return nil
			}
			if upSince.IsZero() && time.Now().After(ends) {
				verdict.failed = fmt.Sprintf("it is not up after %s: %s", s.limit, l.why)
				return s.failed(ctx, w, verdict)
			}
		}
		if upSince.IsZero() && time.Now().After(ends) {
			return patchbay.Errorf(patchbay.RestartFailed, "%s %s is not known to be up after %s: %s", s.kind.name, name, s.limit, l.why)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.poll):
		}
	}
}

// awaitRuns waits for the runs of a CronJob that have what its next one has not any
// more, as long as the registration says. A longer one nobody can wait for: it may take
// its whole night.
func (s *source) awaitRuns(ctx context.Context, workloads []*workload) error {
	for ends := time.Now().Add(s.limit); time.Now().Before(ends); {
		list, err := s.pods.List(ctx, metav1.ListOptions{})
		if ctx.Err() != nil {
			return kubeconnect.Interrupted(ctx.Err())
		}
		if e := patchbay.AsError(s.fault(patchbay.RestartFailed, on("", "pods", "list"), err)); err != nil && !e.Transient {
			return e
		}
		if err == nil && !slices.ContainsFunc(list.Items, func(pod corev1.Pod) bool {
			return slices.ContainsFunc(workloads, func(w *workload) bool { return runs(pod, w) && hasMore(pod.Spec, w.template.Spec) })
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.poll):
		}
	}
	return nil
}

// runs reports whether a pod is at work for a CronJob: its Jobs have its name before
// their own.
func runs(pod corev1.Pod, of *workload) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed &&
		slices.ContainsFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool {
			return o.Kind == "Job" && strings.HasPrefix(o.Name, of.Name+"-")
		})
}

func (s *source) lookAt(ctx context.Context, name string) (*workload, []corev1.Pod, error) {
	w, err := s.kind.get(ctx, s.cluster, name)
	if err != nil {
		return nil, nil, err
	}
	pods, err := s.podsOf(ctx, w)
	return w, pods, err
}

// podsOf are the pods of a workload, without those that we speak from.
func (s *source) podsOf(ctx context.Context, w *workload) ([]corev1.Pod, error) {
	if w.selector == nil {
		return nil, nil
	}
	list, err := s.pods.List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(w.selector)})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Labels[relayLabel] != "" }), nil
}

// look remembers what was wrong since when.
type look struct {
	since map[string]time.Time
	why   string // it is not up yet
}

// verdict is how far a rollout is.
type verdict struct {
	up       bool
	stopped  bool   // there is nothing to wait for
	failed   string // it will not come up
	pod      *corev1.Pod
	crashed  string // the container to ask for the last words of its run before
	running  string // or of this one
	restarts int32
	behind   []corev1.Pod // pods that have not read the settings
	stuck    []corev1.Pod // those of them that are no use
	ending   bool         // a pod that goes still has what nobody else has any more
}

// persists reports whether something is wrong for longer than patience.
func (l *look) persists(what string) bool {
	if l.since[what].IsZero() {
		l.since[what] = time.Now()
	}
	return time.Since(l.since[what]) >= patience
}

func (l *look) judge(w *workload, pods []corev1.Pod) verdict {
	var v verdict
	r := w.rollout
	if r.observed < w.Generation {
		l.why = "its controller has not seen the change"
		return v
	}
	if r.desired == 0 {
		v.stopped = true
		return v
	}
	current := 0
	for i, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		if pod.DeletionTimestamp != nil {
			v.ending = v.ending || l.ends(pod, w.template.Spec)
			continue
		}
		bad, at, lasting := kubeconnect.Trouble(pod)
		if !sameSettings(pod.Spec, w.template.Spec) {
			v.behind = append(v.behind, pod)
			if bad != "" {
				v.stuck = append(v.stuck, pod)
			}
			continue
		}
		current++
		for _, c := range pod.Status.ContainerStatuses {
			v.restarts += c.RestartCount
		}
		if bad != "" && (lasting || l.persists(string(pod.UID)+bad)) {
			v.failed, v.pod, v.crashed = fmt.Sprintf("the pod %s %s", pod.Name, bad), &pods[i], at
			return v
		}
	}
	slices.SortFunc(v.behind, func(a, b corev1.Pod) int { return cmp.Compare(ordinal(b), ordinal(a)) })
	if held := int(r.held); held > 0 {
		v.behind = slices.DeleteFunc(v.behind, func(p corev1.Pod) bool { return ordinal(p) >= 0 && ordinal(p) < held })
		v.stuck = slices.DeleteFunc(v.stuck, func(p corev1.Pod) bool { return ordinal(p) >= 0 && ordinal(p) < held })
	}
	switch {
	case r.paused && len(v.behind) > 0:
		v.failed = fmt.Sprintf("it is paused, and %d of its pods run with other settings", len(v.behind))
		return v
	case r.paused:
		v.up = true
		return v
	case r.stalled != "" && l.persists("stalled "+r.stalled):
		v.failed = driver.Quoted(r.stalled)
	}
	v.up = len(v.behind) == 0 && r.updated >= r.desired-r.held && r.ready >= r.desired && r.present == r.desired
	l.why = fmt.Sprintf("of %d pods, %d have the new settings and %d are ready", r.desired, current, r.ready)
	for i, pod := range pods {
		if v.up || v.failed != "" || pod.DeletionTimestamp != nil || !sameSettings(pod.Spec, w.template.Spec) {
			continue
		}
		for _, c := range pod.Status.ContainerStatuses {
			if !c.Ready && c.State.Running != nil {
				v.pod, v.running = &pods[i], c.Name
				l.why = fmt.Sprintf("the container %s of the pod %s runs, and is not ready", c.Name, pod.Name)
			}
		}
	}
	return v
}

// ends reports whether a pod that was told to end still runs with what is revoked next:
// its application may sign in until the last moment. Kubernetes counts such a pod
// nowhere. A node that is gone ends none: a pod is waited for as long as it was given.
func (l *look) ends(pod corev1.Pod, template corev1.PodSpec) bool {
	if !hasMore(pod.Spec, template) {
		return false
	}
	given := 30 * time.Second // Kubernetes' own default
	if g := pod.DeletionGracePeriodSeconds; g != nil {
		given = time.Duration(*g) * time.Second
	}
	what := "ends " + string(pod.UID)
	if l.since[what].IsZero() {
		l.since[what] = time.Now()
	}
	return time.Since(l.since[what]) < given+patience
}

// hasMore reports whether a pod was made with a Secret of ours that the template does not
// have any more.
func hasMore(pod, template corev1.PodSpec) bool {
	has := map[string]bool{}
	for _, c := range claims(template) {
		maps.Copy(has, c.secrets())
	}
	for _, c := range claims(pod) {
		for name := range c.secrets() {
			if !has[name] {
				return true
			}
		}
	}
	return false
}

// sameSettings reports whether a pod was made with what connections have in the
// template: what it has read at its start can't have changed since.
func sameSettings(pod, template corev1.PodSpec) bool {
	return reflect.DeepEqual(claims(pod), claims(template))
}

// ordinal is a StatefulSet's pod's number, -1 of any other.
func ordinal(pod corev1.Pod) int {
	n, err := strconv.Atoi(pod.Labels["apps.kubernetes.io/pod-index"])
	if err != nil {
		return -1
	}
	return n
}

// nudge deletes pods where their controller does not: with the update strategy
// OnDelete one after the other, and those of a StatefulSet that never came up. It
// waits for those even when the template that they can't start with is gone.
func (s *source) nudge(ctx context.Context, w *workload, v verdict) error {
	var pod corev1.Pod
	r := w.rollout
	switch {
	case len(v.stuck) > 0 && (s.kind.name == "StatefulSet" || r.byHand):
		pod = v.stuck[0]
	case r.byHand && len(v.behind) > 0 && r.ready >= r.desired && r.present == r.desired:
		pod = v.behind[0]
	default:
		return nil
	}
	err := s.pods.Delete(ctx, pod.Name, preconditions(pod.ObjectMeta))
	if err == nil || missing(err) || apierrors.IsConflict(err) {
		return nil
	}
	if e := patchbay.AsError(s.fault(patchbay.RestartFailed, on("", "pods", "delete"), err)); !e.Transient {
		return e
	}
	return nil
}

// failed is the error of a rollout, with what the pod's events and its container
// last said.
func (s *source) failed(ctx context.Context, w *workload, v verdict) error {
	e := patchbay.Errorf(patchbay.RestartFailed, "%s did not come up: %s", w.called(), v.failed).
		WithFix("kubectl -n %s describe %s", s.namespace, w.called())
	if v.pod == nil {
		return e
	}
	e.Fix = fmt.Sprintf("kubectl -n %s describe pod %s", s.namespace, v.pod.Name)
	settings, err := s.ReadSettings(ctx)
	if err != nil {
		return e // nothing to compare its words with, so nothing is shown
	}
	container := cmp.Or(v.crashed, v.running)
	if container != "" {
		log, err := s.logs(ctx, v.pod.Name, container, v.crashed != "")
		if words := driver.LastWords(log, settings.Settings); err == nil && words != "" {
			e.Message += "; it last said: " + words
		}
		e.Fix = strings.TrimSpace(fmt.Sprintf("kubectl -n %s logs %s -c %s %s", s.namespace, v.pod.Name, container, map[bool]string{true: "--previous"}[v.crashed != ""]))
	}
	if words := driver.LastWords(kubeconnect.EventsOf(ctx, s.Cluster, v.pod), settings.Settings); words != "" {
		e.Message += "; Kubernetes says: " + words
	}
	return e
}

// Egress implements [driver.Vantage]: the addresses of its pods, and of the nodes
// that they are on, whose address they have outside of the cluster.
func (s *source) Egress(ctx context.Context, _ netip.Addr) ([]netip.Prefix, error) {
	if len(s.egress) > 0 {
		return slices.Clone(s.egress), nil
	}
	workloads, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	var all []netip.Prefix
	add := func(text string) {
		if ip, err := netip.ParseAddr(text); err == nil && !ip.IsLoopback() {
			if p := netip.PrefixFrom(ip, ip.BitLen()); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	for _, w := range workloads {
		pods, err := s.podsOf(ctx, w)
		if err != nil {
			return nil, s.fault(patchbay.SettingsUnreadable, on("", "pods", "list"), err)
		}
		for _, pod := range pods {
			for _, ip := range pod.Status.PodIPs {
				add(ip.IP)
			}
			for _, ip := range pod.Status.HostIPs {
				add(ip.IP)
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return all, nil
}
