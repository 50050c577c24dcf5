// Package kubernetes has the source drivers for applications in a Kubernetes
// cluster: kubernetes, for the workloads themselves, and kubernetes-secret, for a
// Secret alone, as Azure's Service Connector writes it.
//
// # Workloads
//
// What a connection has is two things. Its settings are a Secret that never
// changes, one a generation, patchbay-{uid}-g{n}. What says that a container reads
// it is in the pod template, by server-side apply with a field manager of the
// connection's own, patchbay.dev/{uid}: entries of env with a secretKeyRef. So one
// request brings all of the settings, or none; what it changes of the template is
// what makes Kubernetes roll out; a rollback is the template as it was, with the
// Secret that it names still there; and everybody else's fields stay theirs. Why
// not one Secret and an annotation is in docs/decisions/0022.
//
// A Secret that a change replaces is kept until the operation can't be undone any
// more ([driver.Keeper]).
//
// An entry of env that somebody else has is written over only when the caller says so,
// and then by its value alone (taken.go): with a Secret of ours beside that it would be
// refused at their next apply. Names that come
// from a ConfigMap or Secret by envFrom are covered up by an entry, and seen again
// when that goes.
package kubernetes

import (
	"context"
	"encoding/json"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// maxWorkloads bounds what a selector may select.
const maxWorkloads = 50

// properties are what a registration says besides the endpoint.
type properties struct {
	kubeconnect.Access
	Namespace   string      `json:"namespace"`
	Kind        string      `json:"kind"`
	Name        string      `json:"name"`
	Selector    string      `json:"selector"`
	Containers  []string    `json:"containers"`
	Deliver     string      `json:"deliver"`
	BindingRoot string      `json:"bindingRoot"`
	Egress      []string    `json:"egress"`
	RelayImage  string      `json:"relayImage"`
	Wait        driver.Wait `json:"wait"`
}

// Driver is the driver for workloads.
func Driver() driver.SourceDriver {
	return driver.SourceDriver{
		Driver:   description,
		Keeps:    true,
		Discover: search,
		Open: func(_ context.Context, c driver.Config) (driver.Source, error) {
			return open(c)
		},
	}
}

type source struct {
	reach
	kind          *kind
	name          string // or selector
	selector      string
	containers    []string // none: the only one
	deliver       string
	root          string // "" for what the container says
	egress        []netip.Prefix
	limit, steady time.Duration
	poll          time.Duration // between two looks at a rollout
	relayImage    string        // "" for none
	dials         hosts.DialRules
}

var _ interface {
	driver.Source
	driver.Restarter
	driver.Keeper
	driver.Vantage
	driver.Starter
	driver.Platformed
} = (*source)(nil)

var dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// open checks what the registration says, and reaches nothing.
func open(c driver.Config) (*source, error) {
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if job(c.Properties) {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the template of a Job can't be changed once it is there, so no connection can be put into it").
			WithFix("register the CronJob that makes it, with --kind CronJob")
	}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	config, namespace, err := kubeconnect.Configure(c, p.Access)
	if err != nil {
		return nil, err
	}
	s := &source{
		name: p.Name, selector: p.Selector, containers: p.Containers, deliver: p.Deliver, root: p.BindingRoot, poll: 500 * time.Millisecond,
		relayImage: p.RelayImage, dials: c.Dials,
	}
	if p.Namespace != "" {
		namespace = p.Namespace
	}
	if namespace == "" {
		namespace = "default"
	}
	if s.deliver == "" {
		s.deliver = deliverEnv
	}
	if p.Kind == "" {
		p.Kind = "Deployment"
	}
	s.kind = kinds[p.Kind]
	switch {
	case !dnsName.MatchString(namespace):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the namespace %.80q is no name that Kubernetes has", namespace)
	case (p.Name == "") == (p.Selector == ""):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a source is one %s by its name, or all that have certain labels by a selector: give one of the two", p.Kind)
	case p.Name != "" && !dnsName.MatchString(p.Name):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the name %.80q is none that a %s can have", p.Name, p.Kind)
	case p.BindingRoot != "" && (!path.IsAbs(p.BindingRoot) || path.Clean(p.BindingRoot) != p.BindingRoot || p.BindingRoot == "/" || strings.ContainsAny(p.BindingRoot, ":\n")):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the bindingRoot %.80q is no absolute path of a directory in a container", p.BindingRoot)
	case p.RelayImage != "" && !kubeconnect.ImageName.MatchString(p.RelayImage):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the relayImage %.80q is no image such as REGISTRY/patchbay:TAG", p.RelayImage)
	}
	if p.Selector != "" {
		parsed, err := labels.Parse(p.Selector)
		if err != nil || parsed.Empty() {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the selector %.80q is none that Kubernetes reads, such as app=web,tier!=test", p.Selector)
		}
	}
	if c.Scope != "" { // one container of what is registered
		if len(s.containers) > 0 && !slices.Contains(s.containers, c.Scope) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the scope %.80q is none of the containers of %s: %s", c.Scope, c.ID.Name(), strings.Join(s.containers, ", "))
		}
		s.containers = []string{c.Scope}
	}
	if s.egress, err = driver.ParseEgress(p.Egress); err != nil {
		return nil, err
	}
	if s.limit, s.steady, err = p.Wait.Durations(); err != nil {
		return nil, err
	}
	client, err := connect(config, namespace)
	if err != nil {
		return nil, err
	}
	s.reach = reach{cluster: client, id: c.ID, rights: s.needs()}
	return s, nil
}

