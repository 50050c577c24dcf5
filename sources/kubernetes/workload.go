package kubernetes

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	machinery "k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// workload is one Deployment, StatefulSet, DaemonSet or CronJob: what makes pods
// from a template.
type workload struct {
	metav1.ObjectMeta
	kind     *kind
	template *corev1.PodTemplateSpec
	selector *metav1.LabelSelector // nil for a CronJob
	rollout  rollout
}

// rollout is how far the pods are behind the template, in the words of each kind.
type rollout struct {
	observed int64  // the generation that the controller has seen
	desired  int32  // how many pods there should be
	updated  int32  // of this template
	ready    int32  // and available
	present  int32  // of any template
	held     int32  // that somebody wants to stay behind
	paused   bool   // nothing is rolled out
	byHand   bool   // pods change when somebody deletes them
	stalled  string // why the controller has given up
}

// kind is what the four kinds differ in.
type kind struct {
	name     string // Deployment
	group    string // apps
	resource string // deployments
	path     []string
	get      func(context.Context, *cluster, string) (*workload, error)
	list     func(context.Context, *cluster, string) ([]*workload, error)
	patch    func(ctx context.Context, c *cluster, name string, patch []byte) (*workload, error)
	apply    func(ctx context.Context, c *cluster, w *workload, template *corev1ac.PodTemplateSpecApplyConfiguration, o metav1.ApplyOptions) (*workload, error)
}

var inSpec = []string{"f:spec", "f:template", "f:spec"}

var kinds = map[string]*kind{
	"Deployment": kindOf("Deployment", "apps", "deployments", inSpec, func(c *cluster) rest.Interface { return c.apps },
		func() *appsv1.Deployment { return &appsv1.Deployment{} }, func() *appsv1.DeploymentList { return &appsv1.DeploymentList{} },
		func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items },
		func(d *appsv1.Deployment) workload {
			s := d.Status
			r := rollout{observed: s.ObservedGeneration, desired: count(d.Spec.Replicas), updated: s.UpdatedReplicas, ready: s.AvailableReplicas, present: s.Replicas, paused: d.Spec.Paused}
			for _, one := range s.Conditions {
				switch {
				case one.Type == appsv1.DeploymentReplicaFailure && one.Status == corev1.ConditionTrue:
					r.stalled = one.Message
				case one.Type == appsv1.DeploymentProgressing && one.Status == corev1.ConditionFalse && one.Reason == "ProgressDeadlineExceeded":
					r.stalled = "it made no progress for as long as its progressDeadlineSeconds allow"
				}
			}
			return workload{ObjectMeta: d.ObjectMeta, template: &d.Spec.Template, selector: d.Spec.Selector, rollout: r}
		},
		func(w *workload, t *corev1ac.PodTemplateSpecApplyConfiguration) *appsv1ac.DeploymentApplyConfiguration {
			a := appsv1ac.Deployment(w.Name, w.Namespace).WithUID(w.UID).WithResourceVersion(w.ResourceVersion)
			if t != nil {
				a.WithSpec(appsv1ac.DeploymentSpec().WithTemplate(t))
			}
			return a
		}),
	"StatefulSet": kindOf("StatefulSet", "apps", "statefulsets", inSpec, func(c *cluster) rest.Interface { return c.apps },
		func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} }, func() *appsv1.StatefulSetList { return &appsv1.StatefulSetList{} },
		func(l *appsv1.StatefulSetList) []appsv1.StatefulSet { return l.Items },
		func(d *appsv1.StatefulSet) workload {
			s := d.Status
			r := rollout{observed: s.ObservedGeneration, desired: count(d.Spec.Replicas), updated: s.UpdatedReplicas, ready: s.AvailableReplicas, present: s.Replicas}
			if s.UpdateRevision == s.CurrentRevision { // then it counts none
				r.updated = s.CurrentReplicas
			}
			r.byHand = d.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType
			if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
				r.held = min(*u.Partition, r.desired)
			}
			return workload{ObjectMeta: d.ObjectMeta, template: &d.Spec.Template, selector: d.Spec.Selector, rollout: r}
		},
		func(w *workload, t *corev1ac.PodTemplateSpecApplyConfiguration) *appsv1ac.StatefulSetApplyConfiguration {
			a := appsv1ac.StatefulSet(w.Name, w.Namespace).WithUID(w.UID).WithResourceVersion(w.ResourceVersion)
			if t != nil {
				a.WithSpec(appsv1ac.StatefulSetSpec().WithTemplate(t))
			}
			return a
		}),
	"DaemonSet": kindOf("DaemonSet", "apps", "daemonsets", inSpec, func(c *cluster) rest.Interface { return c.apps },
		func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} }, func() *appsv1.DaemonSetList { return &appsv1.DaemonSetList{} },
		func(l *appsv1.DaemonSetList) []appsv1.DaemonSet { return l.Items },
		func(d *appsv1.DaemonSet) workload {
			s := d.Status
			r := rollout{observed: s.ObservedGeneration, desired: s.DesiredNumberScheduled, updated: s.UpdatedNumberScheduled, ready: s.NumberAvailable, present: s.CurrentNumberScheduled}
			r.byHand = d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
			return workload{ObjectMeta: d.ObjectMeta, template: &d.Spec.Template, selector: d.Spec.Selector, rollout: r}
		},
		func(w *workload, t *corev1ac.PodTemplateSpecApplyConfiguration) *appsv1ac.DaemonSetApplyConfiguration {
			a := appsv1ac.DaemonSet(w.Name, w.Namespace).WithUID(w.UID).WithResourceVersion(w.ResourceVersion)
			if t != nil {
				a.WithSpec(appsv1ac.DaemonSetSpec().WithTemplate(t))
			}
			return a
		}),
	"CronJob": kindOf("CronJob", "batch", "cronjobs", slices.Concat([]string{"f:spec", "f:jobTemplate"}, inSpec), func(c *cluster) rest.Interface { return c.batch },
		func() *batchv1.CronJob { return &batchv1.CronJob{} }, func() *batchv1.CronJobList { return &batchv1.CronJobList{} },
		func(l *batchv1.CronJobList) []batchv1.CronJob { return l.Items },
		func(d *batchv1.CronJob) workload {
			return workload{ObjectMeta: d.ObjectMeta, template: &d.Spec.JobTemplate.Spec.Template}
		},
		func(w *workload, t *corev1ac.PodTemplateSpecApplyConfiguration) *batchv1ac.CronJobApplyConfiguration {
			a := batchv1ac.CronJob(w.Name, w.Namespace).WithUID(w.UID).WithResourceVersion(w.ResourceVersion)
			if t != nil {
				a.WithSpec(batchv1ac.CronJobSpec().WithJobTemplate(batchv1ac.JobTemplateSpec().WithSpec(batchv1ac.JobSpec().WithTemplate(t))))
			}
			return a
		}),
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

