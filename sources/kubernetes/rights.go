package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// right is something that a source does in its namespace.
type right struct{ group, resource, verb string }

func rightsOn(group, resource string, verbs ...string) []right {
	var all []right
	for _, verb := range verbs {
		all = append(all, right{group, resource, verb})
	}
	return all
}

// role is the least Role that has these rights.
func role(namespace string, rights []right) string {
	type rule struct {
		Groups    []string `json:"apiGroups"`
		Resources []string `json:"resources"`
		Verbs     []string `json:"verbs"`
	}
	var rules []rule
	for _, r := range rights {
		at := slices.IndexFunc(rules, func(had rule) bool { return had.Groups[0] == r.group && had.Resources[0] == r.resource })
		if at < 0 {
			at = len(rules)
			rules = append(rules, rule{Groups: []string{r.group}, Resources: []string{r.resource}})
		}
		rules[at].Verbs = append(rules[at].Verbs, r.verb)
	}
	text, _ := json.Marshal(map[string]any{ // texts
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
		"metadata": map[string]string{"name": "patchbay", "namespace": namespace}, "rules": rules,
	})
	return string(text)
}

// reach is what both drivers have: a namespace of a cluster, and what they do there.
type reach struct {
	*cluster
	id     patchbay.ID
	rights []right
}

// checkRights asks the API server whether it would let us do all that a
// connection's life takes, so that nothing begins that could not be taken back.
func (r *reach) checkRights(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(4)
	missing := make([]bool, len(r.rights))
	for i, one := range r.rights {
		resource, sub, _ := strings.Cut(one.resource, "/")
		group.Go(func() error {
			var review authorizationv1.SelfSubjectAccessReview
			err := r.reviews.Post().Resource("selfsubjectaccessreviews").Body(&authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: r.namespace, Group: one.group, Resource: resource, Subresource: sub, Verb: one.verb,
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
		return r.fault(patchbay.SettingsUnreadable, right{"authorization.k8s.io", "selfsubjectaccessreviews", "create"}, err)
	}
	var lacks []string
	for i, one := range r.rights {
		if missing[i] {
			lacks = append(lacks, one.verb+" "+one.resource)
		}
	}
	if len(lacks) > 0 {
		return r.forbidden(strings.Join(lacks, ", "))
	}
	return nil
}

func (r *reach) forbidden(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.AdminRights, "Patchbay may not %s in the namespace %s", what, r.namespace).
		WithFix("echo '%s' | kubectl apply -f -   (and bind this Role to who Patchbay signs in as)", role(r.namespace, r.rights))
}

// fault says what is wrong with a call that one of the rights is for. otherwise is
// the code of what the server refuses for a reason of its own.
func (r *reach) fault(otherwise patchbay.Code, of right, err error) error {
	if err == nil {
		return nil
	}
	var known *patchbay.Error
	if errors.As(err, &known) {
		return err
	}
	if ended := interrupted(err); ended != nil {
		return ended
	}
	tried := fmt.Sprintf("%s %s in the namespace %s", of.verb, of.resource, r.namespace)
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var addressed *url.Error
		if errors.As(err, &addressed) {
			err = addressed.Err
		}
		return driver.DialError(err, r.address())
	}
	said := status.Status().Message
	refused := func(code patchbay.Code, format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(code, format, args...).WithSaid(said)
	}
	switch {
	case apierrors.IsUnauthorized(err):
		return refused(patchbay.AdminRefused, "the API server %s does not know who Patchbay signs in as: the credential is wrong or has expired", r.address()).
			WithFix("register the source again with a credential that signs in (kubectl create token makes one)")
	case apierrors.IsForbidden(err) && strings.Contains(said, " cannot "):
		return r.forbidden(of.verb + " " + of.resource).WithSaid(said)
	case apierrors.IsForbidden(err) && strings.Contains(said, "exceeded quota"):
		return refused(otherwise, "a ResourceQuota of the namespace %s does not let Patchbay %s", r.namespace, of.verb+" "+of.resource).
			WithFix("kubectl -n %s describe resourcequota", r.namespace)
	case apierrors.IsForbidden(err) && strings.Contains(said, "being terminated"):
		return refused(patchbay.SourceNotFound, "the namespace %s is being deleted", r.namespace)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		return refused(otherwise, "the API server refuses to %s", tried).
			WithFix("kubectl -n %s get events   (and look at the admission policies of the namespace; the server's log has its words)", r.namespace)
	case apierrors.IsNotFound(err):
		return refused(patchbay.SourceNotFound, "the namespace %s has no such thing: %s", r.namespace, of.resource)
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return changed(r.namespace + "'s " + of.resource).WithSaid(said)
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return refused(patchbay.Timeout, "the API server had no time to %s", tried).AsTransient()
	case apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsUnexpectedServerError(err):
		return refused(otherwise, "the API server can't %s at the moment", tried).AsTransient()
	}
	return refused(otherwise, "the API server did not %s", tried)
}

// address is the API server's, host:port.
func (r *reach) address() string {
	if u, err := url.Parse(r.host); err == nil && u.Host != "" {
		return u.Host
	}
	return r.host
}

func changed(what string) *patchbay.Error {
	return patchbay.Errorf(patchbay.SettingsChanged, "somebody else changed %s meanwhile", what).
		WithFix("try again: the change is then made to what is there now")
}

// interrupted is the error of a context that ended, nil for any other.
func interrupted(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no time was left: %w", err).AsTransient()
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "stopped: %w", err).AsTransient()
	}
	return nil
}
