package networkpolicy

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	apitypes "k8s.io/apimachinery/pkg/types"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// model is an API server that knows what this driver asks of one, and a network that does
// at once what policies say: for the deaths that are too many for a cluster. What the real
// ones do is the other tests' affair.
type model struct {
	*httptest.Server
	t        *testing.T
	mu       sync.Mutex
	last     int
	policies map[string]*networkingv1.NetworkPolicy
	n, cut   int // requests that change something, and which of them is cut
	late     bool
	die      context.CancelFunc
	opened   bool // pods that were closed are not
}

func newModel(t *testing.T) *model {
	m := &model{t: t, policies: map[string]*networkingv1.NetworkPolicy{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(w http.ResponseWriter, _ *http.Request) {
		m.answer(w, http.StatusCreated, &authorizationv1.SelfSubjectAccessReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"}, Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true},
		})
	})
	mux.HandleFunc("GET /api/v1/namespaces/shop/services/db", func(w http.ResponseWriter, _ *http.Request) {
		m.answer(w, http.StatusOK, &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
			Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.9", Selector: map[string]string{"app": "db"}, Ports: []corev1.ServicePort{{Port: 5432, NodePort: 31432}}},
		})
	})
	mux.HandleFunc("GET /api/v1/namespaces/shop/pods", func(w http.ResponseWriter, _ *http.Request) {
		m.answer(w, http.StatusOK, &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}})
	})
	const path = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
	mux.HandleFunc("GET /apis/networking.k8s.io/v1/networkpolicies", m.list)
	mux.HandleFunc("GET "+path, m.list)
	mux.HandleFunc("GET "+path+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		if had := m.policies[r.PathValue("name")]; had != nil {
			m.answer(w, http.StatusOK, had)
			return
		}
		m.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	})
	mux.HandleFunc("POST "+path, m.change)
	mux.HandleFunc("PUT "+path+"/{name}", m.change)
	mux.HandleFunc("DELETE "+path+"/{name}", m.delete)
	m.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if strings.Contains(r.URL.Path, "networkpolicies") && r.Method != http.MethodGet {
			if m.n++; m.cut > 0 && m.n >= m.cut {
				if m.n == m.cut && m.late {
					mux.ServeHTTP(httptest.NewRecorder(), r)
				}
				m.die()
				panic(http.ErrAbortHandler)
			}
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *model) answer(w http.ResponseWriter, status int, o any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o)
}

func (m *model) refuse(w http.ResponseWriter, status int, reason metav1.StatusReason) {
	m.answer(w, status, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: reason, Code: int32(status)})
}

func (m *model) list(w http.ResponseWriter, r *http.Request) {
	selector, err := labels.Parse(r.FormValue("labelSelector"))
	if err != nil {
		m.t.Error(err)
	}
	all := &networkingv1.NetworkPolicyList{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicyList"}}
	for _, one := range m.policies {
		if selector.Matches(labels.Set(one.Labels)) {
			all.Items = append(all.Items, *one)
		}
	}
	m.answer(w, http.StatusOK, all)
}

// change is a create or an update.
func (m *model) change(w http.ResponseWriter, r *http.Request) {
	o := &networkingv1.NetworkPolicy{}
	if err := json.NewDecoder(r.Body).Decode(o); err != nil {
		m.t.Error(err)
	}
	had := m.policies[o.Name]
	m.last++
	switch {
	case r.Method == http.MethodPost && had != nil:
		m.refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
		return
	case r.Method == http.MethodPut && had == nil:
		m.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case r.Method == http.MethodPut && had.ResourceVersion != o.ResourceVersion:
		m.refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	case had == nil:
		o.UID, o.Generation = apitypes.UID(fmt.Sprint("uid-", m.last)), 1
	default:
		o.UID, o.Generation = had.UID, had.Generation
		if !equality.Semantic.DeepEqual(had.Spec, o.Spec) {
			o.Generation++
		}
	}
	o.ResourceVersion = fmt.Sprint(m.last)
	m.policies[o.Name] = o
	m.answer(w, http.StatusOK, o)
}

func (m *model) delete(w http.ResponseWriter, r *http.Request) {
	var how metav1.DeleteOptions
	_ = json.NewDecoder(r.Body).Decode(&how)
	had := m.policies[r.PathValue("name")]
	switch {
	case had == nil:
		m.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	case how.Preconditions == nil || *how.Preconditions.UID != had.UID:
		m.refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	}
	delete(m.policies, had.Name)
	m.opened = m.opened || had.Labels[closedLabel] != ""
	m.answer(w, http.StatusOK, had)
}

// arm says which change is cut, and counts anew. The context is of who dies with it.
func (m *model) arm(cut int, late bool) context.Context {
	ctx, cancel := context.WithCancel(m.t.Context())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n, m.cut, m.late, m.die, m.opened = 0, cut, late, cancel, false
	return ctx
}

func (m *model) state() (content string, changes int, opened bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for name, o := range m.policies {
		text, err := json.Marshal([]any{name, o.Labels, o.Annotations, o.Spec})
		if err != nil {
			m.t.Fatal(err)
		}
		all = append(all, string(text))
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), m.n, m.opened
}

func (m *model) wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.policies)
}

