package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// missing reports whether the API server says that there is no such thing.
func missing(err error) bool { return apierrors.IsNotFound(err) }

// reading is the source at one moment, with all that its settings come from.
type reading struct {
	workloads  []*workload
	chosen     map[string][]string // containers, by workload
	secrets    map[string]*corev1.Secret
	configMaps map[string]*corev1.ConfigMap
}

// held is a setting in a container.
type held struct {
	value string
	known bool   // its value could be had
	uid   string // of the connection that it is of, "" for anybody else's
}

func (s *source) read(ctx context.Context) (*reading, error) {
	workloads, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	r := &reading{workloads: workloads, chosen: map[string][]string{}, secrets: map[string]*corev1.Secret{}, configMaps: map[string]*corev1.ConfigMap{}}
	for _, w := range workloads {
		if r.chosen[w.Name], err = s.chosen(w); err != nil {
			return nil, err
		}
		for _, name := range r.chosen[w.Name] {
			if err := s.readSources(ctx, r, w, name); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// readSources reads the Secrets and ConfigMaps that a container's settings come
// from. Absent ones are nil.
func (s *source) readSources(ctx context.Context, r *reading, w *workload, name string) error {
	container, _ := w.container(name)
	secret := func(name string) error {
		if _, ok := r.secrets[name]; ok {
			return nil
		}
		found, err := s.secrets.Get(ctx, name, metav1.GetOptions{})
		if missing(err) {
			found, err = nil, nil
		}
		r.secrets[name] = found
		return s.fault(patchbay.SettingsUnreadable, on("", "secrets", "get"), err)
	}
	configMap := func(name string) error {
		if _, ok := r.configMaps[name]; ok {
			return nil
		}
		found, err := s.configMaps.Get(ctx, name, metav1.GetOptions{})
		if missing(err) {
			found, err = nil, nil
		}
		r.configMaps[name] = found
		return s.fault(patchbay.SettingsUnreadable, on("", "configmaps", "get"), err)
	}
	for _, from := range container.EnvFrom {
		switch {
		case from.SecretRef != nil:
			if err := secret(from.SecretRef.Name); err != nil {
				return err
			}
		case from.ConfigMapRef != nil:
			if err := configMap(from.ConfigMapRef.Name); err != nil {
				return err
			}
		}
	}
	for _, e := range container.Env {
		switch {
		case e.ValueFrom == nil:
		case e.ValueFrom.SecretKeyRef != nil:
			if err := secret(e.ValueFrom.SecretKeyRef.Name); err != nil {
				return err
			}
		case e.ValueFrom.ConfigMapKeyRef != nil:
			if err := configMap(e.ValueFrom.ConfigMapKeyRef.Name); err != nil {
				return err
			}
		}
	}
	for _, c := range claims(w.template.Spec) {
		if c.Files != "" && c.At[name] != "" {
			if err := secret(c.Files); err != nil {
				return err
			}
		}
	}
	return nil
}

// in are the settings of a container, as the kubelet makes them: later ones of
// envFrom cover up earlier ones, and entries of env all of them.
func (r *reading) in(w *workload, name string) map[string]held {
	container, _ := w.container(name)
	all := map[string]held{}
	for _, from := range container.EnvFrom {
		switch {
		case from.SecretRef != nil && r.secrets[from.SecretRef.Name] != nil:
			for key, value := range r.secrets[from.SecretRef.Name].Data {
				all[from.Prefix+key] = held{string(value), true, uidOf(from.SecretRef.Name)}
			}
		case from.ConfigMapRef != nil && r.configMaps[from.ConfigMapRef.Name] != nil:
			for key, value := range r.configMaps[from.ConfigMapRef.Name].Data {
				all[from.Prefix+key] = held{value: value, known: true}
			}
		}
	}
	secretly := map[string]held{} // what stands in for names that are taken over, by reference
	for _, e := range container.Env {
		one := held{value: e.Value, known: e.ValueFrom == nil}
		if by, ok := secretly[e.Value]; ok {
			one = by
		}
		switch {
		case e.ValueFrom == nil:
		case e.ValueFrom.SecretKeyRef != nil:
			if secret := r.secrets[e.ValueFrom.SecretKeyRef.Name]; secret != nil {
				value, ok := secret.Data[e.ValueFrom.SecretKeyRef.Key]
				one.value, one.known = string(value), ok
			}
			if refersTo(e) != "" {
				one.uid = uidOf(e.ValueFrom.SecretKeyRef.Name)
			}
			if secret, _ := standsIn(e); secret != "" {
				one.uid = uidOf(secret)
				secretly[standInReference(e.Name)] = one
				continue
			}
		case e.ValueFrom.ConfigMapKeyRef != nil:
			if from := r.configMaps[e.ValueFrom.ConfigMapKeyRef.Name]; from != nil {
				one.value, one.known = from.Data[e.ValueFrom.ConfigMapKeyRef.Key]
			}
		}
		all[e.Name] = one
	}
	for uid, c := range claims(w.template.Spec) {
		at := c.At[name]
		if at == "" || r.secrets[c.Files] == nil {
			continue
		}
		for key, value := range r.secrets[c.Files].Data {
			all[driver.FileSetting(path.Base(at), key)] = held{string(value), true, uid}
		}
	}
	return all
}

// all are the settings of all chosen containers as one. One of ours that a
// container lacks is not there; one that somebody has edited in a container is
// what they made of it.
func (r *reading) all() map[string]held {
	var merged map[string]held
	for _, w := range r.workloads {
		for _, name := range r.chosen[w.Name] {
			one := r.in(w, name)
			if merged == nil {
				merged = one
				continue
			}
			for name := range maps.Keys(union(merged, one)) {
				a, inA := merged[name]
				b, inB := one[name]
				switch {
				case inA && inB && a != b && a.uid != "":
					merged[name] = b
				case inA != inB && a.uid+b.uid != "":
					delete(merged, name)
				case inB && !inA:
					merged[name] = b
				}
			}
		}
	}
	return merged
}

func union(a, b map[string]held) map[string]held {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// settings are what a connection sees. The binding root is no setting: it is ours,
// or the same for all.
func (r *reading) settings() map[string]patchbay.Secret {
	all := map[string]patchbay.Secret{}
	for name, one := range r.all() {
		if name != bindingRootName && (one.known || one.uid == "") {
			all[name] = patchbay.NewSecret(one.value)
		}
	}
	return all
}

// version tells a workload's settings from others. Nothing that its controller
// writes is in it.
func (r *reading) version(w *workload) string {
	type part struct {
		Env    []corev1.EnvVar
		From   []corev1.EnvFromSource
		Mounts []corev1.VolumeMount
		Known  []string
	}
	parts := map[string]any{"uid": w.UID}
	for _, name := range r.chosen[w.Name] {
		c, _ := w.container(name)
		p := part{Env: c.Env, From: c.EnvFrom}
		for _, m := range c.VolumeMounts {
			if strings.HasPrefix(m.Name, volumeName("")) {
				p.Mounts = append(p.Mounts, m)
			}
		}
		for name, one := range r.in(w, name) {
			p.Known = append(p.Known, name+"\x00"+one.value+"\x00"+one.uid)
		}
		slices.Sort(p.Known)
		parts[name] = p
	}
	for uid, c := range claims(w.template.Spec) {
		parts["files "+uid] = c.Files
	}
	text, _ := json.Marshal(parts) // API types and texts
	return sum(text)
}

func sum(text []byte) string {
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:12])
}

// versions is the version of all: one of each workload, so that a change that was
// made to some of them can go on with the others.
func (r *reading) versions() string {
	var all []string
	for _, w := range r.workloads {
		all = append(all, w.Name+"="+r.version(w))
	}
	return strings.Join(all, ",")
}

func parseVersions(text string) map[string]string {
	all := map[string]string{}
	for one := range strings.SplitSeq(text, ",") {
		if name, version, ok := strings.Cut(one, "="); ok {
			all[name] = version
		}
	}
	return all
}

// kept is the driver's own copy of what connections of ours have.
type kept struct {
	Workloads map[string]keptWorkload `json:"workloads"` // by name
	Secrets   map[string]keptSecret   `json:"secrets"`
}

type keptWorkload struct {
	UID    string           `json:"uid"`
	Claims map[string]claim `json:"claims"` // by connection
}

type keptSecret struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Type        corev1.SecretType `json:"type"`
	Data        map[string][]byte `json:"data"`
}

func (r *reading) keep() kept {
	k := kept{Workloads: map[string]keptWorkload{}, Secrets: map[string]keptSecret{}}
	for _, w := range r.workloads {
		mine := keptWorkload{UID: string(w.UID), Claims: map[string]claim{}}
		for uid := range claims(w.template.Spec) {
			mine.Claims[uid] = w.claimOf(uid)
		}
		k.Workloads[w.Name] = mine
	}
	for name, secret := range r.secrets {
		if secret != nil && secret.Labels[connectionLabel] == uidOf(name) && uidOf(name) != "" {
			k.Secrets[name] = keptSecret{secret.Labels, secret.Annotations, secret.Type, secret.Data}
		}
	}
	return k
}

// ReadSettings implements [driver.Source].
func (s *source) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	r, err := driver.Look(ctx, s, s.read)
	if err != nil {
		return driver.Snapshot{}, err
	}
	content, err := json.Marshal(r.keep())
	if err != nil {
		return driver.Snapshot{}, err
	}
	return driver.Snapshot{Version: r.versions(), Settings: r.settings(), Content: patchbay.NewSecret(string(content))}, nil
}
