package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"patchbay.dev/patchbay"
)

// ResourceView is an entry of the inventory as the server answers it.
type ResourceView struct {
	ID         patchbay.ID `json:"id"`
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	Location   string      `json:"location"`
	Properties struct {
		Driver   string         `json:"driver"`
		Endpoint string         `json:"endpoint"`
		State    patchbay.State `json:"provisioningState"`
		Warnings []string       `json:"warnings"`
	} `json:"properties"`
	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the whole answer beside the members that are known.
func (v *ResourceView) UnmarshalJSON(b []byte) error {
	type plain ResourceView
	if err := json.Unmarshal(b, (*plain)(v)); err != nil {
		return err
	}
	v.Raw = bytes.Clone(b)
	return nil
}

// Resources lists the inventory.
func (c *Client) Resources(ctx context.Context) ([]ResourceView, error) {
	return all[ResourceView](ctx, c, ownProvider+"/resources", nil)
}

// Resource reads one.
func (c *Client) Resource(ctx context.Context, id patchbay.ID) (ResourceView, error) {
	var v ResourceView
	_, _, err := c.send(ctx, request{method: http.MethodGet, path: string(id)}, &v)
	return v, err
}

// PutResource registers a resource or changes it; check asks the resource
// itself whether what is said of it is true.
func (c *Client) PutResource(ctx context.Context, id patchbay.ID, body map[string]any, check bool) (v ResourceView, created bool, err error) {
	r := request{method: http.MethodPut, path: string(id), body: body}
	if !check {
		r.query = url.Values{"check": {"false"}}
	}
	_, status, err := c.send(ctx, r, &v)
	return v, status == http.StatusCreated, err
}

// RotateAdmin begins to replace the credential that a target is administered with.
func (c *Client) RotateAdmin(ctx context.Context, id patchbay.ID) (patchbay.Operation, error) {
	var op patchbay.Operation
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + ownProvider + "/rotateAdmin"}, &op)
	return op, err
}

// CheckHost asks a registered machine what it lets the server do.
func (c *Client) CheckHost(ctx context.Context, id patchbay.ID) ([]patchbay.Finding, error) {
	var answer struct {
		Value []patchbay.Finding `json:"value"`
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + ownProvider + "/check"}, &answer)
	return answer.Value, err
}

// Search is what a search is told: the properties of a registration, the driver, the
// endpoint and the credential among them.
type Search map[string]any

// Discover asks what runs where a source driver looks, to be registered in a group.
func (c *Client) Discover(ctx context.Context, group patchbay.ID, s Search) ([]patchbay.Discovered, error) {
	var answer struct {
		Value []patchbay.Discovered `json:"value"`
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(group) + ownProvider + "/discover", body: map[string]any{"properties": s}}, &answer)
	return answer.Value, err
}

// TakeCredential registers a service that a search finds with the credential that its
// image keeps, under its own name or another.
func (c *Client) TakeCredential(ctx context.Context, group patchbay.ID, s Search, name, as string) (v ResourceView, err error) {
	body := map[string]any{"properties": s, "name": name}
	if as != "" {
		body["as"] = as
	}
	_, _, err = c.send(ctx, request{method: http.MethodPost, path: string(group) + ownProvider + "/takeCredential", body: body}, &v)
	return v, err
}

// DeleteResource forgets a resource; existed is false when there was none.
func (c *Client) DeleteResource(ctx context.Context, id patchbay.ID) (existed bool, err error) {
	_, status, err := c.send(ctx, request{method: http.MethodDelete, path: string(id)}, nil)
	return status != http.StatusNoContent, err
}

// Catalog is what the server can connect.
func (c *Client) Catalog(ctx context.Context) (v patchbay.Catalog, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodGet, path: ownProvider + "/catalog"}, &v)
	return v, err
}

// Subscriptions lists them.
func (c *Client) Subscriptions(ctx context.Context) ([]patchbay.Subscription, error) {
	return all[patchbay.Subscription](ctx, c, "/subscriptions", nil)
}

// ResourceGroups lists those of a subscription.
func (c *Client) ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	return all[patchbay.ResourceGroup](ctx, c, "/subscriptions/"+subscription+"/resourceGroups", nil)
}

// SettingsKind is a kind of target that the settings table has names for.
type SettingsKind struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	CLI   []string `json:"cli"` // az's words for it
}

// SettingsKinds lists what the settings table knows.
func (c *Client) SettingsKinds(ctx context.Context) ([]SettingsKind, error) {
	return all[SettingsKind](ctx, c, ownProvider+"/settings", nil)
}

// SettingsView is the settings of one kind, for one client type, one way to
// sign in and one naming.
type SettingsView struct {
	Kind     string `json:"kind"`
	Client   string `json:"client"`
	Auth     string `json:"auth"`
	Naming   string `json:"naming"`
	Settings []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Secret      bool   `json:"secret"`
		Optional    bool   `json:"optional"`
		File        bool   `json:"file"`
	} `json:"settings"`
}

// SettingsTable is what the settings table has for a kind of target; "" for
// the others is the kind's default.
func (c *Client) SettingsTable(ctx context.Context, kind, client, auth, naming string) (SettingsView, error) {
	query := url.Values{}
	for name, value := range map[string]string{"kind": kind, "client": client, "auth": auth, "naming": naming} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var v SettingsView
	_, _, err := c.send(ctx, request{method: http.MethodGet, path: ownProvider + "/settings", query: query}, &v)
	return v, err
}
