package kubernetes

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// searched is what a search is told, which is in every registration that it leads to.
var searched = []string{"endpoint", "namespace", "tls.ca", "tls.serverName"}

// search finds the workloads of the namespace that is named, or of all that the
// credential may list; of its own or default, where it may not list namespaces. What it
// may not list in one is left out.
func search(ctx context.Context, c driver.Config, reveal func(driver.Found) driver.Reveal) ([]driver.Found, error) {
	var p properties
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	config, own, err := kubeconnect.Configure(c, p.Access)
	if err != nil {
		return nil, err
	}
	if own == "" {
		own = "default"
	}
	if p.Namespace != "" {
		own = p.Namespace
	}
	if !dnsName.MatchString(own) {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the namespace %.80q is no name that Kubernetes has", own)
	}
	client, err := connect(config, own)
	if err != nil {
		return nil, err
	}
	defer client.close()
	namespaces := []string{own}
	if p.Namespace == "" {
		var list corev1.NamespaceList
		switch err := client.core.Get().Resource("namespaces").Do(ctx).Into(&list); {
		case err == nil:
			namespaces = nil
			for _, n := range list.Items {
				namespaces = append(namespaces, n.Name)
			}
		case !apierrors.IsForbidden(err):
			r := reach{cluster: client, rights: rightsOn("", "namespaces", "list")}
			return nil, r.fault(patchbay.SettingsUnreadable, r.rights[0], err)
		}
	}
	s := &survey{reveal: reveal, inside: c.Endpoint == kubeconnect.InCluster}
	for _, namespace := range namespaces {
		there := *client
		there.namespace = namespace
		there.secrets = client.secretsIn(namespace)
		s.cluster = &there
		if err := s.namespace(ctx); err != nil {
			return nil, err
		}
	}
	// Whoever may list nothing is told so, and not that there is nothing.
	if len(s.found) == 0 && s.refused != nil {
		return nil, s.refused
	}
	return s.found, nil
}

// survey is a search in one namespace after the other.
type survey struct {
	*cluster
	reveal  func(driver.Found) driver.Reveal
	inside  bool // Patchbay runs in the cluster
	found   []driver.Found
	refused error
}

func (s *survey) namespace(ctx context.Context) error {
	var services corev1.ServiceList
	if err := s.core.Get().Namespace(s.cluster.namespace).Resource("services").Do(ctx).Into(&services); err != nil && !apierrors.IsForbidden(err) {
		r := reach{cluster: s.cluster, rights: rightsOn("", "services", "list")}
		return r.fault(patchbay.SettingsUnreadable, r.rights[0], err)
	}
	for _, name := range kindNames() {
		k := kinds[name]
		all, err := k.list(ctx, s.cluster, "")
		if err != nil {
			r := reach{cluster: s.cluster, rights: rightsOn(k.group, k.resource, "list")}
			fault := r.fault(patchbay.SettingsUnreadable, r.rights[0], err)
			if !apierrors.IsForbidden(err) {
				return fault
			}
			if s.refused == nil {
				s.refused = fault
			}
			continue
		}
		for _, w := range all {
			f, err := s.describe(ctx, w, services.Items)
			if err != nil {
				return err
			}
			s.found = append(s.found, f)
		}
	}
	return nil
}

func (s *survey) describe(ctx context.Context, w *workload, services []corev1.Service) (driver.Found, error) {
	f := driver.Found{
		Name: w.Name, Within: w.Namespace, Instance: string(w.UID), What: fmt.Sprintf("%s in the namespace %s", w.kind.name, w.Namespace),
		State: "scheduled", Running: true, Properties: map[string]any{"namespace": w.Namespace, "kind": w.kind.name, "name": w.Name},
		Plumbing: strings.HasPrefix(w.Namespace, "kube-") || len(w.template.Spec.Containers) == 0,
	}
	if w.selector != nil {
		f.State = fmt.Sprintf("%d of %d ready", w.rollout.ready, w.rollout.desired)
		f.Running = w.rollout.ready > 0
	}
	if f.Plumbing {
		return f, nil
	}
	main := &w.template.Spec.Containers[0]
	if usual, _ := w.container(w.template.Annotations["kubectl.kubernetes.io/default-container"]); usual != nil {
		main = usual
	}
	f.Image = main.Image
	f.What += ", of the image " + f.Image
	for _, p := range main.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			f.Ports = append(f.Ports, uint16(p.ContainerPort))
		}
	}
	f.Reach = s.reach(w, main, services)
	variables, err := s.variables(ctx, main)
	if err != nil {
		return f, err
	}
	err = f.Environment(variables, s.reveal, func(name string) (string, error) { return s.file(ctx, w, main, name) })
	return f, err
}

