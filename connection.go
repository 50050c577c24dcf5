package patchbay

import (
	"reflect"
	"time"
)

// Connection links a source to a target. It is an extension resource of its
// source and lives in its source's location.
type Connection struct {
	ID             ID        `json:"id"`
	UID            string    `json:"uid"`    // names everything that the connection owns; never reused
	Source         ID        `json:"source"` // the id before /providers/Microsoft.ServiceLinker/
	Name           string    `json:"name"`
	Location       string    `json:"location"`
	Spec           Spec      `json:"spec"` // what was asked for, without its secrets
	State          State     `json:"state"`
	Generation     int64     `json:"generation"`       // of the credential in use; 0 before the first
	Operation      string    `json:"operation"`        // the last operation's id
	ETag           string    `json:"etag"`             // changes with every write of the record
	Guards         []ID      `json:"guards,omitempty"` // at which it has an opening
	Keys           []string  `json:"keys"`             // names of the settings that it owns on the source
	Login          string    `json:"principal"`        // the login that it owns on the target, "" when the login was given
	Message        string    `json:"message"`          // a warning that came with the last success
	Created        time.Time `json:"created"`
	CreatedBy      string    `json:"createdBy"`
	CreatedByType  string    `json:"createdByType,omitempty"` // User, Application or Key
	Modified       time.Time `json:"modified"`
	ModifiedBy     string    `json:"modifiedBy"`
	ModifiedByType string    `json:"modifiedByType,omitempty"`

	// Health is what the last look at it found; nil before the first. It is no part of
	// the record.
	Health *Verdict `json:"-"`

	// Sealed holds what the connection knows and nobody may read: the secrets
	// that were given, the credential in use, the values as written, and what
	// they replaced. Package connector alone opens it.
	Sealed Sealed `json:"-"`
}

// State is a resource's provisioning state, in ARM's words.
type State string

const (
	Accepted  State = "Accepted" // a create or update waits or runs
	Deleting  State = "Deleting"
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
)

// ClientType is the language, framework or library that reads the settings.
// The set is open: package settings knows which it has names for.
type ClientType string

// AuthType is how the application signs in, in the wire's words.
type AuthType string

const (
	AuthSecret         AuthType = "secret"
	AuthSystemIdentity AuthType = "systemAssignedIdentity"
	AuthUserIdentity   AuthType = "userAssignedIdentity"
	AuthSPSecret       AuthType = "servicePrincipalSecret"
	AuthSPCertificate  AuthType = "servicePrincipalCertificate"
	AuthAccessKey      AuthType = "accessKey"
	AuthUserAccount    AuthType = "userAccount"
	AuthEasyAuth       AuthType = "easyAuthMicrosoftEntraID"
)

// Access is how much a connection's principal may do.
type Access string

const (
	Reader Access = "reader" // read what is there, now and later
	Writer Access = "writer" // and write it; the default
	Owner  Access = "owner"  // and make and change the objects themselves
)

// Naming chooses whose names the settings bear.
type Naming string

const (
	NamingAzure          Naming = "azure"          // Service Connector's own: AZURE_POSTGRESQL_HOST…
	NamingNative         Naming = "native"         // what the product's tools read: PGHOST, NATS_URL…
	NamingServiceBinding Naming = "servicebinding" // files under $SERVICE_BINDING_ROOT/{name}
	NamingOwn            Naming = "own"            // those in [Spec].Settings, and no others
)

// Spec is what a caller asks of a connection, independent of the api-version
// that it was asked in. Pointers are nil where the caller said nothing.
//
// Secret fields hold a value only between the caller and the plan; a stored
// Spec has them empty (they are in [Connection.Sealed]).
type Spec struct {
	Target        TargetService          `json:"target"`
	Auth          *Auth                  `json:"auth,omitempty"` // nil is legal: network and existence only
	Client        ClientType             `json:"client,omitempty"`
	VNet          *VNetSolution          `json:"vnet,omitempty"`
	PublicNetwork *PublicNetworkSolution `json:"publicNetwork,omitempty"`
	SecretStore   *SecretStore           `json:"secretStore,omitempty"`
	Scope         string                 `json:"scope,omitempty"`
	Configuration *ConfigurationInfo     `json:"configuration,omitempty"`

	// Patchbay's own, in api-version 2026-11-01.
	Access  Access            `json:"access,omitempty"`  // default writer; Auth.Roles overrides it
	Naming  Naming            `json:"naming,omitempty"`  // default by the target's type
	Options map[string]string `json:"options,omitempty"` // the target driver's own, e.g. subjects, schema
	// Settings are further ones, by their exact names: templates over the values of the
	// target's kind, MB_DB_CONNECTION_URI: "postgres://{username}:{password:url}@{host}".
	// One that the naming has too is replaced; an empty template is none.
	Settings map[string]string `json:"settings,omitempty"`
	// TakeOver lets the settings have names that the source has for something else.
	// What was there comes back when they go.
	TakeOver bool `json:"takeOver,omitempty"`
	// Drift is what is done when somebody changes the settings; "" is [DriftReport].
	Drift Drift `json:"drift,omitempty"`
}

// IsZero reports whether nothing is asked for.
func (s Spec) IsZero() bool { return reflect.DeepEqual(s, Spec{}) }

// TargetService names the other end.
type TargetService struct {
	Type     TargetType          `json:"type"`
	ID       ID                  `json:"id,omitempty"`       // AzureResource
	Endpoint string              `json:"endpoint,omitempty"` // the others
	Resource *ResourceProperties `json:"resourceProperties,omitempty"`
}

// TargetType is the discriminator of targetService, in exactly this casing.
type TargetType string

