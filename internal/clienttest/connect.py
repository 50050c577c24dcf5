import os

from azure.identity import ClientSecretCredential
from azure.mgmt.servicelinker import ServiceLinkerManagementClient

patchbay = os.environ["PATCHBAY"]
credential = ClientSecretCredential(
    "adfs", os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"], authority=patchbay,
)
client = ServiceLinkerManagementClient(
    credential, base_url=patchbay, credential_scopes=[patchbay + "/.default"],
)

group = f"/subscriptions/{os.environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/default/providers"
linker = client.linker.begin_create_or_update(f"{group}/Microsoft.Web/sites/web", "orders", {
    "targetService": {"type": "AzureResource", "id": f"{group}/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/shop"},
    "authInfo": {"authType": "secret"},
    "clientType": "python",
}).result()
print(linker.provisioning_state)
