import { ClientSecretCredential } from "@azure/identity";
import { ServiceLinkerManagementClient } from "@azure/arm-servicelinker";

const { PATCHBAY, AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_SUBSCRIPTION_ID } = process.env;

const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, {
  authorityHost: PATCHBAY,
  disableInstanceDiscovery: true,
});
const client = new ServiceLinkerManagementClient(credential, { endpoint: PATCHBAY });

const group = `/subscriptions/${AZURE_SUBSCRIPTION_ID}/resourceGroups/default/providers`;
const linker = await client.linker.beginCreateOrUpdateAndWait(`${group}/Microsoft.Web/sites/web`, "orders", {
  targetService: { type: "AzureResource", id: `${group}/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/shop` },
  authInfo: { authType: "secret" },
  clientType: "nodejs",
});
console.log(linker.provisioningState);
