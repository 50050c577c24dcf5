package networkpolicy

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// registered opens a guard of a cluster that is not asked.
func registered(t *testing.T, properties string) (*network, error) {
	t.Helper()
	n, err := Driver().Open(context.Background(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/g", Endpoint: "https://127.0.0.1:1", Properties: json.RawMessage(properties),
		Admin: driver.Secrets{"token": patchbay.NewSecret("canary")}, Dialer: &net.Dialer{},
	}, driver.Config{})
	if err != nil {
		return nil, err
	}
	return n.(*network), nil
}

func TestRegistrations(t *testing.T) {
	for _, bad := range []string{
		`{"namespace":"Shop"}`, `{"service":"db"}`, `{"namespace":"shop","service":"a.b"}`, `{"relayImage":"-x"}`,
		`{"alias":"db.example.com"}`, `{"namespace":"shop","service":"db","alias":"a/b"}`, `{"namespace":"shop","service":"db","alias":"a:1"}`,
		`{"allow":["shop"]}`, `{"allow":["/app=web"]}`, `{"allow":["shop/app"]}`, `{"allow":["shop/app=a b"]}`, `{"allow":["10.0.0.0/33"]}`,
		`{"allow":["10/8"]}`, `{"allow":[""]}`, `{"allow":["shop/app=web+"]}`, `{"allow":["fe80::1%eth0"]}`, `{"other":1}`,
	} {
		if _, err := registered(t, bad); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
	n, err := registered(t, `{"allow":["shop/app.kubernetes.io/name=a+tier=db","monitoring/","10.0.9.7","::ffff:10.0.8.0/120","fd00::5/64","10.0.9.7/32"]}`)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range n.allow {
		b, _ := json.Marshal(p)
		said = append(said, string(b))
	}
	want := `{"ipBlock":{"cidr":"10.0.8.0/24"}}
{"ipBlock":{"cidr":"10.0.9.7/32"}}
{"ipBlock":{"cidr":"fd00::/64"}}
{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}
{"podSelector":{"matchLabels":{"app.kubernetes.io/name":"a","tier":"db"}},"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"shop"}}}`
	if got := strings.Join(said, "\n"); got != want {
		t.Errorf("allow is\n%s\nwant\n%s", got, want)
	}
}

func TestServersInTheWordsOfTheCluster(t *testing.T) {
	anywhere, err := registered(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	named, err := registered(t, `{"namespace":"shop","service":"db"}`)
	if err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]address{
		"db.shop.svc:5432":                {namespace: "shop", service: "db", port: 5432},
		"db.shop.svc.cluster.local:5432":  {namespace: "shop", service: "db", port: 5432},
		"DB.Shop.SVC.corp.example.:5432":  {namespace: "shop", service: "db", port: 5432},
		"db-0.db.shop.svc:5432":           {namespace: "shop", service: "db", pod: "db-0", port: 5432},
		"svc.svc.svc.cluster.local:1":     {namespace: "svc", service: "svc", port: 1},
		"a.svc.b.svc.cluster.local:65535": {namespace: "b", service: "svc", pod: "a", port: 65535},
	} {
		if got, err := anywhere.parse(server); err != nil || got != want {
			t.Errorf("%s is %+v, %v", server, got, err)
		}
		if got, err := named.parse(server); (err == nil) != (want.namespace == "shop") || err == nil && got != want {
			t.Errorf("in shop alone, %s is %+v, %v", server, got, err)
		}
	}
	for server, code := range map[string]patchbay.Code{
		"10.0.0.2:31432": patchbay.NotSupported, "db.example.com:5432": patchbay.NotSupported, "db:5432": patchbay.NotSupported, "[fd00::1]:5432": patchbay.NotSupported,
		"db.shop.svc": patchbay.InvalidArgument, "db.shop.svc:0": patchbay.InvalidArgument, "db.shop.svc:x": patchbay.InvalidArgument, "..svc:1": patchbay.InvalidArgument,
		"a/b.shop.svc:1": patchbay.InvalidArgument, "db.sh_op.svc:1": patchbay.InvalidArgument,
	} {
		if got, err := anywhere.parse(server); patchbay.CodeOf(err) != code {
			t.Errorf("%s is %+v, %v", server, got, err)
		}
	}
	if got, err := named.parse("10.0.0.2:31432"); err != nil || got != (address{namespace: "shop", service: "db", port: 31432, outside: true}) {
		t.Errorf("a node's address is %+v, %v", got, err)
	}
}

func TestPortsAreThoseOfThePods(t *testing.T) {
	ports := []corev1.ServicePort{
		{Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(9953)},
		{Port: 5432, TargetPort: intstr.FromString("pg"), NodePort: 31432},
		{Port: 6432, TargetPort: intstr.FromInt32(7432)},
		{Port: 8432},
	}
	for _, one := range []struct {
		of   []corev1.ServicePort
		at   address
		want string
	}{
		{ports, address{port: 5432}, "pg"},
		{ports, address{port: 6432}, "7432"},
		{ports, address{port: 8432}, "8432"},
		{ports, address{port: 31432}, ""},
		{ports, address{port: 31432, outside: true}, "pg"},
		{ports, address{port: 15432, outside: true}, ""},
		{ports[:2], address{port: 15432, outside: true}, "pg"}, // what a load balancer listens on
		{ports, address{port: 53}, ""},
	} {
		port, got := portOf(one.of, one.at), ""
		if port != nil {
			to := podsPort(*port)
			got = to.String()
		}
		if got != one.want {
			t.Errorf("%+v is %q, want %q", one.at, got, one.want)
		}
	}
}

// What names are made of goes into labels, and no two are one.
func TestNamesOfPolicies(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"pb_a_g1", "pb_a_g11", "pb_a1_g1", "pb_a_g1_g1", "pb_A_g1", "pb_a-g1", "pb_a_g1\n", "", "all", "../x", "é", "pb_" + strings.Repeat("x", 200) + "_g1",
		"pb_" + strings.Repeat("x", 30) + "_g" + strings.Repeat("9", 12), "patchbay-a-g1",
	} {
		called := policyName(name)
		if other, there := seen[called]; there {
			t.Errorf("%q and %q are both %s", name, other, called)
		}
		seen[called] = name
		if errs := validation.IsValidLabelValue(called); len(errs) > 0 || len(validation.IsDNS1123Subdomain(nameAt(name, 1))) > 0 {
			t.Errorf("%q is %s: %v", name, called, errs)
		}
	}
}