// count is how many replicas there should be: one, unless the field says so.
func count(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

// kindOf makes a kind of client-go's types: T is an object, I the same without a
// pointer, L a list and C an apply configuration.
func kindOf[I any, T interface {
	*I
	runtime.Object
	metav1.Object
}, L runtime.Object, C interface {
	comparable
	GetName() *string
}](name, group, resource string, path []string, of func(*cluster) rest.Interface, object func() T, list func() L, items func(L) []I,
	convert func(T) workload, config func(*workload, *corev1ac.PodTemplateSpecApplyConfiguration) C,
) *kind {
	k := &kind{name: name, group: group, resource: resource, path: path}
	client := func(c *cluster) *gentype.ClientWithListAndApply[T, L, C] {
		return gentype.NewClientWithListAndApply[T, L, C](resource, of(c), parameters, c.namespace, object, list)
	}
	made := func(o T, err error) (*workload, error) {
		if err != nil {
			return nil, err
		}
		w := convert(o)
		w.kind = k
		return &w, nil
	}
	k.get = func(ctx context.Context, c *cluster, name string) (*workload, error) {
		return made(client(c).Get(ctx, name, metav1.GetOptions{}))
	}
	k.list = func(ctx context.Context, c *cluster, selector string) ([]*workload, error) {
		found, err := client(c).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, err
		}
		var all []*workload
		for _, one := range items(found) {
			w := convert(&one)
			w.kind = k
			all = append(all, &w)
		}
		slices.SortFunc(all, func(a, b *workload) int { return strings.Compare(a.Name, b.Name) })
		return all, nil
	}
	k.patch = func(ctx context.Context, c *cluster, name string, patch []byte) (*workload, error) {
		return made(client(c).Patch(ctx, name, machinery.MergePatchType, patch, metav1.PatchOptions{}))
	}
	k.apply = func(ctx context.Context, c *cluster, w *workload, t *corev1ac.PodTemplateSpecApplyConfiguration, o metav1.ApplyOptions) (*workload, error) {
		return made(client(c).Apply(ctx, config(w, t), o))
	}
	return k
}

