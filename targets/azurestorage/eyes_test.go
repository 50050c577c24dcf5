package azurestorage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

// Azure's own libraries are the eyes of these tests. Some write the key's signing into the
// options that they are given, so each client has its own.

var once = policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}

// refusal is err, and says of the service's own no that it is one.
func refusal(err error) error {
	if said := (*azcore.ResponseError)(nil); errors.As(err, &said) && said.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%w: %s", drivertest.ErrRefused, said.ErrorCode)
	}
	return err
}

// listed is a policy of a list.
type listed struct {
	id, permission string
	start, expiry  *time.Time
}

// eyes are a service's.
type eyes struct {
	service  string // blobServices
	children string
	create   func(ctx context.Context, id string) error
	remove   func(ctx context.Context, id string) error
	policies func(ctx context.Context, id string) ([]listed, error)
	set      func(ctx context.Context, id string, all []listed) error
	// signIn is what an application does first.
	signIn  func(ctx context.Context, id, sas string) error
	actions []drivertest.Action
	access  []patchbay.Access
	// whole says that the emulator takes no policy without a start and an expiry.
	whole bool
}

// sub is a child as a target id has it.
func (e eyes) sub(id string) string { return e.service + "/default/" + e.children + "/" + id }

// id is the name in a sub.
func id(sub string) string { return sub[strings.LastIndexByte(sub, '/')+1:] }

// change edits the list of policies behind everybody's back.
func (e eyes) change(ctx context.Context, name string, edit func([]listed) []listed) error {
	all, err := e.policies(ctx, name)
	if err != nil {
		return err
	}
	return e.set(ctx, name, edit(all))
}

