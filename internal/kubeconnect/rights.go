package kubeconnect

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Right is something that is done in a namespace; with a Name, to that one alone, which is
// in no namespace.
type Right struct{ Group, Resource, Verb, Name string }

// On is a right on all of a resource ("pods", or "pods/log").
func On(group, resource, verb string) Right {
	return Right{Group: group, Resource: resource, Verb: verb}
}

// RightsOn are several of them.
func RightsOn(group, resource string, verbs ...string) []Right {
	var all []Right
	for _, verb := range verbs {
		all = append(all, On(group, resource, verb))
	}
	return all
}

// Manifest is the least that has these rights, as an administrator applies it: a Role in
// the namespace, without one a ClusterRole, and that for what is in no namespace besides.
func Manifest(name, namespace string, rights []Right) string {
	var inside, outside []Right
	for _, r := range rights {
		if namespace == "" || r.Name != "" {
			outside = append(outside, r)
		} else {
			inside = append(inside, r)
		}
	}
	var all []map[string]any
	if len(inside) > 0 {
		all = append(all, role("Role", map[string]string{"name": name, "namespace": namespace}, inside))
	}
	if len(outside) > 0 {
		all = append(all, role("ClusterRole", map[string]string{"name": name}, outside))
	}
	var object any = all[0]
	if len(all) > 1 {
		object = map[string]any{"apiVersion": "v1", "kind": "List", "items": all}
	}
	text, _ := json.Marshal(object) // texts
	return string(text)
}

func role(kind string, metadata map[string]string, rights []Right) map[string]any {
	type rule struct {
		Groups    []string `json:"apiGroups"`
		Resources []string `json:"resources"`
		Names     []string `json:"resourceNames,omitempty"`
		Verbs     []string `json:"verbs"`
	}
	var rules []rule
	for _, r := range rights {
		var names []string
		if r.Name != "" {
			names = []string{r.Name}
		}
		at := slices.IndexFunc(rules, func(had rule) bool {
			return had.Groups[0] == r.Group && had.Resources[0] == r.Resource && slices.Equal(had.Names, names)
		})
		if at < 0 {
			at = len(rules)
			rules = append(rules, rule{Groups: []string{r.Group}, Resources: []string{r.Resource}, Names: names})
		}
		rules[at].Verbs = append(rules[at].Verbs, r.Verb)
	}
	return map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules}
}

// Asker is who asks an API server for something, in the words of its refusals.
type Asker struct {
	*Cluster
	Namespace string // "": all of them
	Rights    []Right
	Role      string        // what a Role with them is called
	Noun      string        // "source": what is registered
	Gone      patchbay.Code // of a namespace that is not there
}

// CheckRights asks the API server whether it would let us do all that a
// connection's life takes, so that nothing begins that could not be taken back.
func (r Asker) CheckRights(ctx context.Context, otherwise patchbay.Code) error {
	var group errgroup.Group
	group.SetLimit(4)
	missing := make([]bool, len(r.Rights))
	for i, one := range r.Rights {
		resource, sub, _ := strings.Cut(one.Resource, "/")
		namespace := r.Namespace
		if one.Name != "" {
			namespace = ""
		}
		group.Go(func() error {
			var review authorizationv1.SelfSubjectAccessReview
			err := r.reviews.Post().Resource("selfsubjectaccessreviews").Body(&authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: namespace, Group: one.Group, Resource: resource, Subresource: sub, Verb: one.Verb, Name: one.Name,
				}},
			}).Do(ctx).Into(&review)
			if apierrors.IsForbidden(err) {
				return nil // it tells nobody: then each call finds out for itself
			}
			missing[i] = err == nil && !review.Status.Allowed
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return r.Fault(otherwise, On("authorization.k8s.io", "selfsubjectaccessreviews", "create"), err)
	}
	var lacks []string
	for i, one := range r.Rights {
		if missing[i] {
			lacks = append(lacks, one.text())
		}
	}
	if len(lacks) > 0 {
		return r.Forbidden(strings.Join(lacks, ", "))
	}
	return nil
}

