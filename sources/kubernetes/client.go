package kubernetes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// inCluster is the endpoint of a Patchbay that runs in the cluster itself.
const inCluster = "in-cluster"

// access is what a registration says of the way to the API server.
type access struct {
	TLS struct {
		CA         string `json:"ca"`
		ServerName string `json:"serverName"`
	} `json:"tls"`
}

// configure makes a client's configuration. namespace is the one that a context
// of the kubeconfig names, or "".
func configure(c driver.Config, a access) (config *rest.Config, namespace string, err error) {
	kubeconfig, token := c.Admin["kubeconfig"], c.Admin["token"]
	certificate, key := c.Admin["certificate"], c.Admin["key"]
	switch given := !token.IsZero() || !certificate.IsZero() || !key.IsZero(); {
	case given && !kubeconfig.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "a kubeconfig has its credential in it: give no other one")
	case certificate.IsZero() != key.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "a client certificate needs its key, and a key its certificate")
	case !certificate.IsZero() && !token.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "give a token or a client certificate, not both")
	case c.Endpoint == inCluster && (given || !kubeconfig.IsZero()):
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "in-cluster signs in as the pod that Patchbay runs in: give no credential")
	case c.Endpoint == inCluster:
		if config, err = rest.InClusterConfig(); err != nil {
			return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "Patchbay does not run in a cluster, or its pod has no service account token").
				WithFix("register the cluster with its URL and a token, or with a kubeconfig")
		}
	case !kubeconfig.IsZero():
		if config, namespace, err = fromKubeconfig(kubeconfig.Reveal(), c.Endpoint); err != nil {
			return nil, "", err
		}
	case !given:
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "nothing says who Patchbay is to the API server").
			WithFix("give --kubeconfig-file, --bearer-token-file, or --certificate-file and --key-file")
	default:
		if err := checkServer(c.Endpoint); err != nil {
			return nil, "", err
		}
		config = &rest.Config{Host: c.Endpoint, BearerToken: token.Reveal()}
		config.CertData, config.KeyData = []byte(certificate.Reveal()), []byte(key.Reveal())
	}
	if a.TLS.CA != "" {
		config.CAData = []byte(a.TLS.CA)
	}
	if a.TLS.ServerName != "" {
		config.ServerName = a.TLS.ServerName
	}
	config.Dial = c.Dialer.DialContext
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // the dialer knows the way
	config.UserAgent = "patchbay"
	config.QPS = -1 // the server has a fair queue of its own, and says when it is too much
	return config, namespace, nil
}

func checkServer(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return patchbay.Errorf(patchbay.InvalidArgument, "the endpoint %.80q is no URL of an API server, such as https://10.0.0.2:6443", endpoint).
			WithFix("to name a context, give its kubeconfig with --kubeconfig-file")
	}
	return nil
}

// fromKubeconfig takes one context, and nothing that is on this machine: a file
// that it names would be the server's own, and so would a program be.
func fromKubeconfig(text, name string) (*rest.Config, string, error) {
	all, err := clientcmd.Load([]byte(text))
	if err != nil {
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "the kubeconfig can't be read: it is no YAML of that form")
	}
	invalid := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.InvalidArgument, "the kubeconfig %s", fmt.Sprintf(format, args...)).
			WithFix("kubectl config view --raw --flatten --minify   (writes one that can be given)")
	}
	in := all.Contexts[name]
	if in == nil {
		return nil, "", invalid("has no context %.80q", name)
	}
	cluster, user := all.Clusters[in.Cluster], all.AuthInfos[in.AuthInfo]
	switch {
	case cluster == nil || user == nil:
		return nil, "", invalid("lacks the cluster or the user of the context %.80q", name)
	case cluster.CertificateAuthority != "" || user.ClientCertificate != "" || user.ClientKey != "" || user.TokenFile != "":
		return nil, "", invalid("names files, which are not on the server's machine")
	case user.Exec != nil || user.AuthProvider != nil:
		return nil, "", invalid("has a program sign in, and Patchbay runs none: give a token of a service account (kubectl create token)")
	case cluster.ProxyURL != "" || user.Impersonate != "":
		return nil, "", invalid("has a proxy or impersonates somebody, which Patchbay does not do")
	case cluster.InsecureSkipTLSVerify:
		return nil, "", invalid("does not check who answers: take insecure-skip-tls-verify out of it")
	}
	if err := checkServer(cluster.Server); err != nil {
		return nil, "", invalid("has a server that is no https URL")
	}
	config := &rest.Config{Host: cluster.Server, BearerToken: user.Token, Username: user.Username, Password: user.Password}
	config.CAData, config.ServerName = cluster.CertificateAuthorityData, cluster.TLSServerName
	config.CertData, config.KeyData = user.ClientCertificateData, user.ClientKeyData
	return config, in.Namespace, nil
}