// made makes a child that is there until the test ends.
func (e eyes) made(t testing.TB, name string) string {
	t.Helper()
	if err := e.create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.remove(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return e.sub(name)
}

func blobs(s *testenv.AzuriteServer) eyes {
	key, _ := container.NewSharedKeyCredential(s.Account, s.Key)
	admin := func(id string) *container.Client {
		c, err := container.NewClientWithSharedKeyCredential(s.Blob()+"/"+id, key, &container.ClientOptions{ClientOptions: once})
		if err != nil {
			panic(err) // the test's own mistake
		}
		return c
	}
	as := func(do func(context.Context, *container.Client) error) func(context.Context, string, driver.Credential) error {
		return func(ctx context.Context, sub string, c driver.Credential) error {
			client, err := container.NewClientWithNoCredential(s.Blob()+"/"+id(sub)+"?"+c.Secret["sas"].Reveal(), &container.ClientOptions{ClientOptions: once})
			if err != nil {
				return err
			}
			return refusal(do(ctx, client))
		}
	}
	list := func(ctx context.Context, c *container.Client) error {
		_, err := c.NewListBlobsFlatPager(nil).NextPage(ctx)
		return err
	}
	upload := func(ctx context.Context, c *container.Client) error {
		_, err := c.NewBlockBlobClient("a/b.txt").Upload(ctx, streaming.NopCloser(bytes.NewReader([]byte("hello"))), nil)
		return err
	}
	all, writers, owners := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}, []patchbay.Access{patchbay.Writer, patchbay.Owner}, []patchbay.Access{patchbay.Owner}
	return eyes{
		service: "blobServices", children: "containers", access: all,
		create: func(ctx context.Context, id string) error {
			if _, err := admin(id).Create(ctx, nil); err != nil {
				return err
			}
			_, err := admin(id).NewBlockBlobClient("there").Upload(ctx, streaming.NopCloser(bytes.NewReader([]byte("x"))), nil)
			return err
		},
		remove: func(ctx context.Context, id string) error { _, err := admin(id).Delete(ctx, nil); return err },
		policies: func(ctx context.Context, id string) (all []listed, err error) {
			got, err := admin(id).GetAccessPolicy(ctx, nil)
			for _, p := range got.SignedIdentifiers {
				l := listed{id: *p.ID}
				if p.AccessPolicy != nil {
					if l.start, l.expiry = p.AccessPolicy.Start, p.AccessPolicy.Expiry; p.AccessPolicy.Permission != nil {
						l.permission = *p.AccessPolicy.Permission
					}
				}
				all = append(all, l)
			}
			return all, err
		},
		set: func(ctx context.Context, id string, all []listed) error {
			now, err := admin(id).GetAccessPolicy(ctx, nil)
			if err != nil {
				return err
			}
			o := &container.SetAccessPolicyOptions{Access: now.BlobPublicAccess}
			for _, l := range all {
				o.ContainerACL = append(o.ContainerACL, &container.SignedIdentifier{ID: to.Ptr(l.id), AccessPolicy: &container.AccessPolicy{Start: l.start, Expiry: l.expiry, Permission: to.Ptr(l.permission)}})
			}
			_, err = admin(id).SetAccessPolicy(ctx, o)
			return err
		},
		signIn: func(ctx context.Context, id, sas string) error {
			c, err := container.NewClientWithNoCredential(s.Blob()+"/"+id+"?"+sas, &container.ClientOptions{ClientOptions: once})
			if err != nil {
				return err
			}
			return refusal(list(ctx, c))
		},
		actions: []drivertest.Action{
			{Name: "list", Allowed: all, Do: as(list)},
			{Name: "read", Allowed: all, Do: as(func(ctx context.Context, c *container.Client) error {
				_, err := c.NewBlobClient("there").DownloadStream(ctx, nil)
				return err
			})},
			{Name: "write and delete", Allowed: writers, Do: as(func(ctx context.Context, c *container.Client) error {
				if err := upload(ctx, c); err != nil {
					return err
				}
				_, err := c.NewBlobClient("a/b.txt").Delete(ctx, nil)
				return err
			})},
			{Name: "append", Allowed: writers, Do: as(func(ctx context.Context, c *container.Client) error {
				a := c.NewAppendBlobClient("log")
				if _, err := a.Create(ctx, nil); err != nil {
					return err
				}
				_, err := a.AppendBlock(ctx, streaming.NopCloser(bytes.NewReader([]byte("x"))), nil)
				return err
			})},
			{Name: "set and read tags", Allowed: owners, Do: as(func(ctx context.Context, c *container.Client) error {
				b := c.NewBlobClient("there")
				if _, err := b.SetTags(ctx, map[string]string{"a": "b"}, nil); err != nil {
					return err
				}
				_, err := b.GetTags(ctx, nil)
				return err
			})},
			{Name: "delete the container", Do: as(func(ctx context.Context, c *container.Client) error { _, err := c.Delete(ctx, nil); return err })},
			{Name: "read its policies", Do: as(func(ctx context.Context, c *container.Client) error {
				_, err := c.GetAccessPolicy(ctx, nil)
				return err
			})},
			{Name: "open it to the public", Do: as(func(ctx context.Context, c *container.Client) error {
				_, err := c.SetAccessPolicy(ctx, &container.SetAccessPolicyOptions{Access: to.Ptr(container.PublicAccessTypeContainer)})
				return err
			})},
			{Name: "list another container", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				client, err := container.NewClientWithNoCredential(s.Blob()+"/patchbay-logins?"+c.Secret["sas"].Reveal(), &container.ClientOptions{ClientOptions: once})
				if err != nil {
					return err
				}
				return refusal(list(ctx, client))
			}},
			{Name: "write to another container", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				client, err := container.NewClientWithNoCredential(s.Blob()+"/patchbay-logins?"+c.Secret["sas"].Reveal(), &container.ClientOptions{ClientOptions: once})
				if err != nil {
					return err
				}
				return refusal(upload(ctx, client))
			}},
		},
	}
}

