package kubernetes

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// Ways in which settings come to a container.
const (
	deliverEnv     = "env"            // single entries of env
	deliverEnvFrom = "envFrom"        // a whole Secret
	deliverFiles   = "servicebinding" // single entries of env, and files in a volume
)

var description = patchbay.Driver{
	Name: "kubernetes", Title: "Kubernetes workload", Noun: "workload in a Kubernetes cluster", Part: "container",
	About: `A Deployment, StatefulSet, DaemonSet or CronJob, one by its name or many by labels. A
connection's settings are a Secret, and entries in the pod template that refer to it;
Kubernetes then rolls out the change, which is waited for.

What it may do in the namespace is what the API server lets its credential do. The
first check that finds a right missing prints the whole Role that it needs.`,
	Types:    driver.ComputeTypesFrom("Microsoft.App/containerApps"),
	Search:   searched,
	Endpoint: kubeconnect.Endpoint(),
	Properties: slices.Concat([]patchbay.Field{
		{Name: "namespace", Type: patchbay.TextField, About: "its namespace", Default: "the context's, or default"},
		{Name: "kind", Type: patchbay.TextField, About: "what it is", Words: kindNames(), Default: "Deployment"},
		{Name: "name", Type: patchbay.TextField, About: "its name", Example: "web"},
		{Name: "selector", Type: patchbay.TextField, About: "labels, in place of the name: all that have them, such as app=web,tier!=test"},
		{Name: "containers", Type: patchbay.ListField, Commas: true, About: "the containers that get the settings", Default: "the only one, or kubectl's default"},
		{Name: "deliver", Type: patchbay.TextField, About: "how the settings come to a container", Words: []string{deliverEnv, deliverEnvFrom, deliverFiles}, Default: deliverEnv},
		{Name: "bindingRoot", Type: patchbay.TextField, Form: "DIR", About: "where a container finds its service bindings", Default: "what its SERVICE_BINDING_ROOT says, or /bindings"},
		driver.EgressField(),
		{Name: "relayImage", Type: patchbay.TextField, Form: "IMAGE", About: "an image of Patchbay that the cluster can pull: probes then run from a pod of it, in the workload's place", Default: "none, and what would be tried from there is not checked"},
	}, kubeconnect.TLSFields(), driver.WaitFields()),
	Admin: kubeconnect.AdminFields(),
	Lacks: []patchbay.Lack{
		{What: "kind Job", Why: "the template of a Job can't be changed; its CronJob's can"},
		{What: "probes from the pod, without --relay-image", Why: "whoever speaks from a pod's network has to run in a pod, of an image that the cluster can pull"},
	},
}

var secretDescription = patchbay.Driver{
	Name: "kubernetes-secret", Title: "Kubernetes Secret", Noun: "namespace of a Kubernetes cluster that gets a Secret a connection", Part: "namespace",
	About: `A cluster as Azure's Service Connector serves it: each connection has a Secret of its
own, sc-CONNECTION-secret with the dashes taken out of the connection's name, in the
namespace that the connection's scope names. Nothing is restarted: workloads refer to
the Secret, and read it when they start.`,
	Types:    driver.ComputeTypesFrom("Microsoft.ContainerService/managedClusters"),
	Endpoint: kubeconnect.Endpoint(),
	Properties: slices.Concat([]patchbay.Field{
		{Name: "namespace", Type: patchbay.TextField, About: "the namespace of connections without a scope", Default: "default"},
	}, kubeconnect.TLSFields()),
	Admin: kubeconnect.AdminFields(),
	Lacks: []patchbay.Lack{
		{What: "restarts", Why: "which workloads read a Secret is theirs to say; register one with the driver kubernetes to have it restarted"},
	},
}
