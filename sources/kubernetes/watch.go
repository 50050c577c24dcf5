package kubernetes

import (
	"context"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	machinery "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
	"patchbay.dev/patchbay/sources/internal/eventstreams"
)

var (
	_ driver.Watcher = (*source)(nil)
	_ driver.Watcher = (*secretSource)(nil)
)

// stream is a watch of one kind of object in a namespace, as somebody may see it. All
// sources that are alike in it share one.
type stream struct {
	host, namespace string
	who             [32]byte // a sum of how we sign in
	group, resource string
}

var streams eventstreams.Streams[stream, watched]

// watched is an object that has changed: what it is called and bears, not what is in it.
type watched struct {
	metav1.PartialObjectMetadata
	deleted bool
}

// follow watches a kind of object in the namespace.
func (r *reach) follow(ctx context.Context, client rest.Interface, group, resource string, match func(watched) bool, changed func()) error {
	key := stream{r.Host, r.namespace, r.Credential(), group, resource}
	return streams.Watch(ctx, key, func(ctx context.Context, tell func(*watched)) error {
		return r.following(ctx, client, group, resource, tell)
	}, match, changed)
}

// following watches until ctx ends, or it can't: over and over, because servers end a
// watch after some time.
func (r *reach) following(ctx context.Context, client rest.Interface, group, resource string, tell func(*watched)) error {
	version := ""
	for {
		next, err := r.followFrom(ctx, client, resource, version, tell)
		switch {
		case err != nil && version != "" && (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)):
			next = "" // too much has happened since: anything may have
		case err != nil:
			all := *r
			all.rights = slices.Concat(r.rights, r.watches())
			return all.fault(patchbay.SettingsUnreadable, kubeconnect.On(group, resource, "watch"), err)
		case next == version: // a server that goes on says something now and then, if only where it is
			return patchbay.Errorf(patchbay.SettingsUnreadable, "the API server at %s ends each watch without a word", r.Address()).AsTransient()
		}
		version = next
	}
}

// followFrom is one watch, which a server ends after some time. last is the version to go
// on from.
func (r *reach) followFrom(ctx context.Context, client rest.Interface, resource, version string, tell func(*watched)) (last string, err error) {
	w, err := client.Get().Namespace(r.namespace).Resource(resource).
		VersionedParams(&metav1.ListOptions{Watch: true, ResourceVersion: version, AllowWatchBookmarks: true}, parameters).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Watch(ctx)
	if err != nil {
		return version, err
	}
	defer func() {
		w.Stop()
		for range w.ResultChan() { // until its goroutine has ended
		}
	}()
	if version == "" {
		tell(nil)
	}
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return version, apierrors.FromObject(event.Object)
		}
		one, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return version, patchbay.Errorf(patchbay.SettingsUnreadable, "the API server at %s does not tell what it was asked for", r.Address())
		}
		if version = one.ResourceVersion; event.Type != watch.Bookmark {
			tell(&watched{*one, event.Type == watch.Deleted})
		}
	}
	return version, ctx.Err()
}

// watches are the rights that watching takes. A source works without them.
func (r *reach) watches() []right {
	var all []right
	for _, had := range r.rights {
		if had.Verb == "get" && !strings.Contains(had.Resource, "/") && had.Resource != "pods" {
			all = append(all, kubeconnect.On(had.Group, had.Resource, "watch"))
		}
	}
	return all
}

// Watch implements [driver.Watcher]: of the workloads, of our Secrets, and of the Secrets
// and ConfigMaps that their containers have variables from.
func (s *source) Watch(ctx context.Context, changed func()) error {
	var mu sync.Mutex
	refers := map[string]bool{}
	client := s.apps
	if s.kind.group == "batch" {
		client = s.batch
	}
	mine := s.workloadMatch()
	named := func(resource string) func(watched) bool {
		return func(o watched) bool {
			mu.Lock()
			defer mu.Unlock()
			connection := patchbay.ID(o.Annotations[connectionAnnotation])
			return refers[resource+"/"+o.Name] || o.Labels[connectionLabel] != "" && connection.Equal(s.id.Linker(connection.Name()))
		}
	}
	return eventstreams.Together(ctx, changed,
		func(ctx context.Context, changed func()) error {
			return s.follow(ctx, client, s.kind.group, s.kind.resource, mine, func() {
				// Before anybody looks: what happens to these afterwards is told.
				now := s.references(ctx)
				mu.Lock()
				refers = now
				mu.Unlock()
				changed()
			})
		},
		func(ctx context.Context, changed func()) error {
			return s.follow(ctx, s.core, "", "secrets", named("secrets"), changed)
		},
		func(ctx context.Context, changed func()) error {
			return s.follow(ctx, s.core, "", "configmaps", named("configmaps"), changed)
		})
}

// workloadMatch says which objects are the source's: by their name, or their labels, also
// those that had them. It is asked of one event after the other.
func (s *source) workloadMatch() func(watched) bool {
	selector := labels.Nothing()
	if s.selector != "" {
		selector, _ = labels.Parse(s.selector) // open has
	}
	type state struct {
		generation int64
		labels     string
		ending     bool
	}
	seen := map[machinery.UID]state{}
	return func(o watched) bool {
		had, known := seen[o.UID]
		if o.Name != s.name && !selector.Matches(labels.Set(o.Labels)) && !known {
			return false
		}
		if o.deleted {
			delete(seen, o.UID)
			return true
		}
		now := state{o.Generation, labels.Set(o.Labels).String(), o.DeletionTimestamp != nil}
		seen[o.UID] = now
		// A CronJob that runs every minute has another status every minute.
		return s.kind.name != "CronJob" || !known || now != had
	}
}

// references are the Secrets and ConfigMaps that the workloads' containers have
// variables from, by resource/name; none while there is no workload.
func (s *source) references(ctx context.Context) map[string]bool {
	all := map[string]bool{}
	ctx, cancel := context.WithTimeout(ctx, driver.DefaultTimeout)
	defer cancel()
	workloads, err := s.find(ctx)
	if err != nil {
		return all // whoever is told finds out
	}
	for _, w := range workloads {
		for _, c := range containers(w.template.Spec) {
			for _, from := range c.EnvFrom {
				switch {
				case from.SecretRef != nil:
					all["secrets/"+from.SecretRef.Name] = true
				case from.ConfigMapRef != nil:
					all["configmaps/"+from.ConfigMapRef.Name] = true
				}
			}
			for _, e := range c.Env {
				switch {
				case e.ValueFrom == nil:
				case e.ValueFrom.SecretKeyRef != nil:
					all["secrets/"+e.ValueFrom.SecretKeyRef.Name] = true
				case e.ValueFrom.ConfigMapKeyRef != nil:
					all["configmaps/"+e.ValueFrom.ConfigMapKeyRef.Name] = true
				}
			}
		}
	}
	return all
}

// Watch implements [driver.Watcher]: of the Secrets in its namespace that are called as
// Azure calls them.
func (s *secretSource) Watch(ctx context.Context, changed func()) error {
	return s.follow(ctx, s.core, corev1.GroupName, "secrets", func(o watched) bool { return azureSecret.MatchString(o.Name) }, changed)
}
