// Flux applies manifests as Flux's kustomize-controller does, with Flux's own
// library: what differs from the cluster is found by a dry run and applied by the
// server, as the manager of fields that Flux is.
//
//	flux < manifests
//
// It speaks to the cluster of $KUBECONFIG and prints a line an object: what became of
// it (created, configured, unchanged) and which one it is.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func main() {
	if err := apply(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "flux:", err)
		os.Exit(1)
	}
}

func apply(ctx context.Context) error {
	objects, err := utils.ReadObjects(os.Stdin)
	if err != nil {
		return err
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	cluster, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	manager := ssa.NewResourceManager(cluster, nil, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	manager.SetOwnerLabels(objects, "shop", "flux-system")
	options := ssa.DefaultApplyOptions()
	// What kubectl has of an object, Flux takes over.
	options.Cleanup.FieldManagers = []ssa.FieldManager{
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
		{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
		{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
	}
	done, err := manager.ApplyAll(ctx, objects, options)
	if err != nil {
		return err
	}
	for _, entry := range done.Entries {
		fmt.Println(entry.Action, entry.Subject)
	}
	return nil
}
