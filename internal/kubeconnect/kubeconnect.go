// Package kubeconnect is how a Kubernetes cluster is spoken to: what a registration says of
// it, a client of a few groups of its API, the rights that this takes and what a refusal
// says, and a pod of ours from which others are reached. It is the same for sources and
// guards, and knows neither.
package kubeconnect

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Platform is what a [driver.Peer] says that is of a cluster.
const Platform = "kubernetes"

// Endpoint describes a registration's cluster.
func Endpoint() patchbay.Endpoint {
	return patchbay.Endpoint{Field: patchbay.Field{
		Flag: "cluster", Type: patchbay.TextField, Form: "CONTEXT|URL", Required: true, Example: "prod",
		About: "a context in the kubeconfig, the URL of the API server, or in-cluster where Patchbay runs in it",
	}, Port: "443", Schemes: []string{"https"}}
}

// AdminFields describe who Patchbay is to a cluster, and TLSFields who that is to Patchbay.
func AdminFields() []patchbay.Field {
	return []patchbay.Field{
		{Name: "kubeconfig", Type: patchbay.FileField, Secret: true, About: "a kubeconfig without files and programs (kubectl config view --raw --flatten --minify)"},
		{Name: "token", Flag: "bearer-token", Type: patchbay.TextField, Secret: true, About: "a bearer token, of a service account say"},
		{Name: "certificate", Type: patchbay.FileField, Secret: true, About: "a client certificate, in PEM"},
		{Name: "key", Type: patchbay.FileField, Secret: true, About: "its key, in PEM"},
	}
}

// TLSFields are the properties of [Access].
func TLSFields() []patchbay.Field {
	return []patchbay.Field{
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the API server's certificate may be of, in PEM", Default: "the system's, or the kubeconfig's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in its certificate, where that is not the one that is connected to"},
	}
}

// InCluster is the endpoint of a Patchbay that runs in the cluster itself.
const InCluster = "in-cluster"

// Access is what a registration says of the way to the API server: what [TLSFields] describe.
type Access struct {
	TLS struct {
		CA         string `json:"ca"`
		ServerName string `json:"serverName"`
	} `json:"tls"`
}

// Configure makes a client's configuration. namespace is the one that a context
// of the kubeconfig names, or "".
func Configure(c driver.Config, a Access) (config *rest.Config, namespace string, err error) {
	kubeconfig, token := c.Admin["kubeconfig"], c.Admin["token"]
	certificate, key := c.Admin["certificate"], c.Admin["key"]
	switch given := !token.IsZero() || !certificate.IsZero() || !key.IsZero(); {
	case given && !kubeconfig.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "a kubeconfig has its credential in it: give no other one")
	case certificate.IsZero() != key.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "a client certificate needs its key, and a key its certificate")
	case !certificate.IsZero() && !token.IsZero():
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "give a token or a client certificate, not both")
	case c.Endpoint == InCluster && (given || !kubeconfig.IsZero()):
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "in-cluster signs in as the pod that Patchbay runs in: give no credential")
	case c.Endpoint == InCluster:
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

// Types are the groups of the API that a client knows. client-go's own clientset has all
// types of all groups, which is several times as much.
type Types struct {
	Parameters runtime.ParameterCodec
	codecs     serializer.CodecFactory
}

// TypesOf are those of the core and what checks rights take, and more.
func TypesOf(more ...func(*runtime.Scheme) error) *Types {
	s := runtime.NewScheme()
	for _, add := range append(more, corev1.AddToScheme, authorizationv1.AddToScheme) {
		utilruntime.Must(add(s))
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return &Types{Parameters: runtime.NewParameterCodec(s), codecs: serializer.NewCodecFactory(s)}
}

// Cluster is a client of an API server.
type Cluster struct {
	Host  string // for messages
	Core  rest.Interface
	Close func()

	config  *rest.Config
	client  *http.Client
	reviews rest.Interface
	types   *Types
}

func unusable() error {
	return patchbay.Errorf(patchbay.InvalidArgument, "the certificates or the key of the cluster can't be used: they are no PEM, or do not belong together")
}

// Connect makes a client, and reaches nothing.
func Connect(config *rest.Config, types *Types) (*Cluster, error) {
	own, open := rest.CopyConfig(config), &connections{dial: config.Dial, all: map[net.Conn]bool{}}
	own.Dial = open.DialContext
	client, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, unusable() // err could quote a part of them
	}
	end := func() {
		client.CloseIdleConnections()
		open.close()
	}
	c := &Cluster{Host: config.Host, Close: end, config: config, client: client, types: types}
	if c.Core, err = c.Group(corev1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	c.reviews, err = c.Group(authorizationv1.SchemeGroupVersion)
	return c, err
}

// Credential is a sum of what the client signs in with, and insists on: who has the same
// may share what it is told.
func (c *Cluster) Credential() [32]byte {
	text, _ := json.Marshal([]any{ // texts
		c.config.BearerToken, c.config.BearerTokenFile, c.config.Username, c.config.Password,
		c.config.CertData, c.config.KeyData, c.config.CAData, c.config.CAFile, c.config.ServerName,
	})
	return sha256.Sum256(text)
}

// Group is a client of one group, whose types are among those of the cluster's client.
func (c *Cluster) Group(version schema.GroupVersion) (rest.Interface, error) {
	of := rest.CopyConfig(c.config)
	of.GroupVersion, of.APIPath = &version, "/apis"
	if version.Group == "" {
		of.APIPath = "/api"
	}
	of.NegotiatedSerializer = c.types.codecs.WithoutConversion()
	one, err := rest.RESTClientForConfigAndClient(of, c.client)
	if err != nil {
		return nil, unusable()
	}
	return one, nil
}

// system is a namespace that every cluster has, and that nobody can make anew.
const system = "kube-system"

// PlaceRight is the right that Place takes.
var PlaceRight = Right{Resource: "namespaces", Verb: "get", Name: system}

// Place is which cluster it is: the UID of a namespace that lives as long as the cluster.
func (c *Cluster) Place(ctx context.Context) (string, error) {
	var n corev1.Namespace
	err := c.Core.Get().Resource("namespaces").Name(system).Do(ctx).Into(&n)
	return string(n.UID), err
}