// Forbidden is the refusal of what takes a right that is missing.
func (r Asker) Forbidden(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.AdminRights, "Patchbay may not %s %s", what, r.where()).
		WithFix("echo '%s' | kubectl apply -f -   (and bind %s to who Patchbay signs in as)", Manifest(r.Role, r.Namespace, r.Rights), r.what())
}

// Fault says what is wrong with a call that one of the rights is for. otherwise is
// the code of what the server refuses for a reason of its own.
func (r Asker) Fault(otherwise patchbay.Code, of Right, err error) error {
	if err == nil {
		return nil
	}
	var known *patchbay.Error
	if errors.As(err, &known) {
		return err
	}
	if ended := Interrupted(err); ended != nil {
		return ended
	}
	tried := of.text() + " " + r.where()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var addressed *url.Error
		if errors.As(err, &addressed) {
			err = addressed.Err
		}
		return driver.DialError(err, r.Address())
	}
	said := status.Status().Message
	refused := func(code patchbay.Code, format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(code, format, args...).WithSaid(said)
	}
	switch {
	case apierrors.IsUnauthorized(err):
		return refused(patchbay.AdminRefused, "the API server %s does not know who Patchbay signs in as: the credential is wrong or has expired", r.Address()).
			WithFix("register the %s again with a credential that signs in (kubectl create token makes one)", r.Noun)
	case apierrors.IsForbidden(err) && strings.Contains(said, " cannot "):
		return r.Forbidden(of.text()).WithSaid(said)
	case apierrors.IsForbidden(err) && strings.Contains(said, "exceeded quota"):
		return refused(otherwise, "a ResourceQuota does not let Patchbay %s", tried).
			WithFix("kubectl %s describe resourcequota", r.flag())
	case apierrors.IsForbidden(err) && strings.Contains(said, "being terminated"):
		return refused(r.Gone, "the namespace is being deleted, and Patchbay can't %s", tried)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return refused(otherwise, "the API server refuses to %s", tried).
			WithFix("kubectl %s get events   (and look at the admission policies of the namespace; the server's log has its words)", r.flag())
	case apierrors.IsNotFound(err):
		return refused(r.Gone, "there is no such thing: Patchbay can't %s", tried)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return Changed(of.Resource + " " + r.where()).WithSaid(said)
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return refused(patchbay.Timeout, "the API server had no time to %s", tried).AsTransient()
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsUnexpectedServerError(err):
		return refused(otherwise, "the API server can't %s at the moment", tried).AsTransient()
	}
	return refused(otherwise, "the API server did not %s", tried)
}

// Address is the API server's, host:port.
func (c *Cluster) Address() string {
	if u, err := url.Parse(c.Host); err == nil && u.Host != "" {
		return u.Host
	}
	return c.Host
}

// Changed is the refusal of a change to what is not as it was read.
func Changed(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed %s meanwhile", what).
		WithFix("try again: the change is then made to what is there now")
}

// Interrupted is the error of a context that ended, nil for any other.
func Interrupted(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no time was left: %w", err).AsTransient()
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "stopped: %w", err).AsTransient()
	}
	return nil
}

func (r Right) text() string {
	if r.Name != "" {
		return r.Verb + " " + r.Resource + "/" + r.Name
	}
	return r.Verb + " " + r.Resource
}

// where is the namespace in a sentence, and flag on kubectl's command line.
func (r Asker) where() string {
	if r.Namespace == "" {
		return "in the cluster"
	}
	return "in the namespace " + r.Namespace
}

func (r Asker) flag() string {
	if r.Namespace == "" {
		return "-A"
	}
	return "-n " + r.Namespace
}

// what is what Manifest makes.
func (r Asker) what() string {
	named := slices.ContainsFunc(r.Rights, func(one Right) bool { return one.Name != "" })
	unnamed := slices.ContainsFunc(r.Rights, func(one Right) bool { return one.Name == "" })
	switch {
	case r.Namespace == "" || !unnamed:
		return "this ClusterRole"
	case named:
		return "this Role and ClusterRole"
	}
	return "this Role"
}
