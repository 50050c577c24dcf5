package kubernetes

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// How our Secrets are known. Argo CD's app.kubernetes.io/instance is not among
// the labels: it would take the Secret for one of its own, and prune it.
const (
	connectionLabel      = "patchbay.dev/connection"
	managedLabel         = "app.kubernetes.io/managed-by"
	connectionAnnotation = "patchbay.dev/connection-id"
	generationAnnotation = "patchbay.dev/generation"
)

const maxSecret = corev1.MaxSecretSize

func labelsOf(m driver.Mark) map[string]string {
	return map[string]string{connectionLabel: m.UID, managedLabel: "patchbay"}
}

func annotationsOf(m driver.Mark) map[string]string {
	return map[string]string{connectionAnnotation: string(m.Connection), generationAnnotation: strconv.FormatInt(m.Generation, 10)}
}

// markOf is whose a Secret of ours is.
func markOf(secret *corev1.Secret) driver.Mark {
	generation, _ := strconv.ParseInt(secret.Annotations[generationAnnotation], 10, 64)
	return driver.Mark{UID: secret.Labels[connectionLabel], Generation: generation, Connection: patchbay.ID(secret.Annotations[connectionAnnotation])}
}

// data are the settings of a change that come by env, or that are files.
func data(c driver.Change, files bool) map[string][]byte {
	all := map[string][]byte{}
	for _, set := range c.Set {
		if set.File == files {
			all[set.Name] = []byte(set.Value.Reveal())
		}
	}
	return all
}

func sameData(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

// of are the Secrets of a connection, by name.
func (s *source) of(ctx context.Context, uid string) (map[string]*corev1.Secret, error) {
	list, err := s.secrets.List(ctx, metav1.ListOptions{LabelSelector: connectionLabel + "=" + uid})
	if err != nil {
		return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "list"), err)
	}
	all := map[string]*corev1.Secret{}
	for _, one := range list.Items {
		all[one.Name] = &one
	}
	return all, nil
}

// written is the name of the connection's Secret that holds what c sets, "" when
// there is none, or none that remembers what is taken over. There may be several of a generation: a Secret never changes,
// and what a connection sets may, without a new login.
func written(c driver.Change, all map[string]*corev1.Secret, files bool, takes originals) string {
	want := data(c, files)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		secret := all[name]
		if strings.HasSuffix(name, "-files") == files && markOf(secret).Generation == c.Mark.Generation && sameData(secret.Data, want) && originalsIn(secret).covers(takes) {
			return name
		}
	}
	return ""
}

// ensure makes the Secret that holds what c sets, unless it is there: perhaps an
// answer was lost. With dry nothing is made, and the server says whether it would.
func (s *source) ensure(ctx context.Context, c driver.Change, files bool, r *reading, dry bool) (string, error) {
	if len(data(c, files)) == 0 {
		return "", nil
	}
	all, err := s.of(ctx, c.Mark.UID)
	if err != nil {
		return "", err
	}
	takes := originals{}
	if !files {
		takes = r.takes(c, originalsOf(all))
	}
	if name := written(c, all, files, takes); name != "" {
		return name, nil
	}
	annotations := annotationsOf(c.Mark)
	if len(takes) > 0 {
		text, err := json.Marshal(takes)
		if err != nil {
			return "", err
		}
		annotations[takenAnnotation] = string(text)
	}
	immutable := true
	for n := 1; ; n++ {
		name := secretName(c.Mark.UID, c.Mark.Generation, n, files)
		if all[name] != nil {
			continue
		}
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace, Labels: labelsOf(c.Mark), Annotations: annotations},
			Immutable:  &immutable, Type: corev1.SecretTypeOpaque, Data: data(c, files),
		}
		o := metav1.CreateOptions{FieldManager: manager(c.Mark.UID)}
		if dry {
			o.DryRun = []string{metav1.DryRunAll}
		}
		_, err := s.secrets.Create(ctx, secret, o)
		if apierrors.IsAlreadyExists(err) { // and does not bear the label
			return "", patchbay.Errorf(patchbay.NotOurs, "a Secret %s is in the namespace %s that is not this connection's", name, s.namespace).
				WithFix("kubectl -n %s delete secret %s   (if nobody needs it)", s.namespace, name)
		}
		return name, s.fault(patchbay.SettingsUnwritable, on("", "secrets", "create"), err)
	}
}

// remove deletes Secrets of a connection. Absent is success.
func (s *source) remove(ctx context.Context, all map[string]*corev1.Secret, keep func(*corev1.Secret) bool) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if uidOf(name) == "" || keep(all[name]) {
			continue
		}
		err := s.secrets.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &all[name].UID}})
		if err != nil && !missing(err) && !apierrors.IsConflict(err) { // a conflict: it is another one by now
			return s.fault(patchbay.SettingsUnwritable, on("", "secrets", "delete"), err)
		}
	}
	return nil
}

// Owned implements [driver.Source]. Of a connection's Secrets the newest counts:
// the others wait for their release.
func (s *source) Owned(ctx context.Context) ([]driver.Owned, error) {
	if _, err := s.find(ctx); err != nil {
		return nil, err
	}
	list, err := s.secrets.List(ctx, metav1.ListOptions{LabelSelector: connectionLabel})
	if err != nil {
		return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "list"), err)
	}
	newest := map[string]int64{}
	for _, one := range list.Items {
		m := markOf(&one)
		newest[m.UID] = max(newest[m.UID], m.Generation)
	}
	var owned []driver.Owned
	for _, one := range list.Items {
		m := markOf(&one)
		if uidOf(one.Name) != m.UID || m.Generation < newest[m.UID] || !m.Connection.Equal(s.id.Linker(m.Connection.Name())) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(one.Data)) {
			if strings.HasSuffix(one.Name, "-files") {
				key = driver.FileSetting(m.Connection.Name(), key)
			}
			owned = append(owned, driver.Owned{Mark: m, Name: key})
		}
	}
	return owned, nil
}

// Release implements [driver.Keeper]: what no workload refers to goes. Where somebody
// has taken the connection out of a workload, that is all of it: whoever repairs
// the connection makes it again.
func (s *source) Release(ctx context.Context, c driver.Change) error {
	workloads, err := s.find(ctx)
	if err != nil && patchbay.CodeOf(err) != patchbay.SourceNotFound {
		return err
	}
	referred := map[string]bool{}
	for _, w := range workloads {
		maps.Copy(referred, w.claimOf(c.Mark.UID).secrets())
	}
	all, err := s.of(ctx, c.Mark.UID)
	if err != nil {
		return err
	}
	return s.remove(ctx, all, func(secret *corev1.Secret) bool { return referred[secret.Name] })
}
