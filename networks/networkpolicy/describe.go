package networkpolicy

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

var description = patchbay.Driver{
	Name: "networkpolicy", Title: "Kubernetes NetworkPolicy", Noun: "Kubernetes cluster whose policies guard targets in it",
	About: `The NetworkPolicies of a cluster, for targets that run in its pods. From a target's first
connection on, its pods are closed, all of their ports, for everybody who has no
connection: who else needs them (a backup, a monitor, Patchbay itself) is named with
--allow before. The target's own pods are let in to each other. It stays closed after the
last connection.

A target is found by its name in the cluster, SERVICE.NAMESPACE.svc, or by --namespace and
--service. Policies are the work of the cluster's network: one that does not enforce them
keeps nobody out. With --relay-image, that is tried.`,
	Types:     []string{"Patchbay.Services/guards"},
	Solutions: []string{driver.PrivateLink},
	Endpoint:  kubeconnect.Endpoint(),
	Properties: slices.Concat([]patchbay.Field{
		{Name: "namespace", Type: patchbay.TextField, About: "the only namespace whose targets it guards, and that it needs rights in", Default: "any", Example: "shop"},
		{Name: "service", Type: patchbay.TextField, About: "the Service, in --namespace, of targets that are registered by another address: a node's, or a load balancer's. Applications in the cluster find them by its name, and their settings say so"},
		{Name: "alias", Type: patchbay.TextField, Form: "NAME", About: "another name of that Service in the cluster's DNS, by which applications find it: one that its certificate is for, such as orders.shop.svc.cluster.local", Default: "SERVICE.NAMESPACE.svc"},
		{Name: "allow", Type: patchbay.ListField, Commas: true, Form: "WHO", About: "who is always let in, to every port: NAMESPACE/LABEL=VALUE, several labels with +, NAMESPACE/ for all of its pods, or an address or prefix outside of the cluster", Example: "monitoring/app=prometheus"},
		{Name: "relayImage", Type: patchbay.TextField, Form: "IMAGE", About: "an image of Patchbay that the cluster can pull: a pod of it, which no policy lets in, tries whether policies are enforced", Default: "none, and that is not tried"},
	}, kubeconnect.TLSFields()),
	Admin: kubeconnect.AdminFields(),
	Lacks: []patchbay.Lack{
		{What: "pods on their node's network (hostNetwork)", Why: "policies do not apply to them"},
		{What: "an end of sessions that are open", Why: "whether a session outlives what let it in is the cluster's network's to say"},
		{What: "UDP", Why: "no target of Patchbay's is reached by it"},
	},
}

// Driver is the driver for guards of NetworkPolicies.
func Driver() driver.NetworkDriver { return driver.NetworkDriver{Driver: description, Open: open} }
