package arm

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay.dev/patchbay"
)

// form is what one form of a discriminated object has, by the names of the
// domain's fields.
type form struct{ may, must []string }

// forms are what contract section 3 has of each; Type is the discriminator.
var forms = map[reflect.Type]map[string]form{
	reflect.TypeFor[patchbay.TargetService](): {
		"AzureResource":            {may: []string{"Resource"}, must: []string{"ID"}},
		"ConfluentBootstrapServer": {must: []string{"Endpoint"}},
		"ConfluentSchemaRegistry":  {must: []string{"Endpoint"}},
		"SelfHostedServer":         {must: []string{"Endpoint"}},
		"FabricPlatform":           {must: []string{"Endpoint"}},
	},
	reflect.TypeFor[patchbay.ResourceProperties](): {
		"KeyVault":  {may: []string{"ConnectAsKubernetesCSIDriver"}},
		"AppConfig": {may: []string{"ConnectWithKubernetesExtension"}},
	},
	reflect.TypeFor[patchbay.Auth](): {
		"secret":                      {may: []string{"Mode", "Name", "SecretInfo"}},
		"systemAssignedIdentity":      {may: []string{"Mode", "Roles", "UserName", "OnChange"}},
		"userAssignedIdentity":        {may: []string{"Mode", "ClientID", "SubscriptionID", "Roles", "UserName", "OnChange"}},
		"servicePrincipalSecret":      {may: []string{"Mode", "Secret", "Roles", "UserName", "OnChange"}, must: []string{"ClientID", "PrincipalID"}},
		"servicePrincipalCertificate": {may: []string{"Mode", "Certificate", "Roles", "OnChange"}, must: []string{"ClientID", "PrincipalID"}},
		"accessKey":                   {may: []string{"Mode", "Permissions"}},
		"userAccount":                 {may: []string{"Mode", "PrincipalID", "Roles", "UserName", "OnChange"}},
		"easyAuthMicrosoftEntraID":    {may: []string{"Mode", "ClientID", "Secret", "OnChange"}},
	},
	reflect.TypeFor[patchbay.SecretInfo](): {
		"rawValue":                {may: []string{"Value"}},
		"keyVaultSecretUri":       {may: []string{"URI"}},
		"keyVaultSecretReference": {may: []string{"Name", "Version"}},
	},
}

// words are the values of the fields that do not take any text.
var fieldWords = map[string][]string{
	"Mode": {"optInAllAuth", "optOutAllAuth"}, "OnChange": {"Default", "ForcedCleanup"}, "Action": {"enable", "optOut"},
	"Permissions": {"Read", "Write", "Listen", "Send", "Manage"}, "VNetSolution.Type": {"serviceEndpoint", "privateLink"},
	"AzureServices": {"true", "false"}, "CallerClientIP": {"true", "false"}, "Required": {"true", "false"},
	"Access": {"reader", "writer", "owner"}, "Naming": {"azure", "native", "servicebinding", "own"}, "Drift": {"report", "repair"},
	"ID": {pg, web}, "KeyVaultID": {web}, "AppConfiguration": {pg},
}

// generator makes specs that a server takes, and counts which fields it filled.
type generator struct {
	*rand.Rand
	filled map[string]int
}

func (g *generator) spec() patchbay.Spec {
	var s patchbay.Spec
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name == "Target" || g.IntN(2) == 0 {
			g.fill(v.Field(i), "Spec."+name)
		}
	}
	return s
}

// fill gives v a value that is not zero. path ends in the type's name and the
// field's.
func (g *generator) fill(v reflect.Value, path string) {
	owner, field, _ := strings.Cut(path, ".")
	g.filled[path]++
	switch {
	case v.Type() == reflect.TypeFor[patchbay.Secret]():
		v.Set(reflect.ValueOf(patchbay.NewSecret("zqx" + g.text())))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		g.fill(v.Elem(), path)
	case v.Kind() == reflect.Struct:
		g.fillStruct(v)
	case v.Kind() == reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case v.Kind() == reflect.String:
		choices := fieldWords[field]
		if choices == nil {
			choices = fieldWords[owner+"."+field]
		}
		if choices == nil {
			choices = []string{g.text()}
		}
		v.SetString(choices[g.IntN(len(choices))])
	case v.Kind() == reflect.Slice:
		for range 1 + g.IntN(3) {
			item := reflect.New(v.Type().Elem()).Elem()
			g.fill(item, path)
			v.Set(reflect.Append(v, item))
		}
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + g.IntN(3) {
			v.SetMapIndex(reflect.ValueOf(g.text()), reflect.ValueOf([]string{"", g.text()}[g.IntN(2)]))
		}
	default:
		panic("a Spec has a " + v.Kind().String() + " now: teach the generator to fill it")
	}
}

