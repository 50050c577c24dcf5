package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// tries bounds how often a change is made anew because something else than the
// settings has changed: a controller writes all the time.
const tries = 20

// maxVariable is what Linux lets one environment variable be, name, = and the
// final zero byte included.
const maxVariable = 128 << 10

var (
	variable = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]{0,252}$`)
	entry    = regexp.MustCompile(`^[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,252}$`)
)

// checkForm refuses what a Secret, an environment or a volume can't hold.
func (s *source) checkForm(c driver.Change) error {
	size := map[bool]int{}
	for _, set := range c.Set {
		value := set.Value.Reveal()
		switch {
		case set.File && s.deliver != deliverFiles:
			return patchbay.Errorf(patchbay.NotSupported, "%s gets its settings as environment variables, and has no volume for files", s.id.Name()).
				WithFix("register it with --deliver servicebinding")
		case set.File && (!entry.MatchString(c.Name) || !entry.MatchString(set.Name)):
			return patchbay.Errorf(patchbay.InvalidArgument, "the binding %.80q can't have a file %.80q: both are letters, digits, -, _ and ., and begin with no dot", c.Name, set.Name)
		case !set.File && (!variable.MatchString(set.Name) || strings.HasPrefix(set.Name, "..")):
			return patchbay.Errorf(patchbay.InvalidArgument, "an environment variable of a container can't be called %.80q: letters, digits, -, _ and ., no digit first", set.Name)
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return patchbay.Errorf(patchbay.InvalidArgument, "the value of %s is not text without zero bytes, as an environment variable is", set.Name)
		case !set.File && len(set.Name)+len(value)+2 > maxVariable:
			return patchbay.Errorf(patchbay.InvalidArgument, "the value of %s is longer than the %d bytes that a variable may have", set.Name, maxVariable)
		}
		size[set.File] += len(value)
	}
	if max(size[false], size[true]) > maxSecret {
		return patchbay.Errorf(patchbay.InvalidArgument, "the settings are larger than a Secret may be, %d bytes", maxSecret)
	}
	return nil
}

// CheckChange implements [driver.Source]. The API server is asked too, without an
// effect: quotas and admission policies are its to know.
func (s *source) CheckChange(ctx context.Context, c driver.Change) error {
	if err := s.checkForm(c); err != nil {
		return err
	}
	if len(c.Set) == 0 {
		return nil
	}
	r, err := driver.Look(ctx, s, s.read)
	if err != nil {
		return err
	}
	var names [2]string
	for i, files := range []bool{false, true} {
		if names[i], err = s.ensure(ctx, c, files, r, true); err != nil {
			return err
		}
	}
	for _, w := range r.workloads {
		if w.rollout.paused && w.rollout.present > 0 {
			return patchbay.Errorf(patchbay.NotSupported, "%s is paused: its pods would never read the settings", w.called()).
				WithFix("kubectl -n %s rollout resume %s", s.namespace, w.called())
		}
		want, blanks, err := s.wanted(r, w, c, names[0], names[1])
		if err != nil {
			return err
		}
		if _, err := s.apply(ctx, w, c, want, blanks, true); err != nil && !outdated(err) {
			return err
		}
	}
	return nil
}

// wanted is what the connection has in a workload after c, and which entries of
// its own somebody has given a value. What somebody else has is a conflict.
func (s *source) wanted(r *reading, w *workload, c driver.Change, env, files string) (want claim, blanks []blank, err error) {
	want = newClaim()
	mine := manager(c.Mark.UID)
	for _, name := range r.chosen[w.Name] {
		container, initial := w.container(name)
		at := containerPath(name, initial)
		for _, set := range c.Set {
			if set.File {
				continue
			}
			i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == set.Name })
			if i >= 0 && mayTake(c, set.Name) && uidOf(refersTo(container.Env[i])) == "" {
				if container.Env[i].ValueFrom != nil {
					return claim{}, nil, s.noTaking(w, name, set.Name, w.managers(append(at, "f:env", keyed("name", set.Name))...))
				}
				want.Taken[name] = append(want.Taken[name], ref{Name: set.Name, Secret: env})
				continue
			}
			if i >= 0 && uidOf(refersTo(container.Env[i])) != c.Mark.UID {
				managers := w.managers(append(at, "f:env", keyed("name", set.Name))...)
				if container.Env[i].ValueFrom != nil || !slices.Contains(managers, mine) {
					return claim{}, nil, s.conflict(w, name, set.Name, slices.DeleteFunc(managers, func(m string) bool { return m == mine }))
				}
				blanks = append(blanks, blank{name, set.Name})
			}
			if s.deliver != deliverEnvFrom || i >= 0 {
				want.Env[name] = append(want.Env[name], ref{Name: set.Name, Secret: env})
			}
		}
		if s.deliver == deliverEnvFrom && env != "" {
			for _, from := range container.EnvFrom {
				if from.SecretRef == nil || uidOf(from.SecretRef.Name) == "" {
					return claim{}, nil, patchbay.Errorf(patchbay.Conflict, "the container %s of %s has an envFrom of %s, and such a list has one owner", name, w.called(), owners(w.managers(append(at, "f:envFrom")...))).
						WithFix("register %s with --deliver env", s.id.Name())
				}
			}
			want.From[name] = env
		}
		if files == "" {
			continue
		}
		root := s.rootOf(container)
		want.At[name] = path.Join(root, c.Name)
		for _, m := range container.VolumeMounts {
			if path.Clean(m.MountPath) == want.At[name] && m.Name != volumeName(c.Mark.UID) {
				return claim{}, nil, patchbay.Errorf(patchbay.Conflict, "the container %s of %s has something else at %s, a mount of %s", name, w.called(), m.MountPath, owners(w.managers(append(at, "f:volumeMounts", keyed("mountPath", m.MountPath))...))).
					WithFix("give the connection another name")
			}
		}
		others := w.managers(append(at, "f:env", keyed("name", bindingRootName))...)
		if !slices.ContainsFunc(others, func(m string) bool { return !strings.HasPrefix(m, manager("")) }) {
			want.Root[name] = root
		}
	}
	want.Files = files
	return want, blanks, nil
}

func (s *source) conflict(w *workload, container, name string, managers []string) error {
	return patchbay.Errorf(patchbay.Conflict, "%s is set in the container %s of %s already, by %s", name, container, w.called(), owners(managers)).
		WithFix("take it out there, or where that manager has it from: kubectl -n %s set env %s -c %s %s-", s.namespace, w.called(), container, name)
}

// noTaking is the conflict of an entry that can't be given back as it was: only with
// its whole source gone could it have a value of ours, and its manager's next apply
// would have both.
func (s *source) noTaking(w *workload, container, name string, managers []string) error {
	return patchbay.Errorf(patchbay.Conflict, "%s of the container %s of %s can't be taken over: %s takes it from a field or an object (valueFrom), and the next apply of that would be refused by Kubernetes", name, container, w.called(), owners(managers)).
		WithFix("take it out there, or give it a value there; or have the connection's setting called otherwise")
}

// owners are field managers as people read them.
func owners(managers []string) string {
	if len(managers) == 0 {
		return "somebody whose name is not kept"
	}
	quoted := make([]string, len(managers))
	for i, m := range managers {
		quoted[i] = driver.Quoted(m)
	}
	return strings.Join(quoted, ", ")
}

// outdated reports whether the workload was written between being read and being
// applied to, if only by its controller.
func outdated(err error) bool { return apierrors.IsConflict(err) && !contested(err) }

// contested reports whether another manager has a field that was applied.
func contested(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict)
}

// apply makes the workload have what a connection should, if it still is as it was
// read. The error may be outdated.
func (s *source) apply(ctx context.Context, w *workload, change driver.Change, c claim, blanks []blank, dry bool) (*workload, error) {
	uid := change.Mark.UID
	o := metav1.ApplyOptions{FieldManager: manager(uid), Force: len(blanks) > 0 || len(c.Taken) > 0}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	var was originals
	if w.has(o.FieldManager) && !dry {
		all, err := s.of(ctx, uid)
		if err != nil {
			return nil, err
		}
		was = originalsOf(all)
		if giving := w.givenBack(uid, c, was, change.Back); len(giving) > 0 {
			// The template as it will be, in one request; whose the fields are, in the next.
			forced := o
			forced.Force = true
			next, err := s.kind.apply(ctx, s.cluster, w, w.applied(uid, c, blanks, giving), forced)
			if err != nil {
				return nil, s.applyFault(w, err)
			}
			w = next
		}
	}
	if handed := w.handOver(o.FieldManager, c, was); handed != nil && !dry {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.UID, "resourceVersion": w.ResourceVersion, "managedFields": handed}})
		if err != nil {
			return nil, err
		}
		next, err := s.kind.patch(ctx, s.cluster, w.Name, patch)
		if err != nil {
			return nil, s.applyFault(w, err)
		}
		w = next
	}
	template := w.applied(uid, c, blanks, nil)
	if template != nil || w.has(o.FieldManager) {
		next, err := s.kind.apply(ctx, s.cluster, w, template, o)
		if err != nil {
			return nil, s.applyFault(w, err)
		}
		if w = next; len(blanks) > 0 && !dry {
			// The value was taken away by having it; now it is let go.
			if w, err = s.kind.apply(ctx, s.cluster, w, w.applied(uid, c, nil, nil), o); err != nil {
				return nil, s.applyFault(next, err)
			}
		}
	}
	if s.deliver != deliverEnvFrom && len(w.claimOf(uid).From) == 0 {
		return w, nil
	}
	template, changes := w.appliedFrom(uid, c)
	if !changes {
		return w, nil
	}
	o.FieldManager, o.Force = fromManager, false
	next, err := s.kind.apply(ctx, s.cluster, w, template, o)
	if err != nil {
		return nil, s.applyFault(w, err)
	}
	return next, nil
}

func (s *source) applyFault(w *workload, err error) error {
	if outdated(err) {
		return err
	}
	var status apierrors.APIStatus
	if contested(err) && errors.As(err, &status) {
		var fields []string
		for _, cause := range status.Status().Details.Causes {
			fields = append(fields, driver.Quoted(cause.Message+" "+cause.Field))
		}
		return patchbay.Errorf(patchbay.Conflict, "%s has what the connection needs with somebody else: %s", w.called(), strings.Join(fields, "; ")).
			WithFix("kubectl -n %s get %s -o yaml --show-managed-fields", s.namespace, w.called())
	}
	return s.fault(patchbay.SettingsUnwritable, s.does("patch"), err)
}

// appliedFrom is the list envFrom of each container with the claim in it. All of
// our connections' are one manager's.
func (w *workload) appliedFrom(uid string, c claim) (template *corev1ac.PodTemplateSpecApplyConfiguration, changes bool) {
	spec := corev1ac.PodSpec()
	for _, container := range containers(w.template.Spec) {
		var names []string
		for _, from := range container.EnvFrom {
			if from.SecretRef != nil && uidOf(from.SecretRef.Name) != "" {
				names = append(names, from.SecretRef.Name)
			}
		}
		had := slices.Clone(names)
		at := slices.IndexFunc(names, func(name string) bool { return uidOf(name) == uid })
		switch want := c.From[container.Name]; {
		case at >= 0 && want != "":
			names[at] = want
		case at >= 0:
			names = slices.Delete(names, at, at+1)
		case want != "":
			names = append(names, want)
		}
		changes = changes || !slices.Equal(had, names)
		if len(names) == 0 {
			continue
		}
		one := corev1ac.Container().WithName(container.Name)
		for _, name := range names {
			one.WithEnvFrom(corev1ac.EnvFromSource().WithSecretRef(corev1ac.SecretEnvSource().WithName(name)))
		}
		if _, initial := w.container(container.Name); initial {
			spec.WithInitContainers(one)
		} else {
			spec.WithContainers(one)
		}
		template = corev1ac.PodTemplateSpec().WithSpec(spec)
	}
	return template, changes
}

// WriteSettings implements [driver.Source].
func (s *source) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkForm(c); err != nil {
		return "", err
	}
	was := parseVersions(ifVersion)
	for range tries {
		again, err := s.write(ctx, c, was)
		if err != nil {
			return "", err
		}
		if again {
			continue
		}
		r, err := s.read(ctx)
		if err != nil {
			return "", err
		}
		return r.versions(), nil
	}
	return "", kubeconnect.Changed(s.id.Name())
}

// write makes the change where it is not made yet. again says that a workload was
// written meanwhile.
func (s *source) write(ctx context.Context, c driver.Change, was map[string]string) (again bool, err error) {
	r, err := s.read(ctx)
	if err != nil {
		return false, err
	}
	all, err := s.of(ctx, c.Mark.UID)
	if err != nil {
		return false, err
	}
	takes := r.takes(c, originalsOf(all))
	names := [2]string{written(c, all, false, takes), written(c, all, true, nil)}
	if len(data(c, false)) == 0 {
		names[0] = ""
	}
	if len(data(c, true)) == 0 {
		names[1] = ""
	}
	complete := (names[0] != "" || len(data(c, false)) == 0) && (names[1] != "" || len(data(c, true)) == 0)
	var todo []*workload
	for _, w := range r.workloads {
		begun := false
		if complete {
			want, blanks, err := s.wanted(r, w, c, names[0], names[1])
			if err != nil {
				return false, err
			}
			if len(blanks) == 0 && w.holds(c.Mark.UID, want) {
				continue
			}
			// The template is as it should be, and only whose its fields are is not yet:
			// it was us who changed it.
			begun = len(blanks) == 0 && want.equal(w.claimOf(c.Mark.UID))
		}
		if !begun && was[w.Name] != r.version(w) {
			return false, kubeconnect.Changed(w.called())
		}
		todo = append(todo, w)
	}
	if len(todo) == 0 {
		return false, nil
	}
	for _, w := range todo { // conflicts, before anything is made
		if _, _, err := s.wanted(r, w, c, "-", names[1]); err != nil {
			return false, err
		}
	}
	for i, files := range []bool{false, true} {
		if names[i], err = s.ensure(ctx, c, files, r, false); err != nil {
			return false, err
		}
	}
	if err := failpoint.Hit(ctx, "kubernetes/write/after-secret"); err != nil {
		return false, err
	}
	for _, w := range todo {
		want, blanks, err := s.wanted(r, w, c, names[0], names[1])
		if err != nil {
			return false, err
		}
		if _, err := s.apply(ctx, w, c, want, blanks, false); outdated(err) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, failpoint.Hit(ctx, "kubernetes/write/after-template")
}

// RestoreSettings implements [driver.Source].
func (s *source) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var was kept
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &was); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "what was kept of %s from before the change can't be read", s.id.Name())
	}
	uid := c.Mark.UID
	for try := 0; ; try++ {
		again, err := s.restore(ctx, c, was)
		if err != nil && patchbay.CodeOf(err) != patchbay.SourceNotFound {
			return err
		}
		if !again {
			break
		}
		if try == tries {
			return kubeconnect.Changed(s.id.Name()).AsTransient()
		}
	}
	if err := failpoint.Hit(ctx, "kubernetes/restore/after-template"); err != nil {
		return err
	}
	all, err := s.of(ctx, uid)
	if patchbay.CodeOf(err) == patchbay.SourceNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return s.remove(ctx, all, func(secret *corev1.Secret) bool {
		_, had := was.Secrets[secret.Name]
		return had
	})
}

func (s *source) restore(ctx context.Context, c driver.Change, was kept) (again bool, err error) {
	r, err := s.read(ctx)
	if err != nil {
		return false, err
	}
	uid := c.Mark.UID
	for _, w := range r.workloads {
		had := newClaim()
		if k, ok := was.Workloads[w.Name]; ok && k.UID == string(w.UID) {
			if one, ok := k.Claims[uid]; ok {
				had = one
			}
		}
		want := takeBack(w, had, c, was.Secrets)
		if w.holds(uid, want) {
			continue
		}
		for name := range want.secrets() {
			if err := s.bringBack(ctx, name, was.Secrets); err != nil {
				return false, err
			}
		}
		if _, err := s.apply(ctx, w, c, want, nil, false); outdated(err) {
			return true, nil
		} else if err != nil {
			return false, err
		}
	}
	return false, nil
}

// takeBack is what the connection has once c is taken back: what it had, but for
// what somebody has changed or removed since.
func takeBack(w *workload, had claim, c driver.Change, was map[string]keptSecret) claim {
	want := newClaim()
	set := func(name string) bool {
		return slices.ContainsFunc(c.Set, func(one patchbay.Setting) bool { return !one.File && one.Name == name })
	}
	for name, refs := range had.Env {
		container, _ := w.container(name)
		if container == nil {
			continue
		}
		for _, r := range refs {
			i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == r.Name })
			ours := i >= 0 && uidOf(refersTo(container.Env[i])) == c.Mark.UID
			if ours || i < 0 && !set(r.Name) {
				want.Env[name] = append(want.Env[name], r)
			}
		}
	}
	now := w.claimOf(c.Mark.UID)
	for name, refs := range had.Taken {
		container, _ := w.container(name)
		if container == nil {
			continue
		}
		for _, r := range refs {
			i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == r.Name })
			still := slices.ContainsFunc(now.Taken[name], func(one ref) bool { return one.Name == r.Name && !one.Lone })
			// What the change gave back is taken again, unless somebody has changed it since.
			one, known := originalsIn(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: was[r.Secret].Annotations}}).of(w.Name, name, r.Name)
			given := known && i >= 0 && container.Env[i].ValueFrom == nil && container.Env[i].Value == value(one.Value)
			if r.Lone || still || given && !set(r.Name) {
				r.Lone = false
				want.Taken[name] = append(want.Taken[name], r)
			}
		}
	}
	if len(now.secrets()) == 0 && len(c.Set) > 0 {
		return want // somebody took all of it out
	}
	want.Files = had.Files
	for _, container := range containers(w.template.Spec) {
		for from, to := range map[*map[string]string]map[string]string{&had.From: want.From, &had.At: want.At, &had.Root: want.Root} {
			if value, ok := (*from)[container.Name]; ok {
				to[container.Name] = value
			}
		}
	}
	return want
}

// bringBack makes a Secret anew that was there before the change.
func (s *source) bringBack(ctx context.Context, name string, was map[string]keptSecret) error {
	old, ok := was[name]
	if !ok {
		return nil
	}
	immutable := true
	_, err := s.secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace, Labels: old.Labels, Annotations: old.Annotations},
		Immutable:  &immutable, Type: old.Type, Data: old.Data,
	}, metav1.CreateOptions{FieldManager: manager(uidOf(name))})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return s.fault(patchbay.SettingsUnwritable, on("", "secrets", "create"), err)
}
