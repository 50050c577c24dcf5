// Package networkpolicy guards targets in the pods of a Kubernetes cluster with its
// NetworkPolicies (https://kubernetes.io/docs/concepts/services-networking/network-policies/).
//
// A rule is one policy, patchbay-{uid}-g{n}, that lets the source's pods in to the target's
// pods and port; a rule for several sets of pods is several. What keeps everybody else out
// is a policy for each set of pods, patchbay-closed-{sum}: it lets in whom the operator names
// alone, and stays when the last rule goes. Policies add up: what somebody else's lets in stays let in,
// and no order of theirs matters.
package networkpolicy

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// fieldManager is who we are in the managed fields of what we write.
const fieldManager = "patchbay.dev/networkpolicy"

// properties are what a registration says besides the endpoint.
type properties struct {
	kubeconnect.Access
	Namespace  string   `json:"namespace"`
	Service    string   `json:"service"`
	Alias      string   `json:"alias"`
	Allow      []string `json:"allow"`
	RelayImage string   `json:"relayImage"`
}

// network is a cluster's guard, for one target.
type network struct {
	kubeconnect.Asker
	networking rest.Interface
	service    string
	alias      string // by which pods find it; "": by its own name
	allow      []networkingv1.NetworkPolicyPeer
	relayImage string // "" for none
	key        string // of the guard, as the value of a label
	dials      hosts.DialRules
	target     target

	mu     sync.Mutex
	where  string // which cluster, once it is known
	mayAll bool   // our rights have been checked
	trials map[string]trial
}

var (
	_ driver.Platform       = (*network)(nil)
	_ driver.NetworkChecker = (*network)(nil)
)

var types = kubeconnect.TypesOf(networkingv1.AddToScheme)

const networking = "networking.k8s.io"

// open checks what the registration says, and reaches nothing.
func open(_ context.Context, c driver.Config, guarded driver.Config) (driver.Network, error) {
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	for what, name := range map[string]string{"namespace": p.Namespace, "service": p.Service} {
		if name != "" && len(validation.IsDNS1123Label(name)) > 0 {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the %s %.80q is no name that Kubernetes has", what, name)
		}
	}
	switch {
	case p.Service != "" && p.Namespace == "":
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a service is in a namespace, and none is named").WithFix("give --namespace, too")
	case p.Alias != "" && p.Service == "":
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the alias is another name of a service, and none is named").WithFix("give --service and --namespace, too")
	case p.Alias != "" && !driver.IsHost(p.Alias):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the alias %.80q can't be a host's name", p.Alias)
	case p.RelayImage != "" && !kubeconnect.ImageName.MatchString(p.RelayImage):
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the relayImage %.80q is no image such as REGISTRY/patchbay:TAG", p.RelayImage)
	}
	allow, err := parseAllow(p.Allow)
	if err != nil {
		return nil, err
	}
	config, _, err := kubeconnect.Configure(c, p.Access)
	if err != nil {
		return nil, err
	}
	cluster, err := kubeconnect.Connect(config, types)
	if err != nil {
		return nil, err
	}
	n := &network{
		service: p.Service, alias: p.Alias, allow: allow, relayImage: p.RelayImage, dials: c.Dials, trials: map[string]trial{},
		key:    hosts.Sum([]byte(strings.ToLower(string(c.ID))))[:40],
		target: target{guarded.Dialer, guarded.Endpoint, settle},
	}
	n.Asker = kubeconnect.Asker{Cluster: cluster, Namespace: p.Namespace, Rights: n.needs(), Role: "patchbay-networkpolicy", Noun: "guard", Gone: patchbay.TargetNotFound}
	n.networking, err = cluster.Group(networkingv1.SchemeGroupVersion)
	return n, err
}