func (g *generator) fillStruct(v reflect.Value) {
	t := v.Type()
	var of form
	byForm, discriminated := forms[t]
	if discriminated {
		types := sortedKeys(byForm)
		typ := types[g.IntN(len(types))]
		v.FieldByName("Type").SetString(typ)
		of = byForm[typ]
	}
	for v.IsZero() || discriminated {
		for i := range t.NumField() {
			name := t.Field(i).Name
			may := !discriminated || slices.Contains(of.may, name)
			if slices.Contains(of.must, name) || may && g.IntN(2) == 0 {
				v.Field(i).SetZero()
				g.fill(v.Field(i), t.Name()+"."+name)
			}
		}
		discriminated = false
	}
}

func (g *generator) text() string {
	letters := []rune(`aZ09 ._-/=:;,@"'\<>&{}[]$%üß世🎉` + "\t\n\u2028\x7f")
	text := make([]rune, 1+g.IntN(12))
	for i := range text {
		text[i] = letters[g.IntN(len(letters))]
	}
	return string(text)
}

// eachSpec calls check with many specs. Together they have a value in every
// field that a Spec has: one that is new and that nobody encodes is found.
func eachSpec(t *testing.T, check func(g *generator, s patchbay.Spec)) {
	t.Helper()
	g := &generator{rand.New(rand.NewPCG(1, 2)), map[string]int{}}
	for range 2000 {
		if check(g, g.spec()); t.Failed() {
			return
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[patchbay.Spec](), reflect.TypeFor[patchbay.TargetService](), reflect.TypeFor[patchbay.ResourceProperties](),
		reflect.TypeFor[patchbay.Auth](), reflect.TypeFor[patchbay.SecretInfo](), reflect.TypeFor[patchbay.VNetSolution](),
		reflect.TypeFor[patchbay.PublicNetworkSolution](), reflect.TypeFor[patchbay.FirewallRules](), reflect.TypeFor[patchbay.SecretStore](),
		reflect.TypeFor[patchbay.ConfigurationInfo](), reflect.TypeFor[patchbay.DaprProperties](), reflect.TypeFor[patchbay.DaprMetadata](),
	} {
		for i := range typ.NumField() {
			path := typ.Name() + "." + typ.Field(i).Name
			if _, discriminated := forms[typ]; g.filled[path] == 0 && !(discriminated && typ.Field(i).Name == "Type") {
				t.Errorf("no spec had a %s", path)
			}
		}
	}
}

func requestOf(t *testing.T, s patchbay.Spec) []byte {
	t.Helper()
	body, err := Marshal(LinkerRequest(s))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestWhatAClientAsksIsWhatTheServerReads(t *testing.T) {
	eachSpec(t, func(_ *generator, s patchbay.Spec) {
		body := requestOf(t, s)
		got, err := DecodePut(V20261101, body)
		if err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !reflect.DeepEqual(s, got) {
			t.Errorf("%s\nis read as something else:\n%s", body, cmp.Diff(s, got, secrets))
		}
	})
}

func TestAnAnswerIsTheSpecWithoutItsSecrets(t *testing.T) {
	eachSpec(t, func(_ *generator, s patchbay.Spec) {
		answer, err := Marshal(Linker(V20261101, patchbay.Connection{ID: patchbay.ID(web).Linker("a"), Spec: s}))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(answer), "zqx") {
			t.Errorf("a secret is in %s", answer)
		}
		if s.Auth != nil {
			a := *s.Auth
			a.Secret, a.Certificate = patchbay.Secret{}, patchbay.Secret{}
			if a.SecretInfo != nil {
				info := *a.SecretInfo
				info.Value = patchbay.Secret{}
				a.SecretInfo = &info
			}
			s.Auth = &a
		}
		got, err := DecodePut(V20261101, answer)
		if err != nil {
			t.Errorf("%s: %v", answer, err)
		} else if !reflect.DeepEqual(s, got) {
			t.Errorf("%s\nis read as something else:\n%s", answer, cmp.Diff(s, got, secrets))
		}
	})
}

func TestAPatchChangesWhatItNamesAndNothingElse(t *testing.T) {
	eachSpec(t, func(g *generator, base patchbay.Spec) {
		change := g.spec()
		if g.IntN(2) == 0 {
			change.Target = patchbay.TargetService{}
		}
		body := requestOf(t, change)
		merge, err := DecodePatch(V20261101, body)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			return
		}
		want, got := base, base
		overlay(reflect.ValueOf(&want).Elem(), reflect.ValueOf(change))
		if err := merge(&got); err != nil {
			t.Errorf("%s: %v", body, err)
		} else if !reflect.DeepEqual(want, got) {
			t.Errorf("%s\nmakes something else of it:\n%s", body, cmp.Diff(want, got, secrets))
		}
	})
	if got := string(requestOf(t, patchbay.Spec{})); got != `{"properties":{}}` {
		t.Errorf("a change of nothing is %s", got)
	}
}

