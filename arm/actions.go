package arm

import "strings"

// providerAction is one thing that Microsoft.ServiceLinker can do.
type providerAction struct{ name, operation, description string }

// providerActions are all that a role can allow of Microsoft.ServiceLinker.
var providerActions = []providerAction{
	{"operations/read", "List operations", "Lists what Microsoft.ServiceLinker can do."},
	{"configurationNames/read", "List configuration names", "Lists the names of the settings that connections write."},
	{"daprConfigurations/read", "List Dapr configurations", "Lists the Dapr components that a source can have."},
	{"locations/operationStatuses/read", "Get operation status", "Reads how far a long-running operation is."},
	{"linkers/read", "Get or list connections", "Reads one connection of a source, or lists them."},
	{"linkers/write", "Create or update connection", "Creates a connection, or changes it."},
	{"linkers/delete", "Delete connection", "Deletes a connection and what it made on its source and target."},
	{"linkers/validateLinker/action", "Validate connection", "Checks a connection's existence, network, configuration and authentication."},
	{"linkers/listConfigurations/action", "List configurations", "Lists a connection's settings with their values, secrets included."},
	{"linkers/generateConfigurations/action", "Generate configurations", "Computes a connection's settings with their values, secrets included, and writes nothing."},
	{"dryruns/read", "Get or list dryruns", "Reads one dryrun of a source, or lists them."},
	{"dryruns/write", "Create or update dryrun", "Finds out what creating or updating a connection would do, and what is in its way."},
	{"dryruns/delete", "Delete dryrun", "Deletes a dryrun."},
	{"locations/connectors/read", "Get or list local connections", "Reads one local connection of a location, or lists them."},
	{"locations/connectors/write", "Create or update local connection", "Creates a local connection, or changes it."},
	{"locations/connectors/delete", "Delete local connection", "Deletes a local connection and what it made on its target."},
	{"locations/connectors/validate/action", "Validate local connection", "Checks a local connection's existence, network and authentication."},
	{"locations/connectors/generateConfigurations/action", "Generate local configurations", "Computes a local connection's settings with their values, secrets included."},
	{"locations/dryruns/read", "Get or list dryruns of local connections", "Reads one dryrun of a location, or lists them."},
	{"locations/dryruns/write", "Create or update dryrun of a local connection", "Finds out what creating or updating a local connection would do, and what is in its way."},
	{"locations/dryruns/delete", "Delete dryrun of a local connection", "Deletes a dryrun of a location."},
}

// ProviderOperations is the answer of GET /providers/Microsoft.ServiceLinker/operations.
func ProviderOperations() any {
	items := make([]any, len(providerActions))
	for i, a := range providerActions {
		resource := strings.TrimSuffix(a.name, "/action")
		d := &members{}
		d.add("", "provider", Provider)
		d.add("", "resource", resource[:strings.LastIndexByte(resource, '/')])
		d.add("", "operation", a.operation)
		d.add("", "description", a.description)
		m := &members{}
		m.add("", "name", Provider+"/"+a.name)
		m.add("", "isDataAction", false)
		m.add("", "display", d)
		m.add("", "origin", "user,system")
		items[i] = m
	}
	return List(items, "")
}

// IsProviderAction reports whether the list of the provider's operations has
// the action.
func IsProviderAction(action string) bool {
	for _, a := range providerActions {
		if action == Provider+"/"+a.name {
			return true
		}
	}
	return false
}