// reach is where the services in front of a workload answer.
func (s *survey) reach(w *workload, c *corev1.Container, services []corev1.Service) []driver.Reach {
	var outside, inside []driver.Reach
	for _, service := range services {
		if len(service.Spec.Selector) == 0 || !within(service.Spec.Selector, w.template.Labels) {
			continue
		}
		for _, p := range service.Spec.Ports {
			port, ok := portOf(c, p)
			if !ok || p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
				continue
			}
			number := strconv.Itoa(int(p.Port))
			for _, to := range service.Status.LoadBalancer.Ingress {
				if host := to.IP + to.Hostname; host != "" {
					outside = append(outside, driver.Reach{Port: port, Address: net.JoinHostPort(host, number)})
				}
			}
			way := driver.Reach{Port: port, Address: fmt.Sprintf("%s.%s.svc:%s", service.Name, service.Namespace, number)}
			if !s.inside {
				way.Note = way.Address + " is known to the pods of the cluster alone: Patchbay reaches it where it runs in the cluster"
			}
			inside = append(inside, way)
		}
	}
	return slices.Concat(outside, inside)
}

func within(some, all map[string]string) bool {
	for name, value := range some {
		if all[name] != value {
			return false
		}
	}
	return true
}

// portOf is the port of a container that one of a service's leads to.
func portOf(c *corev1.Container, p corev1.ServicePort) (uint16, bool) {
	switch to := p.TargetPort; {
	case to.Type == intstr.String && to.StrVal != "":
		for _, named := range c.Ports {
			if named.Name == to.StrVal {
				return uint16(named.ContainerPort), true
			}
		}
		return 0, false
	case to.IntVal != 0:
		return uint16(to.IntVal), true
	}
	return uint16(p.Port), true
}

// variables are a container's. Those of Secrets and ConfigMaps that can't be read have
// no value, or are left out.
func (s *survey) variables(ctx context.Context, c *corev1.Container) (map[string]string, error) {
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		var name string
		get := s.secret
		switch {
		case from.SecretRef != nil:
			name = from.SecretRef.Name
		case from.ConfigMapRef != nil:
			name, get = from.ConfigMapRef.Name, s.configMap
		default:
			continue
		}
		content, err := get(ctx, name)
		if err != nil {
			return nil, err
		}
		for key, value := range content {
			all[from.Prefix+key] = value
		}
	}
	for _, e := range c.Env {
		all[e.Name] = e.Value
		var name, key string
		get := s.secret
		switch {
		case e.ValueFrom == nil:
			continue
		case e.ValueFrom.SecretKeyRef != nil:
			name, key = e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Key
		case e.ValueFrom.ConfigMapKeyRef != nil:
			name, key, get = e.ValueFrom.ConfigMapKeyRef.Name, e.ValueFrom.ConfigMapKeyRef.Key, s.configMap
		default:
			continue
		}
		if s.reveal == nil {
			continue // its name is all that is asked for
		}
		content, err := get(ctx, name)
		if err != nil {
			return nil, err
		}
		all[e.Name] = content[key]
	}
	return all, nil
}

// secret is the content of one, empty where there is none, or none for us.
func (s *survey) secret(ctx context.Context, name string) (map[string]string, error) {
	var found corev1.Secret
	if err := s.read(ctx, "secrets", name, &found); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for key, value := range found.Data {
		all[key] = string(value)
	}
	return all, nil
}

func (s *survey) configMap(ctx context.Context, name string) (map[string]string, error) {
	var found corev1.ConfigMap
	err := s.read(ctx, "configmaps", name, &found)
	return found.Data, err
}

func (s *survey) read(ctx context.Context, resource, name string, into runtime.Object) error {
	err := s.core.Get().Namespace(s.cluster.namespace).Resource(resource).Name(name).Do(ctx).Into(into)
	if err == nil || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil
	}
	r := reach{cluster: s.cluster, rights: rightsOn("", resource, "get")}
	return r.fault(patchbay.SettingsUnreadable, r.rights[0], err)
}

// file is the content of a file that a container has from a Secret.
func (s *survey) file(ctx context.Context, w *workload, c *corev1.Container, name string) (string, error) {
	for _, m := range c.VolumeMounts {
		at := slices.IndexFunc(w.template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.Secret != nil })
		if at < 0 {
			continue
		}
		secret, key := w.template.Spec.Volumes[at].Secret, m.SubPath
		if key == "" && path.Dir(name) == path.Clean(m.MountPath) {
			key = path.Base(name)
		} else if path.Clean(name) != path.Clean(m.MountPath) {
			continue
		}
		for _, item := range secret.Items {
			if item.Path == key {
				key = item.Key
				break
			}
		}
		content, err := s.secret(ctx, secret.SecretName)
		if err != nil {
			return "", err
		}
		if value, ok := content[key]; ok {
			return strings.TrimRight(value, "\r\n"), nil
		}
	}
	return "", patchbay.Errorf(patchbay.SettingsUnreadable, "the file %s of %s is of no Secret that Patchbay may read", driver.Quoted(name), w.called()).
		WithFix("give its content yourself, when you register it")
}
