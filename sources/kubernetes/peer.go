package kubernetes

import (
	"context"
	"maps"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// Peer implements [driver.Platformed]: the workload's pods, by the labels that its
// controller knows them by. Pods on the network of their node have no address of their own.
func (s *source) Peer(ctx context.Context) (*driver.Peer, error) {
	workloads, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	if len(workloads) > 1 {
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s is %d workloads, and a guard of the cluster lets in one by its labels", s.id.Name(), len(workloads)).
			WithFix("register a source for each")
	}
	w := workloads[0]
	if w.template.Spec.HostNetwork {
		return nil, nil
	}
	labels, err := w.podLabels()
	if err != nil {
		return nil, err
	}
	place, err := s.Place(ctx)
	if err != nil {
		asker := s.asker()
		// Of all rights the only one outside of the namespace, and only for this.
		asker.Rights, asker.Role, asker.Namespace = []right{kubeconnect.PlaceRight}, "patchbay-place", ""
		return nil, asker.Fault(patchbay.SettingsUnreadable, kubeconnect.PlaceRight, err)
	}
	return &driver.Peer{Platform: kubeconnect.Platform, Place: place, Scope: s.namespace, Labels: labels}, nil
}

// podLabels are on each of a workload's pods, and tell them from others.
func (w *workload) podLabels() (map[string]string, error) {
	labels := w.template.Labels
	if w.selector != nil {
		if len(w.selector.MatchExpressions) > 0 {
			return nil, patchbay.Errorf(patchbay.NotSupported, "%s knows its pods by expressions (matchExpressions), and a guard of the cluster by labels alone", w.called()).
				WithFix("give it a selector of matchLabels alone")
		}
		labels = w.selector.MatchLabels
	}
	if len(labels) == 0 {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the pods of %s have no labels, so a guard of the cluster can't tell them from others", w.called()).
			WithFix("give its pod template a label of its own, such as app: %s", w.Name)
	}
	return maps.Clone(labels), nil
}
