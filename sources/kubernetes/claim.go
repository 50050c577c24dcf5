package kubernetes

import (
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// bindingRootName is how a container knows where its bindings are; defaultRoot is
// where, when nobody says.
const (
	bindingRootName = "SERVICE_BINDING_ROOT"
	defaultRoot     = "/bindings"
)

// claim is what a connection has in the template of one workload.
type claim struct {
	// Env are entries that refer to Secrets of the connection, by container.
	Env map[string][]ref `json:"env,omitempty"`
	// From are Secrets that a container has as a whole.
	From map[string]string `json:"from,omitempty"`
	// Files is the Secret that is mounted, At where, and Root the binding root that
	// the container is told, by container.
	Files string            `json:"files,omitempty"`
	At    map[string]string `json:"at,omitempty"`
	Root  map[string]string `json:"root,omitempty"`
	// Taken are names of others that the connection has taken over, by container.
	Taken map[string][]ref `json:"taken,omitempty"`
}

// ref is an entry of env: the key is called like the setting.
type ref struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
	Lone   bool   `json:"lone,omitempty"` // somebody has the name, which was taken over, again
}

func newClaim() claim {
	return claim{Env: map[string][]ref{}, From: map[string]string{}, At: map[string]string{}, Root: map[string]string{}, Taken: map[string][]ref{}}
}

func (c claim) empty() bool {
	return len(c.Env) == 0 && len(c.Taken) == 0 && len(c.From) == 0 && c.Files == "" && len(c.At) == 0 && len(c.Root) == 0
}

func (c claim) equal(other claim) bool {
	sorted := func(c claim) claim {
		for _, of := range []*map[string][]ref{&c.Env, &c.Taken} {
			all := map[string][]ref{}
			for name, refs := range *of {
				all[name] = slices.SortedFunc(slices.Values(refs), func(a, b ref) int { return strings.Compare(a.Name, b.Name) })
			}
			*of = all
		}
		return c
	}
	return c.empty() && other.empty() || reflect.DeepEqual(sorted(c), sorted(other))
}

// takes reports whether that name of somebody else's is the claim's.
func (c claim) takes(container, name string) bool {
	return slices.ContainsFunc(c.Taken[container], func(r ref) bool { return r.Name == name })
}

// has reports whether an entry of that name is the claim's.
func (c claim) has(container, name string) bool {
	_, root := c.Root[container]
	return root && name == bindingRootName || c.takes(container, name) ||
		slices.ContainsFunc(c.Taken[container], func(r ref) bool { return standIn(uidOf(r.Secret), r.Name) == name }) || slices.ContainsFunc(c.Env[container], func(r ref) bool { return r.Name == name })
}

// secrets are the Secrets that it refers to.
func (c claim) secrets() map[string]bool {
	all := map[string]bool{}
	for _, of := range []map[string][]ref{c.Env, c.Taken} {
		for _, refs := range of {
			for _, r := range refs {
				all[r.Secret] = true
			}
		}
	}
	for _, name := range c.From {
		all[name] = true
	}
	if c.Files != "" {
		all[c.Files] = true
	}
	return all
}

// manager is the field manager of a connection.
func manager(uid string) string { return "patchbay.dev/" + uid }

// fromManager is the one of all lists envFrom: such a list has one manager.
const fromManager = "patchbay.dev/envFrom"

// secretName is the name of a connection's Secret; n counts those of one
// generation, from 1.
func secretName(uid string, generation int64, n int, files bool) string {
	name := "patchbay-" + uid + "-g" + strconv.FormatInt(generation, 10)
	if n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	if files {
		name += "-files"
	}
	return name
}

var ourSecret = regexp.MustCompile(`^patchbay-([a-z0-9]+)-g[0-9]+(-[0-9]+)?(-files)?$`)

// uidOf is the connection that a Secret's name says it is of, "" for none.
func uidOf(secret string) string {
	if m := ourSecret.FindStringSubmatch(secret); m != nil {
		return m[1]
	}
	return ""
}

func volumeName(uid string) string { return "patchbay-" + uid }

// refersTo is the Secret of ours that an entry takes its value from, "" for any
// other entry.
func refersTo(e corev1.EnvVar) string {
	if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil || e.ValueFrom.SecretKeyRef.Key != e.Name || uidOf(e.ValueFrom.SecretKeyRef.Name) == "" {
		return ""
	}
	return e.ValueFrom.SecretKeyRef.Name
}

// containers are those that run first, and those that run.
func containers(spec corev1.PodSpec) []corev1.Container {
	return slices.Concat(spec.InitContainers, spec.Containers)
}

