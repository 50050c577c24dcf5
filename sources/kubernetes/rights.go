package kubernetes

import (
	"context"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// right is something that a source does in its namespace.
type right = kubeconnect.Right

var (
	on       = kubeconnect.On
	rightsOn = kubeconnect.RightsOn
)

// reach is what both drivers have: a namespace of a cluster, and what they do there.
type reach struct {
	*cluster
	id     patchbay.ID
	rights []right
}

func (r *reach) asker() kubeconnect.Asker {
	return kubeconnect.Asker{Cluster: r.Cluster, Namespace: r.namespace, Rights: r.rights, Role: "patchbay", Noun: "source", Gone: patchbay.SourceNotFound}
}

// checkRights asks the API server whether it would let us do all that a
// connection's life takes, so that nothing begins that could not be taken back.
func (r *reach) checkRights(ctx context.Context) error {
	return r.asker().CheckRights(ctx, patchbay.SettingsUnreadable)
}

// fault says what is wrong with a call that one of the rights is for. otherwise is
// the code of what the server refuses for a reason of its own.
func (r *reach) fault(otherwise patchbay.Code, of right, err error) error {
	return r.asker().Fault(otherwise, of, err)
}