// overlay lays over v what change has: objects member by member, except for
// those that are replaced whole.
func overlay(v, change reflect.Value) {
	for i := range v.NumField() {
		old, new := v.Field(i), change.Field(i)
		_, whole := forms[indirect(old.Type())]
		switch {
		case new.IsZero():
		case old.Kind() == reflect.Pointer && old.Type().Elem().Kind() == reflect.Struct && !old.IsNil() && !whole:
			both := reflect.New(old.Type().Elem())
			both.Elem().Set(old.Elem())
			overlay(both.Elem(), new.Elem())
			old.Set(both)
		default:
			old.Set(new)
		}
	}
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func TestASecretOnItsWayDoesNotPrint(t *testing.T) {
	d := disclosed{patchbay.NewSecret("zqx")}
	if text := fmt.Sprintf("%v %+v %#v %s %q %x", d, d, d, d, d, d); strings.Contains(text, "zqx") || strings.Contains(text, "7a7178") {
		t.Errorf("it prints: %s", text)
	}
	body, err := Marshal(d)
	if err != nil || string(body) != `"zqx"` {
		t.Errorf("%s, %v", body, err)
	}
}

func TestARotationIsReadAsItIsAsked(t *testing.T) {
	for _, r := range []Rotate{
		{}, {RevokeNow: true}, {Secret: patchbay.NewSecret("zqx")}, {Name: "app", Secret: patchbay.NewSecret(`z"<q>`), RevokeNow: true},
	} {
		body, err := Marshal(RotateRequest(r))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeRotate(body); err != nil || got != r {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}

func TestAValidationIsReadAsItIsAsked(t *testing.T) {
	for _, v := range []Validate{{}, {Fix: true}, {From: patchbay.FromControlPlane}} {
		body, err := Marshal(ValidateRequest(v))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeValidate(body); err != nil || got != v {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func TestRolesAreReadAsTheyAreAsked(t *testing.T) {
	for _, d := range []patchbay.RoleDefinition{
		{ID: "r", Name: "Auditor", Scopes: []patchbay.ID{patchbay.RootScope}, Actions: []string{"*/read"}},
		{ID: "r", Name: "N", Description: "d", Scopes: []patchbay.ID{rg, web}, Actions: []string{"*"}, NotActions: []string{"*/write", "*/delete"}},
	} {
		body, err := Marshal(RoleDefinitionRequest(d))
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRoleDefinition("r", body)
		if diff := cmp.Diff(d, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", body, err, diff)
		}
	}
	for _, a := range []patchbay.RoleAssignment{
		{ID: "a", Scope: rg, Role: "r", Principal: "p"},
		{ID: "a", Scope: patchbay.RootScope, Role: "r", Principal: "p", Description: "why"},
	} {
		body, err := Marshal(RoleAssignmentRequest(a))
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRoleAssignment(a.Scope, "a", body)
		if diff := cmp.Diff(a, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", body, err, diff)
		}
	}
}
