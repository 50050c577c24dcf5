package patchbay

import (
	"encoding/json"
	"time"
)

// Resource is an entry of the inventory: what a thing is, where it is and how
// to administer it.
type Resource struct {
	ID       ID                `json:"id"`
	Location string            `json:"location"`
	Kind     string            `json:"kind,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	// Driver is what the resource really is: envfile, postgres, nats… It
	// decides whether the resource can be a source, a target or both.
	Driver   string `json:"driver"`
	Endpoint string `json:"endpoint,omitempty"` // host:port, URL or path, as the driver says
	// Guards are what a target is behind, in the order in which they are opened; none:
	// Patchbay opens nothing on the way to it.
	Guards []ID `json:"guards,omitempty"`
	// PublicAccess is [PublicDisabled] for a target whose guards no connection opens,
	// but for a private link that it asks for; "" is [PublicEnabled].
	PublicAccess PublicAccess `json:"publicNetworkAccess,omitempty"`
	// Properties are the driver's own, checked by it, never secret.
	Properties     json.RawMessage `json:"properties,omitempty"`
	State          State           `json:"state"`
	ETag           string          `json:"etag"`
	Created        time.Time       `json:"created"`
	CreatedBy      string          `json:"createdBy"`
	CreatedByType  string          `json:"createdByType,omitempty"` // User, Application or Key
	Modified       time.Time       `json:"modified"`
	ModifiedBy     string          `json:"modifiedBy"`
	ModifiedByType string          `json:"modifiedByType,omitempty"`

	// Admin is the admin credential, sealed: a driver's named secrets.
	Admin Sealed `json:"-"`
}

// PublicAccess says whether a target lets itself be reached by other ways than a private
// link, in the wire's words.
type PublicAccess string

const (
	PublicEnabled  PublicAccess = "Enabled"
	PublicDisabled PublicAccess = "Disabled"
)

// Finding is one thing that was looked at on a host.
type Finding struct {
	What    string `json:"what"` // in a few words: "replace files as root"
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"` // a sentence
	Fix     string `json:"fix,omitempty"`     // what to do there
}

// Subscription and ResourceGroup are what an id is below; a first start makes
// one of each.
type Subscription struct {
	ID          string `json:"subscriptionId"`
	TenantID    string `json:"tenantId"`
	DisplayName string `json:"displayName"`
}

// ResourceGroup is a named part of a subscription, with a location that is the
// default of what is made in it.
type ResourceGroup struct {
	ID       ID                `json:"id"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// Leftover is anything on a target, network or source that bears our mark and
// that no live connection owns. It is retried in the background until gone.
type Leftover struct {
	ID         string    `json:"id"`
	Connection ID        `json:"connection"`
	Operation  string    `json:"operation"`
	Resource   ID        `json:"resource"` // where it is
	What       string    `json:"what"`     // "principal pb_x7k2m9q4_g1", "settings"
	Why        string    `json:"why"`      // the last error, redacted
	Attempts   int       `json:"attempts"`
	Created    time.Time `json:"created"`
	NextTry    time.Time `json:"nextTry"`
	// Trying says that it is being tried, and Deaths how often the server has
	// ended meanwhile: after three it is tried only when somebody asks.
	Trying bool `json:"trying,omitempty"`
	Deaths int  `json:"deaths,omitempty"`

	// Sealed is what package connector needs to remove it.
	Sealed Sealed `json:"-"`
}

// AllLeftovers is what a sweep is of, in the place of a connection and a source.
const AllLeftovers ID = "/providers/Patchbay.Connector/leftovers"

// Sweep is what a sweep did.
type Sweep struct {
	Removed []Leftover `json:"removed"`
	Left    []Leftover `json:"left"`
	// How many of each there are besides the first, which are listed.
	MoreRemoved int `json:"moreRemoved,omitempty"`
	MoreLeft    int `json:"moreLeft,omitempty"`
}
