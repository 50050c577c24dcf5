package driver

import (
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

var shop = patchbay.Driver{
	Name: "shop", Noun: "shop",
	Properties: []patchbay.Field{
		{Name: "street", Type: patchbay.TextField, About: "where it is", Required: true},
		{Name: "open", Type: patchbay.BoolField, About: "whether it is open"},
		{Name: "goods", Type: patchbay.ListField, About: "what it sells", Words: []string{"tea", "cups"}},
		{Name: "prices", Type: patchbay.MapField, About: "what that costs"},
		{Name: "door.key", Type: patchbay.FileField, About: "of the door"},
		{Name: "door.colour", Type: patchbay.TextField, About: "of the door", Words: []string{"red", "blue"}},
	},
	Admin:      []patchbay.Field{{Name: "username"}, {Name: "password", Secret: true}, {Name: "token", Secret: true}},
	AdminForms: [][]string{{"username", "password"}, {"token"}},
}

type shopProperties struct {
	Street string
	Open   bool
	Goods  []string
	Prices map[string]string
	Door   struct{ Key, Colour string }
}

func TestPropertiesAreWhatTheDriverDescribes(t *testing.T) {
	var p shopProperties
	err := DecodeProperties(shop, json.RawMessage(`{"street":"High","open":true,"goods":["tea"],"prices":{"tea":"3"},"door":{"key":"k","colour":"red"}}`), &p)
	if err != nil || p.Street != "High" || !p.Open || p.Goods[0] != "tea" || p.Prices["tea"] != "3" || p.Door.Key != "k" || p.Door.Colour != "red" {
		t.Errorf("%+v, %v", p, err)
	}
	if err := DecodeProperties(shop, json.RawMessage(`{"street":"High","door":null,"open":null,"goods":null}`), &p); err != nil {
		t.Errorf("what is null is what is left out: %v", err)
	}
	for properties, want := range map[string]string{
		``:                               "needs the property street: where it is",
		`{"street":""}`:                  "needs the property street",
		`[]`:                             "not one JSON object",
		`{"street":"High"}{}`:            "not one JSON object",
		`null`:                           "not one JSON object",
		`{"street":"High","stret":1}`:    `no property "stret"; there are street, open, goods, prices, door.key, door.colour`,
		`{"street":"High","door":"red"}`: "door of a shop is an object",
		`{"street":"High","door":{"handle":"x"}}`:                 `no property "door.handle"`,
		`{"street":"High","door.colour":{"x":"y"}}`:               "door.colour of a shop is a text",
		`{"street":"High","door.colour":"red"}`:                   "can't be read",
		`{"street":1}`:                                            "street of a shop is a text",
		`{"street":"High","open":"yes"}`:                          "open of a shop is true or false",
		`{"street":"High","goods":"tea"}`:                         "goods of a shop is a list of texts",
		`{"street":"High","goods":["milk"]}`:                      `goods of a shop is "milk", and can be tea, cups`,
		`{"street":"High","prices":{"tea":3}}`:                    "prices of a shop is an object of texts",
		`{"street":"High","door":{"colour":"pink"}}`:              `door.colour of a shop is "pink", and can be red, blue`,
		`{"street":"a\u0000b"}`:                                   "zero byte",
		`{"street":"High","prices":{"tea":"\u0000"}}`:             "zero byte",
		`{"street":"` + strings.Repeat("x", maxProperty+1) + `"}`: "longer than",
	} {
		err := DecodeProperties(shop, json.RawMessage(properties), new(shopProperties))
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", properties, err, want)
		}
	}
	// A name is the caller's, and of any length.
	err = DecodeProperties(shop, json.RawMessage(`{"`+strings.Repeat("x", 5000)+`":1}`), new(shopProperties))
	if err == nil || len(err.Error()) > 300 {
		t.Errorf("%d bytes: %.300v", len(err.Error()), err)
	}
	// What is described must be read.
	if err := DecodeProperties(shop, json.RawMessage(`{"street":"High","open":true}`), new(struct{ Street string })); err == nil {
		t.Error("a property that nothing reads is taken")
	}
}

func TestAnAdminCredentialIsOfOneForm(t *testing.T) {
	secrets := func(all ...string) Secrets {
		s := Secrets{}
		for i := 0; i < len(all); i += 2 {
			s[all[i]] = patchbay.NewSecret(all[i+1])
		}
		return s
	}
	for _, good := range []Secrets{secrets("username", "u", "password", "p"), secrets("token", "t"), secrets("token", "t", "username", "u")} {
		if err := CheckAdmin(shop, good); err != nil {
			t.Error(err)
		}
	}
	for want, bad := range map[string]Secrets{
		"needs username and password, or token":                       nil,
		"a shop needs username and password, or token":                secrets("username", "u"),
		`unknown part "pasword"; there are username, password, token`: secrets("username", "u", "pasword", "geheim"),
		"the admin credential's password is empty":                    secrets("username", "u", "password", ""),
		"the admin credential's password has a zero byte":             secrets("username", "u", "password", "geheim\x00"),
	} {
		err := CheckAdmin(shop, bad)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestWhatATargetIdAddsToItsResource(t *testing.T) {
	const resource = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/N.S/servers/db")
	for _, tt := range []struct {
		children []string
		rest     string
		sub      string
		ok       bool
	}{
		{[]string{"databases"}, "/databases/shop", "shop", true},
		{[]string{"databases"}, "/Databases/shop", "shop", true},
		{[]string{"databases"}, "", "", false},
		{[]string{"databases"}, "/databases", "", false},
		{[]string{"databases"}, "/tables/shop", "", false},
		{[]string{"databases"}, "/databases/shop/tables/orders", "", false},
		{[]string{""}, "", "", true},
		{[]string{""}, "/databases/shop", "", false},
		{[]string{"gremlinDatabases/graphs"}, "/gremlinDatabases/shop/graphs/orders", "shop/orders", true},
		{[]string{"blobServices/containers", "blobServices"}, "/blobServices/default", "blobServices/default", true},
		{[]string{"blobServices/containers", "blobServices"}, "/blobServices/default/containers/c", "blobServices/default/containers/c", true},
		{[]string{"", "databases"}, "", "", true},
		{nil, "/databases/0", "databases/0", true},
		{nil, "", "", true},
	} {
		sub, ok := TargetDriver{Children: tt.children}.Sub(resource, resource+patchbay.ID(tt.rest))
		if sub != tt.sub || ok != tt.ok {
			t.Errorf("%q of %q: %q, %t", tt.rest, tt.children, sub, ok)
		}
	}
}
