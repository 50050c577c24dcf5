package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// ConnectionView is a linker as the server answers it: what a client decides
// by, and the whole of it.
type ConnectionView struct {
	ID         patchbay.ID `json:"id"`
	Name       string      `json:"name"`
	Properties struct {
		State  patchbay.State      `json:"provisioningState"`
		Client patchbay.ClientType `json:"clientType"`
		Target struct {
			Type     patchbay.TargetType `json:"type"`
			ID       patchbay.ID         `json:"id"`
			Endpoint string              `json:"endpoint"`
		} `json:"targetService"`
		Auth *struct {
			Type patchbay.AuthType `json:"authType"`
			Name string            `json:"name"`
		} `json:"authInfo"`
		Patchbay *struct {
			Access     patchbay.Access   `json:"access"`
			Naming     patchbay.Naming   `json:"naming"`
			Options    map[string]string `json:"options"`
			Settings   map[string]string `json:"settings"`
			Generation int64             `json:"generation"`
			Principal  string            `json:"principal"`
			Operation  string            `json:"operation"`
			Keys       []string          `json:"keys"`
			Drift      patchbay.Drift    `json:"drift"`
			Health     *patchbay.Verdict `json:"health"`
		} `json:"patchbay"`
	} `json:"properties"`
	ETag string          `json:"-"`
	Raw  json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the whole answer beside the members that are known.
func (v *ConnectionView) UnmarshalJSON(b []byte) error {
	type plain ConnectionView
	if err := json.Unmarshal(b, (*plain)(v)); err != nil {
		return err
	}
	v.Raw = bytes.Clone(b)
	return nil
}

// Spec is what the connection was asked for, less its secrets. It is an error when
// a server of another release has more to say of it than this one knows.
func (v ConnectionView) Spec() (patchbay.Spec, error) {
	spec, err := arm.DecodePut(arm.V20261101, v.Raw)
	if err != nil {
		return spec, patchbay.Errorf(patchbay.Internal, "%s is not what this version expects: %w", v.Name, err)
	}
	return spec, nil
}

// Source is the id of the connection's source; of a local one, its location's.
func (v ConnectionView) Source() patchbay.ID {
	source, _, _ := v.ID.ConnectionSource()
	return source
}

// TargetName is the target's id or, of one that has none, its endpoint.
func (v ConnectionView) TargetName() string {
	if v.Properties.Target.ID != "" {
		return string(v.Properties.Target.ID)
	}
	return v.Properties.Target.Endpoint
}

// Connection reads one; ResourceNotFound when there is none.
func (c *Client) Connection(ctx context.Context, id patchbay.ID) (ConnectionView, error) {
	var v ConnectionView
	h, _, err := c.send(ctx, request{method: http.MethodGet, path: string(id)}, &v)
	if err == nil {
		v.ETag = h.Get("ETag")
	}
	return v, err
}

// Connections lists those of a source, or of a location.
func (c *Client) Connections(ctx context.Context, source patchbay.ID) ([]ConnectionView, error) {
	if IsLocation(source) {
		return all[ConnectionView](ctx, c, string(source)+"/connectors", nil)
	}
	return all[ConnectionView](ctx, c, string(source)+"/providers/"+arm.Provider+"/linkers", nil)
}

// IsLocation reports whether id is that of a location, which local connections
// are in.
func IsLocation(id patchbay.ID) bool { return id.Local("x").IsLocal() }

// PutConnection begins to make or to replace a connection. operation is the id
// to watch.
func (c *Client) PutConnection(ctx context.Context, id patchbay.ID, spec patchbay.Spec) (v ConnectionView, operation string, err error) {
	return c.writeConnection(ctx, http.MethodPut, id, spec, "")
}

// PatchConnection begins to change a connection that still has that ETag; "" is
// no condition. What is zero in change stays as it is; a login, a target and a
// map that are in it replace those that were.
func (c *Client) PatchConnection(ctx context.Context, id patchbay.ID, change patchbay.Spec, ifMatch string) (v ConnectionView, operation string, err error) {
	return c.writeConnection(ctx, http.MethodPatch, id, change, ifMatch)
}

func (c *Client) writeConnection(ctx context.Context, method string, id patchbay.ID, spec patchbay.Spec, ifMatch string) (v ConnectionView, operation string, err error) {
	r := request{method: method, path: string(id), body: arm.LinkerRequest(spec), header: atOnce()}
	if ifMatch != "" {
		r.header.Set("If-Match", ifMatch)
	}
	h, _, err := c.send(ctx, r, &v)
	if err != nil {
		return v, "", err
	}
	operation = operationOf(h)
	if operation == "" && v.Properties.Patchbay != nil {
		operation = v.Properties.Patchbay.Operation
	}
	return v, operation, nil
}

// DeleteConnection begins to delete; operation is "" when there was nothing to
// delete.
func (c *Client) DeleteConnection(ctx context.Context, id patchbay.ID) (operation string, err error) {
	h, _, err := c.send(ctx, request{method: http.MethodDelete, path: string(id), header: atOnce()}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// atOnce asks for an answer as soon as the operation has begun: whoever watches
// it sees its steps, and does not wait for the server to wait for its end.
func atOnce() http.Header { return http.Header{"Prefer": {"respond-async"}} }

// ValidateConnection begins a validation; the report is in the ended
// operation.
func (c *Client) ValidateConnection(ctx context.Context, id patchbay.ID, v arm.Validate) (operation string, err error) {
	h, _, err := c.send(ctx, request{
		method: http.MethodPost, path: string(id) + ownProvider + "/validate", body: arm.ValidateRequest(v),
	}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// ConnectionHistory is what the validations of a connection found, the newest first.
func (c *Client) ConnectionHistory(ctx context.Context, id patchbay.ID) ([]patchbay.Verdict, error) {
	return all[patchbay.Verdict](ctx, c, string(id)+ownProvider+"/history", nil)
}

// RotateConnection begins to replace the connection's credential.
func (c *Client) RotateConnection(ctx context.Context, id patchbay.ID, r arm.Rotate) (operation string, err error) {
	h, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + ownProvider + "/rotate", body: arm.RotateRequest(r)}, nil)
	if err != nil {
		return "", err
	}
	return operationOf(h), nil
}

// operationOf is the operation's id in the URL that Azure's clients poll:
// …/operationStatuses/{id}, or {id}*{hash}.
func operationOf(h http.Header) string {
	for _, name := range []string{"Azure-Asyncoperation", "Location"} {
		u, err := url.Parse(h.Get(name))
		if err != nil || u.Path == "" {
			continue
		}
		last := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
		if id, _, _ := strings.Cut(last, "*"); id != "" {
			return id
		}
	}
	return ""
}

// PreviewView is what a PUT would do.
type PreviewView struct {
	Kind  patchbay.OperationKind `json:"kind"`
	Steps []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"steps"`
	Settings []SettingView     `json:"settings"`
	Problems []*patchbay.Error `json:"problems,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
}

// SettingView is a setting as the server answers it. Value is plain text: only
// the calls that are made to show values answer them.
type SettingView struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Secret      bool   `json:"secret"`
	File        bool   `json:"file,omitempty"`
	ConfigType  string `json:"configType,omitempty"`
	Description string `json:"description,omitempty"`
}

// PreviewConnection says what PutConnection would do; it changes nothing.
func (c *Client) PreviewConnection(ctx context.Context, id patchbay.ID, spec patchbay.Spec) (PreviewView, error) {
	var v PreviewView
	_, _, err := c.send(ctx, request{
		method: http.MethodPost, path: string(id) + ownProvider + "/preview", body: arm.LinkerRequest(spec),
	}, &v)
	return v, err
}

// Configurations are the connection's settings with their values. A local
// connection has none written; they are computed.
func (c *Client) Configurations(ctx context.Context, id patchbay.ID) ([]SettingView, error) {
	var answer struct {
		Configurations []SettingView `json:"configurations"`
	}
	action := "/listConfigurations"
	if id.IsLocal() {
		action = "/generateConfigurations"
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(id) + action}, &answer)
	return answer.Configurations, err
}

// Environment is every setting of a source.
func (c *Client) Environment(ctx context.Context, source patchbay.ID) (map[string]patchbay.Secret, error) {
	var answer struct {
		Environment map[string]patchbay.Secret `json:"environment"`
	}
	_, _, err := c.send(ctx, request{method: http.MethodPost, path: string(source) + ownProvider + "/environment"}, &answer)
	return answer.Environment, err
}
