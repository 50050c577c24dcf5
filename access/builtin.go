package access

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// The built-in roles' ids. Where Azure has the role, its id is Azure's, so that
// scripts which name roles by id work.
const (
	Owner                       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor                 = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	ServiceConnectorContributor = "5f0c6d1b-93e4-4a7e-8c52-d16b0e7fa934"
	ConnectionSecretsReader     = "c7a2be48-61d9-4f35-b0c3-2e94f8d7150a" //nolint:gosec // a role's id
)

// What a caller needs to find its way to what it may read.
var surroundings = []string{
	"Microsoft.Resources/subscriptions/read",
	"Microsoft.Resources/subscriptions/resourceGroups/read",
}

// builtin is what every tenant has, the smallest first.
var builtin = []patchbay.RoleDefinition{
	{
		ID: Reader, Name: "Reader",
		Description: "Reads everything but secrets, and changes nothing.",
		Actions:     []string{"*/read"},
	},
	{
		ID: ConnectionSecretsReader, Name: "Connection Secrets Reader",
		Description: "Reads connections, and the settings that they wrote with their secrets: for who runs an application elsewhere.",
		Actions: append([]string{
			"Microsoft.ServiceLinker/linkers/read",
			"Microsoft.ServiceLinker/linkers/listConfigurations/action",
			"Microsoft.ServiceLinker/linkers/generateConfigurations/action",
			"Microsoft.ServiceLinker/locations/connectors/read",
			"Microsoft.ServiceLinker/locations/connectors/generateConfigurations/action",
		}, surroundings...),
	},
	{
		ID: ServiceConnectorContributor, Name: "Service Connector Contributor",
		Description: "Makes, changes, validates and deletes connections, reads their settings, and connects to targets; reads the inventory.",
		Actions: append([]string{
			"Microsoft.ServiceLinker/linkers/*",
			"Microsoft.ServiceLinker/dryruns/*",
			"Microsoft.ServiceLinker/locations/connectors/*",
			"Microsoft.ServiceLinker/locations/dryruns/*",
			"Microsoft.ServiceLinker/*/read",
			"Patchbay.Connector/linkers/*",
			"Patchbay.Connector/connectors/*",
			"Patchbay.Connector/targets/connect/action",
			"Patchbay.Connector/endpoints/connect/action",
			"Patchbay.Connector/resources/read",
			"Patchbay.Connector/operations/read",
			"Patchbay.Connector/operations/cancel/action",
			"Patchbay.Connector/operations/retry/action",
			"Patchbay.Connector/leftovers/read",
			"Patchbay.Connector/settings/read",
		}, surroundings...),
	},
	{
		ID: Contributor, Name: "Contributor",
		Description: "Manages connections and targets, secrets of connections included; gives nobody a role, makes no principals, and registers nothing on the server's own machine.",
		Actions:     []string{"*"},
		NotActions: []string{
			"Microsoft.Authorization/*/Write",
			"Microsoft.Authorization/*/Delete",
			"Microsoft.Authorization/elevateAccess/Action",
			"Patchbay.Connector/principals/write",
			"Patchbay.Connector/principals/delete",
			"Patchbay.Connector/principals/*/action",
			"Patchbay.Connector/tenants/write",
			"Patchbay.Connector/tenants/delete",
			"Patchbay.Connector/tenants/*/action",
			"Patchbay.Connector/hosts/*",
		},
	},
	{
		ID: Owner, Name: "Owner",
		Description: "Does everything, and gives roles to others.",
		Actions:     []string{"*"},
	},
}

// Builtin are the built-in roles, the smallest first.
func Builtin() []patchbay.RoleDefinition {
	list := slices.Clone(builtin)
	for i := range list {
		list[i].Actions = slices.Clone(list[i].Actions)
		list[i].NotActions = append([]string{}, list[i].NotActions...)
		list[i].Scopes = []patchbay.ID{patchbay.RootScope}
	}
	return list
}

func builtinOf(id string) (patchbay.RoleDefinition, bool) {
	for _, d := range Builtin() {
		if strings.EqualFold(d.ID, id) {
			return d, true
		}
	}
	return patchbay.RoleDefinition{}, false
}

// Smallest is the name of the smallest built-in role that has all the actions;
// "" when none has.
func Smallest(actions ...string) string {
	for _, d := range builtin {
		r := compileRole(d)
		if !slices.ContainsFunc(actions, func(a string) bool { return !r.grants(strings.ToLower(a)) }) {
			return d.Name
		}
	}
	return ""
}