// claims are what connections have in a pod's specification, by uid. Its binding
// root is no connection's by its looks: see claimOf.
func claims(spec corev1.PodSpec) map[string]claim {
	all := map[string]claim{}
	of := func(uid string) claim {
		if _, ok := all[uid]; !ok {
			all[uid] = newClaim()
		}
		return all[uid]
	}
	for _, v := range spec.Volumes {
		if v.Secret == nil {
			continue
		}
		if uid := uidOf(v.Secret.SecretName); uid != "" && v.Name == volumeName(uid) {
			c := of(uid)
			c.Files = v.Secret.SecretName
			all[uid] = c
		}
	}
	for _, container := range containers(spec) {
		for _, e := range container.Env {
			if secret := refersTo(e); secret != "" {
				c := of(uidOf(secret))
				c.Env[container.Name] = append(c.Env[container.Name], ref{Name: e.Name, Secret: secret})
			}
		}
		for _, r := range taken(container) {
			c := of(uidOf(r.Secret))
			c.Taken[container.Name] = append(c.Taken[container.Name], r)
		}
		for _, from := range container.EnvFrom {
			if from.SecretRef != nil && from.Prefix == "" && uidOf(from.SecretRef.Name) != "" {
				of(uidOf(from.SecretRef.Name)).From[container.Name] = from.SecretRef.Name
			}
		}
		for _, m := range container.VolumeMounts {
			for uid, c := range all {
				if m.Name == volumeName(uid) && c.Files != "" {
					c.At[container.Name] = m.MountPath
				}
			}
		}
	}
	return all
}

// claimOf is what the connection has in the workload's template.
func (w *workload) claimOf(uid string) claim {
	c, ok := claims(w.template.Spec)[uid]
	if !ok {
		c = newClaim()
	}
	for _, container := range containers(w.template.Spec) {
		_, initial := w.container(container.Name)
		for _, e := range container.Env {
			if e.Name == bindingRootName && e.ValueFrom == nil &&
				slices.Contains(w.managers(append(containerPath(container.Name, initial), "f:env", keyed("name", e.Name))...), manager(uid)) {
				c.Root[container.Name] = e.Value
			}
		}
	}
	return c
}

// holds reports whether the connection has exactly that in the template; with
// nothing, it has no field either.
func (w *workload) holds(uid string, c claim) bool {
	return c.equal(w.claimOf(uid)) && (!c.empty() || !w.has(manager(uid)))
}

// blank is an entry of ours that somebody has given a value, which has to go.
type blank struct{ container, name string }

// applied is the claim as what is applied for it, with entries that are given back;
// nil for an empty one.
func (w *workload) applied(uid string, c claim, blanks []blank, giving map[string]map[string]original) *corev1ac.PodTemplateSpecApplyConfiguration {
	names := map[string]bool{}
	for _, of := range []map[string]string{c.At, c.Root} {
		for name := range of {
			names[name] = true
		}
	}
	for _, of := range []map[string][]ref{c.Env, c.Taken} {
		for name := range of {
			names[name] = true
		}
	}
	for name := range giving {
		names[name] = true
	}
	if len(names) == 0 && c.Files == "" {
		return nil
	}
	spec := corev1ac.PodSpec()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		container := corev1ac.Container().WithName(name)
		var entries []*corev1ac.EnvVarApplyConfiguration
		secretly := func(name, secret, key string) *corev1ac.EnvVarApplyConfiguration {
			return corev1ac.EnvVar().WithName(name).WithValueFrom(corev1ac.EnvVarSource().
				WithSecretKeyRef(corev1ac.SecretKeySelector().WithName(secret).WithKey(key)))
		}
		if root, ok := c.Root[name]; ok {
			entries = append(entries, corev1ac.EnvVar().WithName(bindingRootName).WithValue(root))
		}
		for _, r := range c.Env[name] {
			e := secretly(r.Name, r.Secret, r.Name)
			if slices.Contains(blanks, blank{name, r.Name}) {
				e.WithValue("")
			}
			entries = append(entries, e)
		}
		for _, r := range c.Taken[name] {
			other := standIn(uid, r.Name)
			entries = append(entries, secretly(other, r.Secret, r.Name), corev1ac.EnvVar().WithName(r.Name).WithValue(standInReference(other)))
		}
		for _, was := range slices.Sorted(maps.Keys(giving[name])) {
			e := corev1ac.EnvVar().WithName(was)
			if value := giving[name][was].Value; value != nil {
				e.WithValue(*value)
			}
			entries = append(entries, e)
		}
		if there, _ := w.container(name); there != nil {
			entries = places(there, entries)
		}
		container.WithEnv(entries...)
		if at, ok := c.At[name]; ok {
			container.WithVolumeMounts(corev1ac.VolumeMount().WithName(volumeName(uid)).WithMountPath(at).WithReadOnly(true))
		}
		if _, initial := w.container(name); initial {
			spec.WithInitContainers(container)
		} else {
			spec.WithContainers(container)
		}
	}
	if c.Files != "" {
		spec.WithVolumes(corev1ac.Volume().WithName(volumeName(uid)).WithSecret(corev1ac.SecretVolumeSource().WithSecretName(c.Files)))
	}
	return corev1ac.PodTemplateSpec().WithSpec(spec)
}

// rootOf is where a container finds its bindings.
func (s *source) rootOf(c *corev1.Container) string {
	for _, e := range c.Env {
		if e.Name == bindingRootName && e.ValueFrom == nil && path.IsAbs(e.Value) {
			return path.Clean(e.Value)
		}
	}
	if s.root != "" {
		return s.root
	}
	return defaultRoot
}