// what a workload is called in a message and in kubectl.
func (w *workload) called() string { return strings.ToLower(w.kind.name) + "/" + w.Name }

// container finds one by its name, among those that run before the others, too.
func (w *workload) container(name string) (c *corev1.Container, initial bool) {
	for i := range w.template.Spec.Containers {
		if w.template.Spec.Containers[i].Name == name {
			return &w.template.Spec.Containers[i], false
		}
	}
	for i := range w.template.Spec.InitContainers {
		if w.template.Spec.InitContainers[i].Name == name {
			return &w.template.Spec.InitContainers[i], true
		}
	}
	return nil, false
}

// managers are who has something in that field of the pod's specification, or in
// what is below it: managed fields' own words for a path.
func (w *workload) managers(path ...string) []string {
	var found []string
	for _, entry := range w.ManagedFields {
		if entry.Subresource == "" && below(&entry, slices.Concat(w.kind.path, path)) && !slices.Contains(found, entry.Manager) {
			found = append(found, entry.Manager)
		}
	}
	return found
}

// handOver makes entries of env that a connection has, and that somebody has given
// another value or gets back, be theirs as a whole: what is applied without such an
// entry would take it away. It gives the managed fields as they are then, nil when there
// is nothing to hand over.
func (w *workload) handOver(mine string, keep claim, was originals) []metav1.ManagedFieldsEntry {
	var handed []metav1.ManagedFieldsEntry
	for _, container := range containers(w.template.Spec) {
		_, initial := w.container(container.Name)
		for _, e := range container.Env {
			path := append(containerPath(container.Name, initial), "f:env", keyed("name", e.Name))
			managers := w.managers(path...)
			if !slices.Contains(managers, mine) || manager(uidOf(refersTo(e))) == mine || len(managers) < 2 || keep.has(container.Name, e.Name) {
				continue
			}
			if handed == nil {
				handed = slices.Clone(w.ManagedFields)
			}
			full := slices.Concat(w.kind.path, path)
			fields := []string{".", "f:name"}
			if slices.Contains(w.managers(append(path, "f:value")...), mine) {
				fields = append(fields, "f:value") // of ours alone it would go
			}
			theirs := func(who []string) (all []int) {
				for i, entry := range handed {
					if entry.Subresource == "" && entry.Manager != mine && slices.Contains(who, entry.Manager) && below(&entry, full) {
						all = append(all, i)
					}
				}
				return all
			}
			one, _ := was.of(w.Name, container.Name, e.Name)
			to := theirs(one.Owners)
			if len(to) == 0 {
				to = theirs(managers)[:1]
			}
			for _, i := range to {
				below(&handed[i], full, fields...)
			}
		}
	}
	return handed
}

// below reports whether an entry has that path; what is added there is the manager's
// afterwards.
func below(entry *metav1.ManagedFieldsEntry, path []string, add ...string) bool {
	var root map[string]any
	if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &root) != nil {
		return false
	}
	fields := root
	for _, step := range path {
		next, ok := fields[step].(map[string]any)
		if !ok {
			return false
		}
		fields = next
	}
	if len(add) > 0 {
		for _, field := range add {
			fields[field] = map[string]any{}
		}
		raw, _ := json.Marshal(root) // as it was read
		entry.FieldsV1 = &metav1.FieldsV1{}
		entry.FieldsV1.SetRawBytes(raw)
	}
	return true
}

// containerPath and keyed name fields as managed fields do.
func containerPath(name string, initial bool) []string {
	list := "f:containers"
	if initial {
		list = "f:initContainers"
	}
	return []string{list, keyed("name", name)}
}

func keyed(key, value string) string {
	text, _ := json.Marshal(map[string]string{key: value}) // texts
	return "k:" + string(text)
}

// has reports whether the manager has anything in the object.
func (w *workload) has(manager string) bool {
	return slices.ContainsFunc(w.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager && e.Subresource == "" })
}

// preconditions make a deletion that of this very object.
func preconditions(o metav1.ObjectMeta) metav1.DeleteOptions {
	uid, version := o.UID, o.ResourceVersion
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
}