func TestRulesThatAreNone(t *testing.T) {
	good := driver.Rule{
		Mark: driver.Mark{UID: "aaaa", Generation: 1}, Name: "pb_aaaa_g1", Servers: []string{"db.shop.svc:1"},
		Peer: &driver.Peer{Scope: "shop", Labels: map[string]string{"app": "web"}},
	}
	if err := check(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*driver.Rule){
		"every pod":          func(r *driver.Rule) { r.Peer.Labels = nil },
		"every namespace":    func(r *driver.Rule) { r.Peer.Scope = "" },
		"no namespace":       func(r *driver.Rule) { r.Peer.Scope = "a/b" },
		"no label":           func(r *driver.Rule) { r.Peer.Labels = map[string]string{"a b": "c"} },
		"no value":           func(r *driver.Rule) { r.Peer.Labels = map[string]string{"a": "b c"} },
		"nobody":             func(r *driver.Rule) { r.Peer = nil },
		"an invalid network": func(r *driver.Rule) { r.From = []netip.Prefix{{}} },
		"nowhere":            func(r *driver.Rule) { r.Servers = nil },
		"no mark":            func(r *driver.Rule) { r.Mark.UID = "" },
		"no uid":             func(r *driver.Rule) { r.Mark.UID = "a b" },
		"too many":           func(r *driver.Rule) { r.From = make([]netip.Prefix, maxPeers+1) },
	} {
		r := good
		peer := *good.Peer
		r.Peer = &peer
		if change(&r); patchbay.CodeOf(check(r)) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", what, check(r))
		}
	}
}

// What keeps the source from connecting is said when it is sure, and only then.
func TestEgressThatLeadsThere(t *testing.T) {
	to := place{namespace: "shop", pods: map[string]string{"app": "db"}, ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(5432))}}}
	in := func(labels string) *metav1.LabelSelector {
		s, err := metav1.ParseToLabelSelector(labels)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	udp, tcp, end := corev1.ProtocolUDP, corev1.ProtocolTCP, int32(6000)
	port := func(n int32) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: new(intstr.FromInt32(n))}
	}
	type peers = []networkingv1.NetworkPolicyPeer
	for what, one := range map[string]struct {
		rule networkingv1.NetworkPolicyEgressRule
		want bool
	}{
		"anywhere":               {networkingv1.NetworkPolicyEgressRule{}, true},
		"the port":               {networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{port(53), port(5432)}}, true},
		"a range":                {networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(5000)), EndPort: &end}}}, true},
		"by name":                {networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("pg"))}}}, true},
		"another port":           {networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{port(53)}}, false},
		"another protocol":       {networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp}}}, false},
		"the pods":               {networkingv1.NetworkPolicyEgressRule{To: peers{{NamespaceSelector: in(namespaceName + "=shop"), PodSelector: in("app=db")}}}, true},
		"by what is not known":   {networkingv1.NetworkPolicyEgressRule{To: peers{{NamespaceSelector: in("team=a"), PodSelector: in("tier in (db)")}}}, true},
		"other pods":             {networkingv1.NetworkPolicyEgressRule{To: peers{{NamespaceSelector: in(namespaceName + "=shop"), PodSelector: in("app=cache")}}}, false},
		"another namespace":      {networkingv1.NetworkPolicyEgressRule{To: peers{{NamespaceSelector: in(namespaceName + "=other")}}}, false},
		"its own namespace only": {networkingv1.NetworkPolicyEgressRule{To: peers{{PodSelector: in("app=db")}}}, false},
		"addresses":              {networkingv1.NetworkPolicyEgressRule{To: peers{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}}}}, true},
	} {
		if got := leads(one.rule, "web", to); got != one.want {
			t.Errorf("%s leads there: %t", what, got)
		}
	}
}
