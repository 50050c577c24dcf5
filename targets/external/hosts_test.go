package external_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/settings"
)

// hostlike finds what may be the name of a host, by its last label: Java's names
// of classes and libraries' own words begin with such a label and don't end in one.
var hostlike = regexp.MustCompile(`(?i)[a-z0-9{}-]+(?:\.[a-z0-9-]+)*\.(?:com|net|io|cn|us|org|dev|cloud|ms|tech|internal)\b`)

// TestNoSettingNamesAHostThatNobodyNamed walks the whole settings table: every
// kind, naming, client type and way to sign in, of a service that is registered
// with an endpoint.
func TestNoSettingNamesAHostThatNobodyNamed(t *testing.T) {
	rendered := map[string]int{}
	for _, k := range settings.Kinds() {
		for _, endpoint := range []string{"svc.shop.internal", "https://svc.shop.internal", "https://svc.shop.internal:8443/base", k.Name + "://svc.shop.internal"} {
			for _, r := range registrationsOf(k) {
				r.endpoint = endpoint
				rendered[k.Name] += walk(t, k, r)
			}
		}
		if rendered[k.Name] == 0 {
			t.Errorf("nothing of %s was looked at", k.Name)
		}
	}
	// Where Azure has a service nobody named, and the walk sees it.
	seen := 0
	for _, r := range registrationsOf(kindNamed("storage-blob")) {
		for _, s := range render(t, kindNamed("storage-blob"), r) {
			seen += len(strangers(s))
		}
	}
	if seen == 0 {
		t.Error("the walk does not see Azure's hosts")
	}
}

// What an identity asks for the keys of an account is not where the account is.
func TestWhereAServiceIsSaysNothingOfWhereItsKeysAre(t *testing.T) {
	k := kindNamed("cosmos-mongo")
	for _, r := range registrationsOf(k) {
		r.endpoint = "mongodb://svc.shop.internal"
		target := r.opened(t)
		values := settings.Values{"clientId": patchbay.NewSecret("c")}
		for name, value := range factsOf(t, target, r.sub) {
			values[name] = patchbay.NewSecret(value)
		}
		request := settings.Request{Kind: k.Name, Client: "go", Auth: patchbay.AuthUserIdentity, Connection: "c", Values: values}
		_, err := settings.Render(request)
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.InvalidArgument || !strings.HasSuffix(e.Fix, "--value endpoint=… --value management=…") {
			t.Fatalf("%+v", e)
		}
		// And its fix is one.
		r.properties = map[string]any{"values": map[string]any{"endpoint": "https://svc.shop.internal/", "management": "svc.shop.internal:8443"}}
		target = r.opened(t)
		for name, value := range factsOf(t, target, r.sub) {
			request.Values[name] = patchbay.NewSecret(value)
		}
		if _, err := settings.Render(request); err != nil {
			t.Error(err)
		}
	}
}

// An account of several kinds whose one kind is registered at home has its others
// nowhere, rather than where Azure would have them.
func TestAKindOfAnAccountAtHomeIsNotTakenForAzures(t *testing.T) {
	r := registration{typ: "Microsoft.Storage/storageAccounts", properties: map[string]any{"endpoints": map[string]any{"storage-table": "http://10.0.0.5:10002/orders"}}}
	_, err := r.opened(t).Inspect(soon(t), "blobServices/default")
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.InvalidArgument || !strings.Contains(e.Fix, "--service-endpoint storage-blob=") {
		t.Fatalf("%+v", e)
	}
	r.properties["endpoints"].(map[string]any)["storage-blob"] = "http://10.0.0.5:10000/orders"
	if got := factsOf(t, r.opened(t), "blobServices/default")["endpoint"]; got != "http://10.0.0.5:10000/orders" {
		t.Errorf("the blobs are at %q", got)
	}
}

type registered struct {
	registration
	sub string
}

// registrationsOf are resources that are a target of the kind: of a type of our
// own, and of the product's.
func registrationsOf(k patchbay.TargetKind) []registered {
	all := []registered{{registration: registration{typ: "Patchbay.Services/" + k.Name}}}
	base := k
	var resourceKind string
	if name, variant, ok := strings.Cut(k.Variant, "/"); ok && len(k.IDs) == 0 {
		base, resourceKind = kindNamed(name), variant
	}
	for _, id := range base.IDs {
		if len(id.Segments()) == 0 {
			continue
		}
		var sub []string
		for _, s := range id.Segments()[1:] {
			sub = append(sub, s.Type, "default")
		}
		all = append(all, registered{registration{typ: id.Resource(), kind: resourceKind, location: "westeurope"}, strings.Join(sub, "/")})
	}
	return all
}

func kindNamed(name string) patchbay.TargetKind {
	all := settings.Kinds()
	return all[slices.IndexFunc(all, func(k patchbay.TargetKind) bool { return k.Name == name })]
}

type one struct {
	patchbay.Setting
	how string
}

// walk complains of each setting with a host that is not the endpoint's.
func walk(t *testing.T, k patchbay.TargetKind, r registered) int {
	t.Helper()
	all := render(t, k, r)
	for _, s := range all {
		if hosts := strangers(s); len(hosts) > 0 {
			t.Errorf("%s at %s: %s is %q, and nobody named %s", s.how, r.endpoint, s.Name, s.Value.Reveal(), strings.Join(hosts, ", "))
		}
	}
	return len(all)
}

func strangers(s one) []string {
	return slices.DeleteFunc(hostlike.FindAllString(s.Value.Reveal(), -1), func(host string) bool { return host == "svc.shop.internal" })
}

// render gives the settings of every connection to the resource.
func render(t *testing.T, k patchbay.TargetKind, r registered) (all []one) {
	t.Helper()
	target, err := r.open(t)
	if err != nil {
		return nil // of a kind that has endpoints of another form
	}
	defer func() { _ = target.Close() }()
	info, _ := target.Inspect(soon(t), r.sub) // nothing is there: the values come with the error
	if info.Values == nil {
		return nil
	}
	for _, naming := range append(slices.Clone(k.Namings), "") {
		for _, client := range k.Clients {
			for _, auth := range k.Auths {
				values := settings.Values{}
				for _, v := range k.Values { // what the connection and the login say
					if known, ok := info.Values[v.Name]; ok {
						values[v.Name] = patchbay.NewSecret(known)
					} else if !isPlace(v) {
						values[v.Name] = patchbay.NewSecret(example(v))
					}
				}
				found, err := settings.Render(settings.Request{Kind: k.Name, Client: client, Auth: auth, Naming: naming, Connection: "c", Values: values})
				if err != nil {
					continue
				}
				for _, s := range found {
					all = append(all, one{s, fmt.Sprintf("%s %s %s %s", k.Name, naming, client, auth)})
				}
			}
		}
	}
	return all
}

// isPlace reports whether a value says where something is: only the resource may.
func isPlace(v patchbay.TargetValue) bool {
	return strings.Contains(strings.ToLower(v.Name), "endpoint") || slices.Contains([]string{"host", "serverName", "port", "url", "servers", "suffix", "cloud", "management", "scope", "websocket"}, v.Name)
}

func example(v patchbay.TargetValue) string {
	if len(v.Words) > 0 {
		return v.Words[0]
	}
	if v.Example != "" {
		return v.Example
	}
	return "x"
}
