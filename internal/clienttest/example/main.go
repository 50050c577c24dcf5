// Command example connects a web app to PostgreSQL with azcore, as a page of the
// documentation shows it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	if err := connect(context.Background(), os.Getenv("PATCHBAY")); err != nil {
		log.Fatal(err)
	}
}

func connect(ctx context.Context, patchbay string) error {
	options := policy.ClientOptions{Cloud: cloud.Configuration{
		ActiveDirectoryAuthorityHost: patchbay,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: patchbay, Audience: patchbay},
		},
	}}
	credential, err := azidentity.NewClientSecretCredential(
		os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET"),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		return err
	}
	// armservicelinker takes the same credential and &arm.ClientOptions.
	pipeline, err := armruntime.NewPipeline("example", "v1", credential, runtime.PipelineOptions{}, &arm.ClientOptions{ClientOptions: options})
	if err != nil {
		return err
	}
	group := "/subscriptions/" + os.Getenv("AZURE_SUBSCRIPTION_ID") + "/resourceGroups/default/providers"
	req, err := runtime.NewRequest(ctx, http.MethodPut,
		patchbay+group+"/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders?api-version=2024-04-01")
	if err != nil {
		return err
	}
	err = runtime.MarshalAsJSON(req, map[string]any{"properties": map[string]any{
		"targetService": map[string]string{"type": "AzureResource", "id": group + "/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/shop"},
		"authInfo":      map[string]string{"authType": "secret"},
		"clientType":    "go",
	}})
	if err != nil {
		return err
	}
	response, err := pipeline.Do(req)
	if err != nil {
		return err
	}
	if !runtime.HasStatusCode(response, http.StatusOK, http.StatusCreated) {
		return runtime.NewResponseError(response)
	}
	type linker struct {
		Properties struct{ ProvisioningState string }
	}
	poller, err := runtime.NewPoller[linker](response, pipeline, nil)
	if err != nil {
		return err
	}
	made, err := poller.PollUntilDone(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Println(made.Properties.ProvisioningState)
	return nil
}
