// Does what it is asked, a line of JSON each, with @azure/arm-servicelinker.
import { createInterface } from "node:readline";
import { ClientSecretCredential } from "@azure/identity";
import { ServiceLinkerManagementClient } from "@azure/arm-servicelinker";

const { PATCHBAY_URL, AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET } = process.env;

const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, {
  authorityHost: PATCHBAY_URL,
  disableInstanceDiscovery: true,
});
const client = new ServiceLinkerManagementClient(credential, { endpoint: PATCHBAY_URL });

for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, args } = JSON.parse(line);
  try {
    const [group, method] = what.split(".");
    let result = client[group][method](...args);
    if (result[Symbol.asyncIterator]) {
      const all = [];
      for await (const item of result) all.push(item);
      result = all;
    }
    console.log(JSON.stringify({ result: await result }));
  } catch (e) {
    console.log(JSON.stringify({ error: { status: e.statusCode ?? 0, code: e.code ?? e.name, message: e.message } }));
  }
}