// needs are the rights that a connection's life takes.
func (s *source) needs() []right {
	verbs := []string{"get", "patch"}
	if s.selector != "" {
		verbs = append(verbs, "list")
	}
	all := slices.Concat(
		rightsOn(s.kind.group, s.kind.resource, verbs...),
		rightsOn("", "secrets", "get", "list", "create", "delete"),
		rightsOn("", "configmaps", "get"),
		rightsOn("", "pods", "list")) // of a CronJob, see awaitRuns
	if s.kind.name != "CronJob" {
		all = slices.Concat(all, rightsOn("", "pods/log", "get"), rightsOn("", "events", "list"))
	}
	if s.kind.name == "StatefulSet" || s.kind.name == "DaemonSet" {
		all = append(all, on("", "pods", "delete")) // see nudge
	}
	if s.relayImage != "" {
		for _, one := range s.kind.relayNeeds() {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	return all
}

// does is the right on the workload itself.
func (s *source) does(verb string) right { return on(s.kind.group, s.kind.resource, verb) }

// Close implements [driver.Source].
func (s *source) Close() error {
	s.close()
	return nil
}

// Inspect implements [driver.Source].
func (s *source) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	if err := s.checkRights(ctx); err != nil {
		return driver.SourceInfo{}, err
	}
	workloads, err := s.find(ctx)
	if err != nil {
		return driver.SourceInfo{}, err
	}
	info := driver.SourceInfo{Files: s.deliver == deliverFiles}
	for _, w := range workloads {
		names, err := s.chosen(w)
		if err != nil {
			return driver.SourceInfo{}, err
		}
		for _, name := range names {
			c, _ := w.container(name)
			switch root := s.rootOf(c); {
			case !info.Files:
			case info.FilesAt == "":
				info.FilesAt = root
			case info.FilesAt != root:
				return driver.SourceInfo{}, patchbay.Errorf(patchbay.NotSupported, "the containers of %s find their service bindings at different places, %s and %s", s.id.Name(), info.FilesAt, root).
					WithFix("register a source for each")
			}
		}
		switch {
		case w.rollout.paused:
			info.Warnings = append(info.Warnings, w.called()+" is paused: its pods get no settings until somebody resumes it")
		case w.rollout.byHand:
			info.Warnings = append(info.Warnings, w.called()+" has the update strategy OnDelete: to make it read its settings, Patchbay deletes its pods one by one")
		}
	}
	if !info.Files {
		info.NoFiles = "register it with --deliver servicebinding"
	}
	return info, nil
}

// find finds the workloads, sorted by name.
func (s *source) find(ctx context.Context) ([]*workload, error) {
	if s.selector == "" {
		w, err := s.kind.get(ctx, s.cluster, s.name)
		if missing(err) {
			return nil, patchbay.Errorf(patchbay.SourceNotFound, "there is no %s %s in the namespace %s", s.kind.name, s.name, s.namespace).
				WithFix("kubectl -n %s get %s", s.namespace, s.kind.resource)
		}
		if err != nil {
			return nil, s.fault(patchbay.SettingsUnreadable, s.does("get"), err)
		}
		return []*workload{w}, nil
	}
	all, err := s.kind.list(ctx, s.cluster, s.selector)
	switch {
	case err != nil:
		return nil, s.fault(patchbay.SettingsUnreadable, s.does("list"), err)
	case len(all) == 0:
		return nil, patchbay.Errorf(patchbay.SourceNotFound, "no %s in the namespace %s has the labels %s", s.kind.name, s.namespace, s.selector).
			WithFix("kubectl -n %s get %s --show-labels", s.namespace, s.kind.resource)
	case len(all) > maxWorkloads:
		return nil, patchbay.Errorf(patchbay.NotSupported, "the labels %s select %d workloads, and at most %d are one source", s.selector, len(all), maxWorkloads)
	}
	return all, nil
}

// chosen are the containers of a workload that get the settings.
func (s *source) chosen(w *workload) ([]string, error) {
	var there []string
	for _, c := range w.template.Spec.Containers {
		there = append(there, c.Name)
	}
	if len(s.containers) > 0 {
		for _, name := range s.containers {
			if c, _ := w.container(name); c == nil {
				return nil, patchbay.Errorf(patchbay.SourceNotFound, "%s has no container %.80s; it has %s", w.called(), name, strings.Join(there, ", ")).
					WithFix("register the source again with the --containers that there are")
			}
		}
		return s.containers, nil
	}
	if usual := w.template.Annotations["kubectl.kubernetes.io/default-container"]; slices.Contains(there, usual) {
		return []string{usual}, nil
	}
	if len(there) > 1 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has several containers, %s, and nothing says which one gets the settings", w.called(), strings.Join(there, ", ")).
			WithFix("register it with --containers %s, or name one as the connection's scope", there[0])
	}
	return there, nil
}

// job reports whether the registration is of a Job, which is no word for a kind.
func job(properties json.RawMessage) bool {
	var p struct {
		Kind string `json:"kind"`
	}
	return json.Unmarshal(properties, &p) == nil && p.Kind == "Job"
}