func queues(s *testenv.AzuriteServer) eyes {
	key, _ := azqueue.NewSharedKeyCredential(s.Account, s.Key)
	admin := func(id string) *azqueue.QueueClient {
		c, err := azqueue.NewQueueClientWithSharedKeyCredential(s.Queue()+"/"+id, key, &azqueue.ClientOptions{ClientOptions: once})
		if err != nil {
			panic(err) // the test's own mistake
		}
		return c
	}
	at := func(id, sas string) (*azqueue.QueueClient, error) {
		return azqueue.NewQueueClientWithNoCredential(s.Queue()+"/"+id+"?"+sas, &azqueue.ClientOptions{ClientOptions: once})
	}
	as := func(do func(context.Context, *azqueue.QueueClient) error) func(context.Context, string, driver.Credential) error {
		return func(ctx context.Context, sub string, c driver.Credential) error {
			client, err := at(id(sub), c.Secret["sas"].Reveal())
			if err != nil {
				return err
			}
			return refusal(do(ctx, client))
		}
	}
	peek := func(ctx context.Context, c *azqueue.QueueClient) error { _, err := c.PeekMessage(ctx, nil); return err }
	all, writers := []patchbay.Access{patchbay.Reader, patchbay.Writer}, []patchbay.Access{patchbay.Writer}
	return eyes{
		service: "queueServices", children: "queues", access: all,
		create: func(ctx context.Context, id string) error { _, err := admin(id).Create(ctx, nil); return err },
		remove: func(ctx context.Context, id string) error { _, err := admin(id).Delete(ctx, nil); return err },
		policies: func(ctx context.Context, id string) (all []listed, err error) {
			got, err := admin(id).GetAccessPolicy(ctx, nil)
			for _, p := range got.SignedIdentifiers {
				l := listed{id: *p.ID}
				if l.start, l.expiry = p.AccessPolicy.Start, p.AccessPolicy.Expiry; p.AccessPolicy.Permission != nil {
					l.permission = *p.AccessPolicy.Permission
				}
				all = append(all, l)
			}
			return all, err
		},
		set: func(ctx context.Context, id string, all []listed) error {
			o := &azqueue.SetAccessPolicyOptions{}
			for _, l := range all {
				o.QueueACL = append(o.QueueACL, &azqueue.SignedIdentifier{ID: to.Ptr(l.id), AccessPolicy: &azqueue.AccessPolicy{Start: l.start, Expiry: l.expiry, Permission: to.Ptr(l.permission)}})
			}
			_, err := admin(id).SetAccessPolicy(ctx, o)
			return err
		},
		signIn: func(ctx context.Context, id, sas string) error {
			c, err := at(id, sas)
			if err != nil {
				return err
			}
			return refusal(peek(ctx, c))
		},
		actions: []drivertest.Action{
			{Name: "peek", Allowed: all, Do: as(peek)},
			{Name: "count", Allowed: all, Do: as(func(ctx context.Context, c *azqueue.QueueClient) error {
				_, err := c.GetProperties(ctx, nil)
				return err
			})},
			{Name: "send, take, change and delete", Allowed: writers, Do: as(func(ctx context.Context, c *azqueue.QueueClient) error {
				if _, err := c.EnqueueMessage(ctx, "hello", nil); err != nil {
					return err
				}
				got, err := c.DequeueMessage(ctx, nil)
				if err != nil {
					return err
				}
				m := got.Messages[0]
				changed, err := c.UpdateMessage(ctx, *m.MessageID, *m.PopReceipt, "there", nil)
				if err != nil {
					return err
				}
				_, err = c.DeleteMessage(ctx, *m.MessageID, *changed.PopReceipt, nil)
				return err
			})},
			{Name: "take", Allowed: writers, Do: as(func(ctx context.Context, c *azqueue.QueueClient) error {
				_, err := c.DequeueMessage(ctx, nil)
				return err
			})},
			{Name: "delete the queue", Do: as(func(ctx context.Context, c *azqueue.QueueClient) error { _, err := c.Delete(ctx, nil); return err })},
			{Name: "read its policies", Do: as(func(ctx context.Context, c *azqueue.QueueClient) error {
				_, err := c.GetAccessPolicy(ctx, nil)
				return err
			})},
			{Name: "peek into another queue", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				client, err := at("others", c.Secret["sas"].Reveal())
				if err != nil {
					return err
				}
				return refusal(peek(ctx, client))
			}},
		},
	}
}