// DialContext is Patchbay's way to the database: from the pods app=patchbay of patchbay.
func (m *model) DialContext(context.Context, string, string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	let := len(m.policies) == 0
	for _, o := range m.policies {
		for _, rule := range o.Spec.Ingress {
			let = let || slices.ContainsFunc(rule.From, func(p networkingv1.NetworkPolicyPeer) bool {
				return p.NamespaceSelector != nil && p.NamespaceSelector.MatchLabels[namespaceName] == "patchbay" && p.PodSelector != nil && p.PodSelector.MatchLabels["app"] == "patchbay"
			})
		}
	}
	if !let {
		return nil, errors.New("refused")
	}
	here, there := net.Pipe()
	_ = there.Close()
	return here, nil
}

func (m *model) open(allow ...string) *network {
	m.t.Helper()
	properties, err := json.Marshal(map[string]any{
		"namespace": "shop", "allow": allow, "tls": map[string]any{"ca": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw}))},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	n, err := Driver().Open(m.t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/g", Endpoint: m.URL, Properties: properties,
		Admin: driver.Secrets{"token": patchbay.NewSecret("canary")}, Dialer: &net.Dialer{},
	}, driver.Config{ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/targets/db", Endpoint: "db.shop.svc:5432", Dialer: m})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = n.Close() })
	n.(*network).target.settle = time.Nanosecond
	return n.(*network)
}

func (m *model) edit(name string, do func(*networkingv1.NetworkPolicy)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.policies[name].DeepCopy()
	do(o)
	m.last++
	o.Generation, o.ResourceVersion = o.Generation+1, fmt.Sprint(m.last)
	m.policies[name] = o
}

// TestWhatIsTriedIsWhatIsThere: what somebody else made of it meanwhile was not tried.
func TestWhatIsTriedIsWhatIsThere(t *testing.T) {
	m := newModel(t)
	n := m.open("patchbay/app=patchbay")
	m.arm(0, false)
	closed := n.closing(place{namespace: "shop", pods: map[string]string{"app": "db"}, siblings: map[string]string{"app": "db"}})
	made := func() *attempt {
		have, err := n.ensure(t.Context(), closed)
		if err != nil {
			t.Fatal(err)
		}
		return &attempt{closed: closed, uid: string(have.UID), generation: have.Generation}
	}
	for what, meanwhile := range map[string]func(){
		"is gone":    func() { m.wipe() },
		"is another": func() { m.wipe(); made() },
		"lets in more": func() {
			m.edit(closed.Name, func(o *networkingv1.NetworkPolicy) {
				o.Spec.Ingress = append(o.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{})
			})
		},
		"lets in nobody": func() { m.edit(closed.Name, func(o *networkingv1.NetworkPolicy) { o.Spec.Ingress = nil }) },
	} {
		one := made()
		meanwhile()
		if err := n.tried(t.Context(), one); !patchbay.IsTransient(err) {
			t.Errorf("what %s: %v", what, err)
		}
		if now, _, _ := m.state(); strings.Contains(now, triedAnnotation) {
			t.Errorf("what %s bears that it was tried: %s", what, now)
		}
	}
	one := made()
	for range 2 { // the second is somebody beside
		if err := n.tried(t.Context(), one); err != nil {
			t.Error(err)
		}
	}
	// Somebody's words are nobody's: it is tried anew.
	m.edit(closed.Name, func(o *networkingv1.NetworkPolicy) { o.Annotations[triedAnnotation] = "true"; o.Generation-- })
	if err := n.tried(t.Context(), one); err != nil {
		t.Error(err)
	}
	if now := m.policies[closed.Name].Annotations[triedAnnotation]; now != contentOf(closed.Spec.Ingress) {
		t.Errorf("what was tried is on record as %s", now)
	}
}

