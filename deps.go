//go:build depsonly

package patchbay

import (
	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore"
	_ "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	_ "github.com/apache/cassandra-gocql-driver/v2"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/hashicorp/go-azure-sdk/resource-manager/servicelinker/2024-04-01/servicelinker"
	_ "github.com/hashicorp/go-azure-sdk/resource-manager/servicelinker/2022-05-01/links"
	_ "github.com/hashicorp/go-azure-sdk/sdk/auth"
	_ "github.com/microsoft/go-mssqldb"
	_ "github.com/minio/minio-go/v7"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/twmb/franz-go/pkg/kgo"
	_ "github.com/zitadel/oidc/v3/pkg/op"
	_ "github.com/zitadel/oidc/v3/example/server/exampleop"
	_ "go.mongodb.org/mongo-driver/v2/mongo"
	_ "golang.org/x/oauth2"
	_ "golang.org/x/time/rate"
)