// The clients know four groups. client-go's own clientset has all types of all
// groups, which is several times as much.
var (
	groups     = []schema.GroupVersion{corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion}
	types      = scheme(corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, authorizationv1.AddToScheme, metav1.AddMetaToScheme)
	codecs     = serializer.NewCodecFactory(types)
	parameters = runtime.NewParameterCodec(types)
)

func scheme(add ...func(*runtime.Scheme) error) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, one := range add {
		utilruntime.Must(one(s))
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
}

// cluster is a client of one namespace.
type cluster struct {
	host      string // for messages
	namespace string
	core      rest.Interface
	apps      rest.Interface
	batch     rest.Interface
	reviews   rest.Interface
	close     func()
	config    *rest.Config

	secrets    *secretClient
	configMaps *gentype.Client[*corev1.ConfigMap]
	pods       *gentype.ClientWithList[*corev1.Pod, *corev1.PodList]
	events     *gentype.ClientWithList[*corev1.Event, *corev1.EventList]
}

func unusable() error {
	return patchbay.Errorf(patchbay.InvalidArgument, "the certificates or the key of the cluster can't be used: they are no PEM, or do not belong together")
}

func connect(config *rest.Config, namespace string) (*cluster, error) {
	own, open := rest.CopyConfig(config), &connections{dial: config.Dial, all: map[net.Conn]bool{}}
	own.Dial = open.DialContext
	client, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, unusable() // err could quote a part of them
	}
	c := &cluster{host: config.Host, namespace: namespace, config: config, close: func() {
		client.CloseIdleConnections()
		open.close()
	}}
	for i, to := range []*rest.Interface{&c.core, &c.apps, &c.batch, &c.reviews} {
		of := rest.CopyConfig(config)
		of.GroupVersion, of.APIPath = &groups[i], "/apis"
		if groups[i].Group == "" {
			of.APIPath = "/api"
		}
		of.NegotiatedSerializer = codecs.WithoutConversion()
		one, err := rest.RESTClientForConfigAndClient(of, client)
		if err != nil {
			return nil, unusable()
		}
		*to = one
	}
	c.secrets = c.secretsIn(namespace)
	c.configMaps = gentype.NewClient("configmaps", c.core, parameters, namespace, func() *corev1.ConfigMap { return &corev1.ConfigMap{} })
	c.pods = gentype.NewClientWithList("pods", c.core, parameters, namespace,
		func() *corev1.Pod { return &corev1.Pod{} }, func() *corev1.PodList { return &corev1.PodList{} })
	c.events = gentype.NewClientWithList("events", c.core, parameters, namespace,
		func() *corev1.Event { return &corev1.Event{} }, func() *corev1.EventList { return &corev1.EventList{} })
	return c, nil
}

// connections are those of a client. One that a watch has just ended on is not idle for a
// moment, and would stay open for as long as an idle one may.
type connections struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: net's own
	mu   sync.Mutex
	all  map[net.Conn]bool
}

// DialContext opens one more.
func (c *connections) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := &connection{conn, c}
	c.all[one] = true
	return one, nil
}

func (c *connections) close() {
	c.mu.Lock()
	all := c.all
	c.all = map[net.Conn]bool{}
	c.mu.Unlock()
	for conn := range all {
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of *connections
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.all, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
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