// TestADeathWhileItIsTried: at each change, of a first closing and of another --allow. Who
// goes on ends where somebody would who never died, and pods that were closed stay so.
func TestADeathWhileItIsTried(t *testing.T) {
	m := newModel(t)
	r := driver.Rule{
		Mark: driver.Mark{UID: "aaaa", Generation: 1, Connection: "/c"}, Name: "pb_aaaa_g1", Servers: []string{"db.shop.svc:5432"},
		Peer: &driver.Peer{Scope: "web", Labels: map[string]string{"app": "web"}},
	}
	const us, others = "patchbay/app=patchbay", "monitoring/app=prometheus"
	m.arm(0, false)
	ensure := func(allow ...string) error { return m.open(allow...).EnsureRule(t.Context(), r) }
	nothing := func() { m.wipe() }
	before := func() {
		m.wipe()
		if err := ensure(us); err != nil {
			t.Fatal(err)
		}
	}
	for what, one := range map[string]struct {
		begin func()
		allow []string
		shut  bool
	}{
		"a first one":                {nothing, []string{us}, false},
		"a first one that shuts out": {nothing, []string{others}, true},
		"another one":                {before, []string{others, us}, false},
		"another one that shuts out": {before, []string{others}, true},
		"one that somebody has taken off": {func() {
			before()
			m.mu.Lock()
			delete(m.policies, m.open(us).closing(place{namespace: "shop", pods: map[string]string{"app": "db"}}).Name)
			m.mu.Unlock()
		}, []string{us}, false},
	} {
		judge := func(who string, err error) {
			t.Helper()
			if one.shut != (patchbay.CodeOf(err) == patchbay.TargetUnreachable) || !one.shut && err != nil {
				t.Errorf("%s, %s: %v", what, who, err)
			}
			if _, err := m.DialContext(t.Context(), "", ""); err != nil {
				t.Errorf("%s, %s: Patchbay is shut out", what, who)
			}
		}
		one.begin()
		m.arm(0, false)
		judge("without a death", ensure(one.allow...))
		want, changes, _ := m.state()
		if changes == 0 {
			t.Fatalf("%s changes nothing", what)
		}
		for cut := 1; cut <= changes; cut++ {
			for _, late := range []bool{false, true} {
				one.begin()
				had, _, _ := m.state()
				ctx := m.arm(cut, late)
				if err := m.open(one.allow...).EnsureRule(ctx, r); err == nil {
					t.Errorf("%s succeeds without its change %d", what, cut)
				}
				if _, _, opened := m.state(); opened && had != "" {
					t.Errorf("%s, dead at %d: pods that were closed are open", what, cut)
				}
				m.arm(0, false)
				judge(fmt.Sprintf("after a death at %d, %t", cut, late), ensure(one.allow...))
				if now, _, opened := m.state(); now != want || opened && had != "" {
					t.Errorf("%s, after a death at %d, %t, is\n%s\nwant\n%s", what, cut, late, now, want)
				}
				// And so it does where somebody takes it all back.
				if err := m.open(us).RemoveRule(t.Context(), r); err != nil {
					t.Errorf("%s, after a death at %d: RemoveRule: %v", what, cut, err)
				}
				judgeReach(t, m, what)
			}
		}
	}
}

func judgeReach(t *testing.T, m *model, what string) {
	t.Helper()
	if _, err := m.DialContext(t.Context(), "", ""); err != nil {
		t.Errorf("%s: with the rule gone, Patchbay is shut out", what)
	}
}