func tables(s *testenv.AzuriteServer) eyes {
	key, _ := aztables.NewSharedKeyCredential(s.Account, s.Key)
	admin, err := aztables.NewServiceClientWithSharedKey(s.Table(), key, &aztables.ClientOptions{ClientOptions: once})
	if err != nil {
		panic(err) // the test's own mistake
	}
	as := func(do func(context.Context, *aztables.Client) error) func(context.Context, string, driver.Credential) error {
		return func(ctx context.Context, sub string, c driver.Credential) error {
			service, err := aztables.NewServiceClientWithNoCredential(s.Table()+"?"+c.Secret["sas"].Reveal(), &aztables.ClientOptions{ClientOptions: once})
			if err != nil {
				return err
			}
			return refusal(do(ctx, service.NewClient(id(sub))))
		}
	}
	query := func(ctx context.Context, c *aztables.Client) error {
		_, err := c.NewListEntitiesPager(nil).NextPage(ctx)
		return err
	}
	entity := []byte(`{"PartitionKey": "p", "RowKey": "r", "Value": "hello"}`)
	all, writers := []patchbay.Access{patchbay.Reader, patchbay.Writer}, []patchbay.Access{patchbay.Writer}
	return eyes{
		service: "tableServices", children: "tables", access: all, whole: true,
		create: func(ctx context.Context, id string) error {
			_, err := admin.NewClient(id).CreateTable(ctx, nil)
			return err
		},
		remove: func(ctx context.Context, id string) error { _, err := admin.NewClient(id).Delete(ctx, nil); return err },
		policies: func(ctx context.Context, id string) (all []listed, err error) {
			got, err := admin.NewClient(id).GetAccessPolicy(ctx, nil)
			for _, p := range got.SignedIdentifiers {
				l := listed{id: *p.ID}
				if l.start, l.expiry = p.AccessPolicy.Start, p.AccessPolicy.Expiry; p.AccessPolicy.Permission != nil {
					l.permission = *p.AccessPolicy.Permission
				}
				all = append(all, l)
			}
			return all, err
		},
		set: func(ctx context.Context, id string, all []listed) error {
			o := &aztables.SetAccessPolicyOptions{}
			for _, l := range all {
				o.TableACL = append(o.TableACL, &aztables.SignedIdentifier{ID: to.Ptr(l.id), AccessPolicy: &aztables.AccessPolicy{Start: l.start, Expiry: l.expiry, Permission: to.Ptr(l.permission)}})
			}
			_, err := admin.NewClient(id).SetAccessPolicy(ctx, o)
			return err
		},
		signIn: func(ctx context.Context, id, sas string) error {
			service, err := aztables.NewServiceClientWithNoCredential(s.Table()+"?"+sas, &aztables.ClientOptions{ClientOptions: once})
			if err != nil {
				return err
			}
			return refusal(query(ctx, service.NewClient(id)))
		},
		actions: []drivertest.Action{
			{Name: "query", Allowed: all, Do: as(query)},
			{Name: "add, update and delete", Allowed: writers, Do: as(func(ctx context.Context, c *aztables.Client) error {
				if _, err := c.AddEntity(ctx, entity, nil); err != nil {
					return err
				}
				if _, err := c.UpdateEntity(ctx, entity, nil); err != nil {
					return err
				}
				_, err := c.DeleteEntity(ctx, "p", "r", nil)
				return err
			})},
			{Name: "upsert", Allowed: writers, Do: as(func(ctx context.Context, c *aztables.Client) error {
				_, err := c.UpsertEntity(ctx, entity, nil)
				return err
			})},
			{Name: "read its policies", Do: as(func(ctx context.Context, c *aztables.Client) error { _, err := c.GetAccessPolicy(ctx, nil); return err })},
			{Name: "query another table", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				service, err := aztables.NewServiceClientWithNoCredential(s.Table()+"?"+c.Secret["sas"].Reveal(), &aztables.ClientOptions{ClientOptions: once})
				if err != nil {
					return err
				}
				return refusal(query(ctx, service.NewClient("others")))
			}},
		},
	}
}