// needs are the rights that a rule's life takes.
func (n *network) needs() []kubeconnect.Right {
	all := slices.Concat(
		kubeconnect.RightsOn(networking, "networkpolicies", "get", "list", "create", "update", "delete"),
		kubeconnect.RightsOn("", "services", "get"),
		kubeconnect.RightsOn("", "pods", "list"),
		[]kubeconnect.Right{kubeconnect.PlaceRight})
	if n.relayImage == "" {
		return all
	}
	for _, one := range kubeconnect.RelayNeeds() {
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

func (n *network) may(verb string) kubeconnect.Right {
	return kubeconnect.On(networking, "networkpolicies", verb)
}

// mustBeAllowed asks once whether we may do all that a rule's life takes: what is opened
// is to be closed again.
func (n *network) mustBeAllowed(ctx context.Context) error {
	n.mu.Lock()
	known := n.mayAll
	n.mu.Unlock()
	if known {
		return nil
	}
	if err := n.CheckRights(ctx, patchbay.TargetUnreachable); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mayAll = true
	return nil
}

// Close implements [driver.Network].
func (n *network) Close() error {
	n.Cluster.Close()
	return nil
}

// Reach implements [driver.Platform]: what is registered by an address outside, pods find by
// their Service's name. What comes in by a node's port may have the node's address by then,
// and no policy would know it.
func (n *network) Reach(ctx context.Context, r driver.Rule) (map[string]string, error) {
	reach := map[string]string{}
	for _, server := range r.Servers {
		at, err := n.reach(ctx, server)
		if err != nil {
			return nil, err
		}
		if r.Peer != nil && at != server {
			reach[server] = at
		}
	}
	return reach, nil
}

// reach is where pods of the cluster find a server, and refuses what can't be guarded.
func (n *network) reach(ctx context.Context, server string) (string, error) {
	a, err := n.parse(server)
	if err != nil {
		return "", err
	}
	p, served, err := n.place(ctx, a)
	if err != nil {
		return "", err
	}
	if err := n.guardable(ctx, p); err != nil {
		return "", err
	}
	if !a.outside {
		return server, nil
	}
	return net.JoinHostPort(cmp.Or(n.alias, a.service+"."+a.namespace+".svc"), strconv.Itoa(int(served))), nil
}

// Check implements [driver.NetworkChecker].
func (n *network) Check(ctx context.Context) (warnings []string, err error) {
	if err := kubeconnect.Interrupted(ctx.Err()); err != nil {
		return nil, err // what it may is known, without being asked again
	}
	if err := n.mustBeAllowed(ctx); err != nil {
		return nil, err
	}
	for _, server := range n.target.addresses() {
		if _, err := n.reach(ctx, server); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Knows implements [driver.Platform].
func (n *network) Knows(ctx context.Context, p driver.Peer) (bool, error) {
	if p.Platform != kubeconnect.Platform {
		return false, nil
	}
	n.mu.Lock()
	where := n.where
	n.mu.Unlock()
	if where == "" {
		var err error
		if where, err = n.Place(ctx); err != nil {
			return false, n.Fault(patchbay.TargetUnreachable, kubeconnect.PlaceRight, err)
		}
		n.mu.Lock()
		n.where = where
		n.mu.Unlock()
	}
	return p.Place == where, nil
}

type policies = gentype.ClientWithList[*networkingv1.NetworkPolicy, *networkingv1.NetworkPolicyList]

// in is a client of the policies of a namespace, or of all that we look at with "".
func (n *network) in(namespace string) *policies {
	return gentype.NewClientWithList("networkpolicies", n.networking, types.Parameters, namespace,
		func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} }, func() *networkingv1.NetworkPolicyList { return &networkingv1.NetworkPolicyList{} })
}

// ours are our policies with that label, in order.
func (n *network) ours(ctx context.Context, selector string) ([]*networkingv1.NetworkPolicy, error) {
	list, err := n.in(n.Namespace).List(ctx, metav1.ListOptions{LabelSelector: managedLabel + "=" + managedBy + "," + selector})
	if err != nil {
		return nil, n.Fault(patchbay.TargetUnreachable, n.may("list"), err)
	}
	var all []*networkingv1.NetworkPolicy
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// get gives nil for what is not there.
func (n *network) get(ctx context.Context, namespace, name string) (*networkingv1.NetworkPolicy, error) {
	o, err := n.in(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, n.Fault(patchbay.TargetUnreachable, n.may("get"), err)
}

func notOurs(o *networkingv1.NetworkPolicy) error {
	return patchbay.Errorf(patchbay.NotOurs, "the NetworkPolicy %s of the namespace %s does not bear this connection's mark", o.Name, o.Namespace).
		WithFix("look at it, and delete it if nobody needs it: kubectl -n %s describe networkpolicy %s", o.Namespace, o.Name)
}

// ensure has a policy as it is wanted, and gives it as it is then.
func (n *network) ensure(ctx context.Context, want *networkingv1.NetworkPolicy) (*networkingv1.NetworkPolicy, error) {
	for range 5 {
		have, err := n.get(ctx, want.Namespace, want.Name)
		if err != nil {
			return nil, err
		}
		switch {
		case have == nil:
			made, err := n.in(want.Namespace).Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
			if err == nil {
				return made, nil
			}
			if !apierrors.IsAlreadyExists(err) {
				return nil, n.Fault(patchbay.TargetUnreachable, n.may("create"), err)
			}
		case !bears(have, want):
			return nil, notOurs(have)
		case exact(have, want):
			return have, nil
		default:
			// What somebody has added to its labels and annotations is theirs.
			for key, value := range want.Labels {
				have.Labels[key] = value
			}
			for key, value := range want.Annotations {
				metav1.SetMetaDataAnnotation(&have.ObjectMeta, key, value)
			}
			have.Spec = want.Spec
			made, err := n.in(want.Namespace).Update(ctx, have, metav1.UpdateOptions{FieldManager: fieldManager})
			if err == nil {
				return made, nil
			}
			if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return nil, n.Fault(patchbay.TargetUnreachable, n.may("update"), err)
			}
		}
	}
	return nil, kubeconnect.Changed("the NetworkPolicy " + want.Name).AsTransient()
}

// remove deletes that very policy.
func (n *network) remove(ctx context.Context, o *networkingv1.NetworkPolicy) error {
	uid := o.UID
	err := n.in(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // it is gone, or another one
		return nil
	}
	return n.Fault(patchbay.TargetUnreachable, n.may("delete"), err)
}

// rule is what a rule comes to.
type rule struct {
	places []place
	open   []*networkingv1.NetworkPolicy
	closed []*networkingv1.NetworkPolicy
}

func (n *network) ruleOf(ctx context.Context, r driver.Rule) (rule, error) {
	if err := check(r); err != nil {
		return rule{}, err
	}
	places, err := n.places(ctx, r.Servers)
	if err != nil {
		return rule{}, err
	}
	made := rule{places: places}
	for i, p := range places {
		made.open = append(made.open, opening(r, p, i))
		made.closed = append(made.closed, n.closing(p))
	}
	return made, nil
}

// EnsureRule implements [driver.Network]. A target is closed first, with those in it who
// are always let in: a rule alone would close it for them too, for a moment.
func (n *network) EnsureRule(ctx context.Context, r driver.Rule) error {
	if err := n.mustBeAllowed(ctx); err != nil {
		return err
	}
	want, err := n.ruleOf(ctx, r)
	if err != nil {
		return err
	}
	for _, p := range want.places {
		if err := n.guardable(ctx, p); err != nil {
			return err
		}
	}
	for _, o := range want.open { // before anything is closed
		if have, err := n.get(ctx, o.Namespace, o.Name); err != nil {
			return err
		} else if have != nil && !bears(have, o) {
			return notOurs(have)
		}
	}
	untried, err := n.untried(ctx, want)
	if err != nil {
		return err
	}
	var before []string
	if len(untried) > 0 {
		if before, err = n.reachedWithout(ctx, untried); err != nil {
			return err
		}
	}
	for _, o := range want.closed {
		have, err := n.ensure(ctx, o)
		if err != nil {
			return err
		}
		for _, t := range untried {
			if t.closed == o {
				t.uid, t.generation = string(have.UID), have.Generation
			}
		}
	}
	if err := failpoint.Hit(ctx, "networkpolicy/ensure/after-closed"); err != nil {
		return err
	}
	for _, o := range want.open {
		if _, err := n.ensure(ctx, o); err != nil {
			return err
		}
	}
	if err := n.surplus(ctx, r, want.open); err != nil {
		return err
	}
	if len(untried) == 0 {
		return nil
	}
	return n.try(ctx, untried, before)
}

// surplus removes the policies of a rule that has been for more places.
func (n *network) surplus(ctx context.Context, r driver.Rule, keep []*networkingv1.NetworkPolicy) error {
	have, err := n.ours(ctx, ruleLabel+"="+policyName(r.Name))
	if err != nil {
		return err
	}
	for _, o := range have {
		if slices.ContainsFunc(keep, func(k *networkingv1.NetworkPolicy) bool { return byName(k, o) == 0 }) || !markOfRule(o, r) {
			continue
		}
		if err := n.remove(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// markOfRule reports whether a policy is of that rule.
func markOfRule(o *networkingv1.NetworkPolicy, r driver.Rule) bool {
	m := markOf(o)
	return m.UID == r.Mark.UID && m.Generation == r.Mark.Generation
}

// RemoveRule implements [driver.Network]. What closes the target stays, and comes back
// where somebody changed it or took it away: the last rule that goes opens nothing.
func (n *network) RemoveRule(ctx context.Context, r driver.Rule) error {
	have, err := n.ours(ctx, ruleLabel+"="+policyName(r.Name))
	if err != nil {
		return err
	}
	for _, o := range have {
		if !markOfRule(o, r) {
			return notOurs(o)
		}
	}
	if len(have) > 0 {
		if places, err := n.places(ctx, r.Servers); err == nil { // else there is nothing to close
			for _, p := range places {
				if err := n.stayClosed(ctx, p); err != nil {
					return err
				}
			}
		}
	}
	for _, o := range have {
		if err := n.remove(ctx, o); err != nil {
			return err
		}
	}
	if len(have) > 0 {
		return nil
	}
	other, err := n.foreign(ctx, r)
	if err == nil && other != nil {
		err = notOurs(other)
	}
	return err
}

// foreign is a policy by the name of a rule, where that would be, and not of it.
func (n *network) foreign(ctx context.Context, r driver.Rule) (*networkingv1.NetworkPolicy, error) {
	var asked []string
	for _, server := range r.Servers {
		a, err := n.parse(server)
		if err != nil || slices.Contains(asked, a.namespace) {
			continue // there is none, or it was looked at
		}
		asked = append(asked, a.namespace)
		o, err := n.get(ctx, a.namespace, policyName(r.Name))
		if err != nil {
			return nil, err
		}
		if o != nil && (o.Labels[managedLabel] != managedBy || !markOfRule(o, r)) {
			return o, nil
		}
	}
	return nil, nil
}

// InspectRule implements [driver.Network].
func (n *network) InspectRule(ctx context.Context, r driver.Rule) (driver.RuleState, error) {
	have, err := n.ours(ctx, ruleLabel+"="+policyName(r.Name))
	if err != nil {
		return driver.RuleState{}, err
	}
	other, err := n.foreign(ctx, r)
	if err != nil || other != nil {
		return driver.RuleState{Exists: other != nil}, err
	}
	if len(have) == 0 {
		return driver.RuleState{}, nil
	}
	s := driver.RuleState{Exists: true, Ours: true}
	want, err := n.ruleOf(ctx, r)
	if code := patchbay.CodeOf(err); code == patchbay.TargetNotFound || code == patchbay.NotSupported || code == patchbay.InvalidArgument {
		return s, nil // what it led to is not there any more
	}
	if err != nil {
		return driver.RuleState{}, err
	}
	slices.SortFunc(want.open, byName)
	s.Exact = slices.EqualFunc(have, want.open, func(a, b *networkingv1.NetworkPolicy) bool { return byName(a, b) == 0 && exact(a, b) })
	for _, o := range want.closed {
		closed, err := n.get(ctx, o.Namespace, o.Name)
		if err != nil {
			return driver.RuleState{}, err
		}
		s.Exact = s.Exact && closed != nil && exact(closed, o)
	}
	if s.Exact {
		s.Despite, err = n.despite(ctx, r, want)
	}
	return s, err
}

// Owned implements [driver.Network].
func (n *network) Owned(ctx context.Context) ([]driver.Owned, error) {
	have, err := n.ours(ctx, ruleLabel)
	if err != nil {
		return nil, err
	}
	var owned []driver.Owned
	for _, o := range have {
		one := driver.Owned{Mark: markOf(o), Name: o.Annotations[nameAnnotation]}
		if one.Name != "" && !slices.Contains(owned, one) {
			owned = append(owned, one)
		}
	}
	return owned, nil
}
