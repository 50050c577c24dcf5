package kubernetes

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A name that somebody else has in env, with a value, is taken over by one field: its
// value is $(ANOTHER), and the entry of that other name, which is ours, has the secret.
// With a valueFrom of ours beside it, their next apply would be no valid template;
// so it is one that has a conflict with our field manager, or one that has their value
// again. What their entry was is in the connection's Secret.

// takenAnnotation is on a connection's Secret: originals, as JSON.
const takenAnnotation = "patchbay.dev/taken-over"

// originals are entries that somebody else had, by workload, container and name.
type originals map[string]map[string]map[string]original

// original is one: its value, nil for none, and the field managers that had it.
type original struct {
	Value  *string  `json:"value"`
	Owners []string `json:"owners"`
}

func (o originals) of(workload, container, name string) (original, bool) {
	one, ok := o[workload][container][name]
	return one, ok
}

func (o originals) add(workload, container, name string, one original) {
	if o[workload] == nil {
		o[workload] = map[string]map[string]original{}
	}
	if o[workload][container] == nil {
		o[workload][container] = map[string]original{}
	}
	o[workload][container][name] = one
}

// covers reports whether all of the others are in o.
func (o originals) covers(others originals) bool {
	for workload, containers := range others {
		for container, names := range containers {
			for name := range names {
				if _, ok := o.of(workload, container, name); !ok {
					return false
				}
			}
		}
	}
	return true
}

func originalsIn(secret *corev1.Secret) originals {
	o := originals{}
	if err := json.Unmarshal([]byte(secret.Annotations[takenAnnotation]), &o); err != nil {
		return originals{}
	}
	return o
}

// originalsOf are what Secrets of a connection remember: of several the first, which saw
// what nobody had touched.
func originalsOf(all map[string]*corev1.Secret) originals {
	o := originals{}
	for _, secret := range slices.SortedFunc(maps.Values(all), func(a, b *corev1.Secret) int { return int(markOf(b).Generation - markOf(a).Generation) }) {
		for workload, containers := range originalsIn(secret) {
			for container, names := range containers {
				for name, one := range names {
					o.add(workload, container, name, one)
				}
			}
		}
	}
	return o
}

// takes are the entries of others that a connection comes to have by c, and those that
// it has taken before, as known tells of them.
func (r *reading) takes(c driver.Change, known originals) originals {
	all := originals{}
	for _, w := range r.workloads {
		for _, name := range r.chosen[w.Name] {
			container, initial := w.container(name)
			for _, set := range c.Set {
				i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == set.Name })
				if set.File || i < 0 || !mayTake(c, set.Name) || uidOf(refersTo(container.Env[i])) != "" {
					continue
				}
				if one, ok := known.of(w.Name, name, set.Name); ok {
					all.add(w.Name, name, set.Name, one)
					continue
				}
				e := container.Env[i]
				if e.ValueFrom != nil || strings.HasPrefix(e.Value, standInReference("")) {
					continue
				}
				var one original
				at := append(containerPath(name, initial), "f:env", keyed("name", set.Name))
				if one.Owners = w.managers(append(at, "f:value")...); e.Value != "" || len(one.Owners) > 0 {
					one.Value = &e.Value
				}
				if len(one.Owners) == 0 {
					one.Owners = w.managers(at...)
				}
				all.add(w.Name, name, set.Name, one)
			}
		}
	}
	return all
}

// mayTake reports whether the change says that somebody else's name may be had.
func mayTake(c driver.Change, name string) bool {
	return slices.ContainsFunc(c.Back, func(b patchbay.Setting) bool { return !b.File && b.Name == name })
}

// standIn is the entry of ours that has the value of a name that is taken over.
func standIn(uid, name string) string { return "PATCHBAY_" + strings.ToUpper(uid) + "_" + name }

func standInReference(standIn string) string {
	if standIn == "" {
		return "$(PATCHBAY_"
	}
	return "$(" + standIn + ")"
}

// standsIn is the connection's Secret that such an entry has its value from, and for
// which name; "" of any other entry.
func standsIn(e corev1.EnvVar) (secret, name string) {
	if e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil {
		return "", ""
	}
	from := e.ValueFrom.SecretKeyRef
	if uid := uidOf(from.Name); uid == "" || e.Name != standIn(uid, from.Key) {
		return "", ""
	}
	return from.Name, from.Key
}

// taken are the names of a container that are taken over, as its entries say: Lone when
// somebody has the name again, or comes before what stands in for it.
func taken(container corev1.Container) (all []ref) {
	for i, e := range container.Env {
		secret, name := standsIn(e)
		if secret == "" {
			continue
		}
		at := slices.IndexFunc(container.Env, func(other corev1.EnvVar) bool { return other.Name == name })
		all = append(all, ref{Name: name, Secret: secret, Lone: at < i || container.Env[at].Value != standInReference(e.Name)})
	}
	return all
}

// places orders a connection's entries as they stand in a container, for what is applied
// in another order moves what is others'. What stands in for a name comes before all of
// those.
func places(container *corev1.Container, entries []*corev1ac.EnvVarApplyConfiguration) []*corev1ac.EnvVarApplyConfiguration {
	first := len(container.Env)
	place := map[string]int{}
	for i, e := range container.Env {
		place[e.Name] = i
	}
	isReference := func(e *corev1ac.EnvVarApplyConfiguration) bool {
		return e.Value != nil && strings.HasPrefix(*e.Value, standInReference(""))
	}
	for _, e := range entries {
		if i, ok := place[*e.Name]; ok && isReference(e) {
			first = min(first, i)
		}
	}
	rank := func(e *corev1ac.EnvVarApplyConfiguration) int {
		if i, ok := place[*e.Name]; ok {
			return 2*i + 1
		}
		if strings.HasPrefix(*e.Name, "PATCHBAY_") && e.ValueFrom != nil && *e.ValueFrom.SecretKeyRef.Key != *e.Name {
			return 2 * first
		}
		return 2*len(container.Env) + 1
	}
	slices.SortStableFunc(entries, func(a, b *corev1ac.EnvVarApplyConfiguration) int { return rank(a) - rank(b) })
	return entries
}

// givenBack are the entries that a connection had taken over and will not have with c,
// and that somebody still has: with what they were, by container. Nobody is given back
// what they have taken out.
func (w *workload) givenBack(uid string, c claim, was originals, back []patchbay.Setting) map[string]map[string]original {
	all := map[string]map[string]original{}
	for container, refs := range w.claimOf(uid).Taken {
		_, initial := w.container(container)
		for _, r := range refs {
			if r.Lone || c.takes(container, r.Name) {
				continue
			}
			path := append(containerPath(container, initial), "f:env", keyed("name", r.Name))
			if len(slices.DeleteFunc(w.managers(path...), func(m string) bool { return m == manager(uid) })) == 0 {
				continue
			}
			one, ok := was.of(w.Name, container, r.Name)
			if !ok { // its Secret is gone
				for _, b := range back {
					if value := b.Value.Reveal(); b.Name == r.Name && !b.File {
						one.Value = &value
					}
				}
			}
			if all[container] == nil {
				all[container] = map[string]original{}
			}
			all[container][r.Name] = one
		}
	}
	return all
}

// value is a field's, "" of none.
func value(field *string) string {
	if field == nil {
		return ""
	}
	return *field
}