const (
	AzureResource            TargetType = "AzureResource"
	ConfluentBootstrapServer TargetType = "ConfluentBootstrapServer"
	ConfluentSchemaRegistry  TargetType = "ConfluentSchemaRegistry"
	SelfHostedServer         TargetType = "SelfHostedServer"
	FabricPlatform           TargetType = "FabricPlatform"
)

// ResourceProperties are the switches of a Key Vault or App Configuration target.
type ResourceProperties struct {
	Type                           string `json:"type"` // KeyVault or AppConfig
	ConnectAsKubernetesCSIDriver   *bool  `json:"connectAsKubernetesCsiDriver,omitempty"`
	ConnectWithKubernetesExtension *bool  `json:"connectWithKubernetesExtension,omitempty"`
}

// Auth is authInfo: one struct for all discriminated forms (contract 3.4).
type Auth struct {
	Type           AuthType    `json:"type"`
	Name           string      `json:"name,omitempty"` // secret: the login's name
	SecretInfo     *SecretInfo `json:"secretInfo,omitempty"`
	ClientID       string      `json:"clientId,omitempty"`
	SubscriptionID string      `json:"subscriptionId,omitempty"`
	PrincipalID    string      `json:"principalId,omitempty"`
	UserName       string      `json:"userName,omitempty"`
	Roles          []string    `json:"roles,omitempty"`
	Permissions    []string    `json:"permissions,omitempty"`
	Secret         Secret      `json:"-"` // servicePrincipalSecret, easyAuth
	Certificate    Secret      `json:"-"` // servicePrincipalCertificate
	OnChange       string      `json:"deleteOrUpdateBehavior,omitempty"`
	Mode           string      `json:"authMode,omitempty"` // optInAllAuth, optOutAllAuth
}

// SecretInfo says where a secret's value is.
type SecretInfo struct {
	Type    string `json:"secretType"` // rawValue, keyVaultSecretUri, keyVaultSecretReference
	Value   Secret `json:"-"`          // rawValue; empty means keep, or obtain from the target
	URI     string `json:"uri,omitempty"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
}

const (
	RawValue                = "rawValue"
	KeyVaultSecretURI       = "keyVaultSecretUri"
	KeyVaultSecretReference = "keyVaultSecretReference"
)

// OptOut is the action that leaves a step to the caller.
const (
	OptOut        = "optOut"
	OptOutAllAuth = "optOutAllAuth"
)

// VNetSolution is vNetSolution.
type VNetSolution struct {
	Type     string `json:"type,omitempty"` // serviceEndpoint, privateLink
	OnChange string `json:"deleteOrUpdateBehavior,omitempty"`
}

// PublicNetworkSolution is publicNetworkSolution. Its booleans are strings on
// the wire ("true", "false"), and kept so.
type PublicNetworkSolution struct {
	Action        string         `json:"action,omitempty"` // enable, optOut
	OnChange      string         `json:"deleteOrUpdateBehavior,omitempty"`
	FirewallRules *FirewallRules `json:"firewallRules,omitempty"`
}

// FirewallRules is publicNetworkSolution.firewallRules.
type FirewallRules struct {
	IPRanges       []string `json:"ipRanges,omitempty"`
	AzureServices  string   `json:"azureServices,omitempty"`
	CallerClientIP string   `json:"callerClientIP,omitempty"`
}

// SecretStore is secretStore: the vault that holds the secret.
type SecretStore struct {
	KeyVaultID         string `json:"keyVaultId,omitempty"`
	KeyVaultSecretName string `json:"keyVaultSecretName,omitempty"`
}

// ConfigurationInfo is configurationInfo.
type ConfigurationInfo struct {
	Action           string            `json:"action,omitempty"` // enable, optOut
	OnChange         string            `json:"deleteOrUpdateBehavior,omitempty"`
	CustomizedKeys   map[string]string `json:"customizedKeys,omitempty"`           // default name → name
	Additional       map[string]string `json:"additionalConfigurations,omitempty"` // further settings
	ConnectionString map[string]string `json:"additionalConnectionStringProperties,omitempty"`
	AppConfiguration string            `json:"appConfigurationId,omitempty"` // configurationStore
	Dapr             *DaprProperties   `json:"daprProperties,omitempty"`
}

// DaprProperties is configurationInfo.daprProperties.
type DaprProperties struct {
	Version              string         `json:"version,omitempty"`
	ComponentType        string         `json:"componentType,omitempty"`
	SecretStoreComponent string         `json:"secretStoreComponent,omitempty"`
	Metadata             []DaprMetadata `json:"metadata,omitempty"`
	Scopes               []string       `json:"scopes,omitempty"`
}

// DaprMetadata is one item of a Dapr component's metadata.
type DaprMetadata struct {
	Name        string `json:"name,omitempty"`
	Value       string `json:"value,omitempty"`
	SecretRef   string `json:"secretRef,omitempty"`
	Description string `json:"description,omitempty"`
	Required    string `json:"required,omitempty"`
}

// Setting is one name and value that a connection puts on its source.
type Setting struct {
	Name   string `json:"name"`
	Value  Secret `json:"-"`      // every value is handled as a secret: a host in a log is nobody's business either
	Secret bool   `json:"secret"` // it holds a credential
	// ConfigType is Default or KeyVaultSecret; a KeyVaultSecret's value is a
	// reference that the platform resolves.
	ConfigType  string `json:"configType,omitempty"`
	Identity    string `json:"keyVaultReferenceIdentity,omitempty"`
	Description string `json:"description,omitempty"`
	// File says that the setting is a file of that name in the connection's
	// binding directory (naming servicebinding), not an environment variable.
	File bool `json:"file,omitempty"`
}
