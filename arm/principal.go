package arm

import (
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// PrincipalView is a principal on the wire. Hashes of secrets are not on it.
type PrincipalView struct {
	ID         string                 `json:"id"` // its object id
	AppID      string                 `json:"appId,omitempty"`
	Tenant     string                 `json:"tenantId"`
	Name       string                 `json:"name"`
	Kind       patchbay.PrincipalKind `json:"kind"`
	Provider   string                 `json:"provider,omitempty"`
	Subject    string                 `json:"subject,omitempty"`
	Disabled   bool                   `json:"disabled,omitempty"`
	Secrets    []SecretView           `json:"secrets,omitempty"`
	Created    time.Time              `json:"created"`
	CreatedBy  string                 `json:"createdBy"`
	Modified   time.Time              `json:"modified"`
	ModifiedBy string                 `json:"modifiedBy"`
	// Secret is a new secret; it is in the one answer that made it.
	Secret string `json:"secret,omitempty"`
}

// SecretView is what is told of a secret that is kept.
type SecretView struct {
	ID      string    `json:"id"`
	Hint    string    `json:"hint"` // its first three characters
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

// Principal is p as it is answered, with a secret that was just made.
func Principal(p patchbay.Principal, secret patchbay.Secret) PrincipalView {
	v := PrincipalView{
		ID: p.ID, AppID: p.AppID, Tenant: p.Tenant, Name: p.Name, Kind: p.Kind, Provider: p.Provider, Subject: p.Subject,
		Disabled: p.Disabled, Created: p.Created, CreatedBy: p.CreatedBy, Modified: p.Modified, ModifiedBy: p.ModifiedBy,
		Secret: secret.Reveal(),
	}
	for _, s := range p.Secrets {
		v.Secrets = append(v.Secrets, SecretView{ID: s.ID, Hint: s.Hint, Created: s.Created, Expires: s.Expires})
	}
	return v
}

// PrincipalRequest is the body of a request that makes a principal, changes
// one or replaces its secret.
type PrincipalRequest struct {
	Name     string                 `json:"name,omitempty"`
	Provider string                 `json:"provider,omitempty"`
	Kind     patchbay.PrincipalKind `json:"kind,omitempty"`
	Subject  string                 `json:"subject,omitempty"`
	Disabled *bool                  `json:"disabled,omitempty"`
	Append   *bool                  `json:"append,omitempty"`
	Expires  time.Time              `json:"expires,omitzero"` // of the new secret
}

// DecodeNewPrincipal reads the body of a POST that makes one.
func DecodeNewPrincipal(body []byte) (PrincipalRequest, error) {
	var p PrincipalRequest
	err := decodeBody(body, func(o *object) {
		var kind string
		o.str("", "name", &p.Name)
		o.str("", "provider", &p.Provider)
		o.str("", "kind", &kind)
		o.str("", "subject", &p.Subject)
		o.time("expires", &p.Expires)
		p.Kind = o.principalKind(kind)
	})
	return p, err
}

// DecodePrincipalChange reads the body of a PATCH.
func DecodePrincipalChange(body []byte) (PrincipalRequest, error) {
	var p PrincipalRequest
	err := decodeBody(body, func(o *object) {
		o.str("", "name", &p.Name)
		o.flag("", "disabled", &p.Disabled)
	})
	return p, err
}

// DecodeReset reads the body of a resetSecret, which may be empty.
func DecodeReset(body []byte) (PrincipalRequest, error) {
	var p PrincipalRequest
	if strings.TrimSpace(string(body)) == "" {
		return p, nil
	}
	err := decodeBody(body, func(o *object) {
		o.flag("", "append", &p.Append)
		o.time("expires", &p.Expires)
	})
	return p, err
}

// DecodeTenant reads the body of a PUT of a tenant.
func DecodeTenant(id string, body []byte) (patchbay.Tenant, error) {
	t := patchbay.Tenant{ID: id}
	err := decodeBody(body, func(o *object) {
		o.ignore("id", "tenantId", "tenantCategory", "domains")
		o.str("", "displayName", &t.DisplayName)
	})
	return t, err
}

func (o *object) time(name string, dst *time.Time) {
	var text string
	if !o.str("", name, &text) || text == "" {
		return
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		o.fail(invalid("%s has to be a time such as 2027-01-31T00:00:00Z", join(o.path, name)))
		return
	}
	*dst = t
}

func (o *object) principalKind(s string) patchbay.PrincipalKind {
	if s == "" {
		return ""
	}
	for _, k := range []patchbay.PrincipalKind{patchbay.UserPrincipal, patchbay.ServicePrincipal, patchbay.GroupPrincipal} {
		if is(s, string(k)) {
			return k
		}
	}
	o.fail(invalid("kind has to be User, ServicePrincipal or Group"))
	return ""
}

// SignInView is the answer to the question how one signs in.
type SignInView struct {
	// Issuer is the built-in one's, for service principals.
	Issuer    string         `json:"issuer"`
	Providers []ProviderView `json:"providers"`
	// Caller is who asked, when the request had a token.
	Caller *CallerView `json:"caller,omitempty"`
}

// ProviderView is a configured OpenID Connect provider.
type ProviderView struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	ClientID  string   `json:"clientId,omitempty"` // of device logins; "": there are none
	Scopes    []string `json:"scopes,omitempty"`
	Audiences []string `json:"audiences"`
	Tenant    string   `json:"tenantId"`
}

// CallerView is who a token is of.
type CallerView struct {
	ID       string                 `json:"id,omitempty"`
	AppID    string                 `json:"appId,omitempty"`
	Tenant   string                 `json:"tenantId,omitempty"`
	Name     string                 `json:"name"`
	Kind     patchbay.PrincipalKind `json:"kind"`
	Groups   []string               `json:"groups,omitempty"`
	Operator bool                   `json:"operator,omitempty"`
}
