package kubernetes

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"patchbay.dev/patchbay/internal/kubeconnect"
)

var (
	types      = kubeconnect.TypesOf(appsv1.AddToScheme, batchv1.AddToScheme, metav1.AddMetaToScheme)
	parameters = types.Parameters
)

// cluster is a client of one namespace.
type cluster struct {
	*kubeconnect.Cluster
	namespace string
	core      rest.Interface
	apps      rest.Interface
	batch     rest.Interface
	close     func()

	secrets    *secretClient
	configMaps *gentype.Client[*corev1.ConfigMap]
	pods       *gentype.ClientWithList[*corev1.Pod, *corev1.PodList]
}

func connect(config *rest.Config, namespace string) (*cluster, error) {
	client, err := kubeconnect.Connect(config, types)
	if err != nil {
		return nil, err
	}
	c := &cluster{Cluster: client, namespace: namespace, core: client.Core, close: client.Close}
	if c.apps, err = client.Group(appsv1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	if c.batch, err = client.Group(batchv1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	c.secrets = c.secretsIn(namespace)
	c.configMaps = gentype.NewClient("configmaps", c.core, parameters, namespace, func() *corev1.ConfigMap { return &corev1.ConfigMap{} })
	c.pods = kubeconnect.PodsIn(client, namespace)
	return c, nil
}

type secretClient = gentype.ClientWithListAndApply[*corev1.Secret, *corev1.SecretList, *corev1ac.SecretApplyConfiguration]

// secretsIn is a client of the Secrets in a namespace, or in all with "".
func (c *cluster) secretsIn(namespace string) *secretClient {
	return gentype.NewClientWithListAndApply[*corev1.Secret, *corev1.SecretList, *corev1ac.SecretApplyConfiguration]("secrets", c.core, parameters, namespace,
		func() *corev1.Secret { return &corev1.Secret{} }, func() *corev1.SecretList { return &corev1.SecretList{} })
}

// logs are the last lines of a container's log, or of the run before this one.
func (c *cluster) logs(ctx context.Context, pod, container string, previous bool) ([]byte, error) {
	lines, most := int64(20), int64(16<<10)
	return c.core.Get().Namespace(c.namespace).Resource("pods").Name(pod).SubResource("log").
		VersionedParams(&corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &lines, LimitBytes: &most}, parameters).
		Timeout(5 * time.Second).Do(ctx).Raw()
}
