package azurestorage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_STORAGE_PROGRAM"

// goProgram is a program in Go, which is this binary in a process of its own.
func goProgram(kind string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	get := os.Getenv
	text := get("AZURE_STORAGE_CONNECTION_STRING")
	switch kind {
	case "storage-blob":
		c, err := azblob.NewClientFromConnectionString(text, nil)
		if err != nil {
			return err
		}
		if _, err := c.UploadBuffer(ctx, get("AZURE_STORAGE_CONTAINER"), "go/x", []byte("hello"), nil); err != nil {
			return err
		}
		got, err := c.DownloadStream(ctx, get("AZURE_STORAGE_CONTAINER"), "go/x", nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, got.Body)
		return errors.Join(err, got.Body.Close())
	case "storage-queue":
		s, err := azqueue.NewServiceClientFromConnectionString(text, nil)
		if err != nil {
			return err
		}
		q := s.NewQueueClient(get("AZURE_STORAGE_QUEUE"))
		if _, err := q.EnqueueMessage(ctx, "hello", nil); err != nil {
			return err
		}
		got, err := q.DequeueMessage(ctx, nil)
		if err != nil {
			return err
		}
		m := got.Messages[0]
		fmt.Print(*m.MessageText)
		_, err = q.DeleteMessage(ctx, *m.MessageID, *m.PopReceipt, nil)
		return err
	}
	// Go's library for tables reads no endpoint beside a signature in a connection string.
	s, err := aztables.NewServiceClientWithNoCredential(get("AZURE_STORAGE_SAS_URL"), nil)
	if err != nil {
		return err
	}
	c := s.NewClient(get("AZURE_STORAGE_TABLE"))
	if _, err := c.UpsertEntity(ctx, []byte(`{"PartitionKey": "go", "RowKey": "x", "Value": "hello"}`), nil); err != nil {
		return err
	}
	if _, err := c.GetEntity(ctx, "go", "x", nil); err != nil {
		return err
	}
	fmt.Print("hello")
	return nil
}

var pythonPrograms = map[string]string{
	"storage-blob": `
import os, sys
try:
    from azure.storage.blob import BlobServiceClient
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
c = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGEBLOB_CONNECTIONSTRING"]).get_container_client("clients")
c.upload_blob("python/x", b"hello", overwrite=True)
print(c.download_blob("python/x").readall().decode(), end="")
`,
	"storage-queue": `
import os, sys
try:
    from azure.storage.queue import QueueServiceClient
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
q = QueueServiceClient.from_connection_string(os.environ["AZURE_STORAGEQUEUE_CONNECTIONSTRING"]).get_queue_client("clients")
q.send_message("hello")
m = q.receive_message()
m = q.update_message(m, visibility_timeout=30)
print(m.content, end="")
q.delete_message(m.id, m.pop_receipt)
`,
	"storage-table": `
import os, sys
try:
    from azure.data.tables import TableServiceClient
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
c = TableServiceClient.from_connection_string(os.environ["AZURE_STORAGETABLE_CONNECTIONSTRING"]).get_table_client("clients")
c.upsert_entity({"PartitionKey": "python", "RowKey": "x", "Value": "hello"})
print(c.get_entity("python", "x")["Value"], end="")
`,
}

var nodePrograms = map[string]string{
	"storage-blob": `
const { BlobServiceClient } = require("@azure/storage-blob");
(async () => {
  const c = BlobServiceClient.fromConnectionString(process.env.AZURE_STORAGEBLOB_CONNECTIONSTRING).getContainerClient("clients");
  await c.uploadBlockBlob("node/x", "hello", 5);
  process.stdout.write((await c.getBlobClient("node/x").downloadToBuffer()).toString());
})();
`,
	"storage-queue": `
const { QueueServiceClient } = require("@azure/storage-queue");
(async () => {
  const q = QueueServiceClient.fromConnectionString(process.env.AZURE_STORAGEQUEUE_CONNECTIONSTRING).getQueueClient("clients");
  await q.sendMessage("hello");
  const m = (await q.receiveMessages()).receivedMessageItems[0];
  process.stdout.write(m.messageText);
  await q.deleteMessage(m.messageId, m.popReceipt);
})();
`,
	"storage-table": `
const { TableClient } = require("@azure/data-tables");
(async () => {
  const c = TableClient.fromConnectionString(process.env.AZURE_STORAGETABLE_CONNECTIONSTRING, "clients", { allowInsecureConnection: true });
  await c.upsertEntity({ partitionKey: "node", rowKey: "x", value: "hello" });
  process.stdout.write((await c.getEntity("node", "x")).value);
})();
`,
}

// rendered are the settings of a login, as variables of an environment.
func rendered(t *testing.T, target driver.Target, kind string, client patchbay.ClientType, naming patchbay.Naming, r driver.LoginRequest) []string {
	t.Helper()
	info, err := target.Inspect(t.Context(), r.Sub)
	if err != nil {
		t.Fatal(err)
	}
	values := settings.Values{}
	for name, value := range info.Values {
		values[name] = patchbay.NewSecret(value)
	}
	for name, value := range r.Credential.Values() {
		values[name] = value
	}
	set, err := settings.Render(settings.Request{Kind: kind, Client: client, Auth: patchbay.AuthSecret, Naming: naming, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, one := range set {
		env = append(env, one.Name+"="+one.Value.Reveal())
	}
	return env
}

// What was written is all that a program has, and is enough for it.
func TestClientsReadWhatWasWritten(t *testing.T) {
	s := shared(t)
	target := opened(t, register(s, nil))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Abs(filepath.Join("testdata", "npm", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		kind string
		eyes eyes
	}{{"storage-blob", blobs(s)}, {"storage-queue", queues(s)}, {"storage-table", tables(s)}} {
		sub := k.eyes.made(t, "clients")
		for _, c := range []struct {
			client patchbay.ClientType
			naming patchbay.Naming
			run    []string
		}{
			{"go", patchbay.NamingNative, []string{self}},
			{"python", patchbay.NamingAzure, []string{"/usr/bin/python3", "-c", pythonPrograms[k.kind]}},
			{"nodejs", patchbay.NamingAzure, []string{"node", "-e", nodePrograms[k.kind]}},
		} {
			t.Run(k.kind+"/"+string(c.client), func(t *testing.T) {
				t.Parallel()
				if _, err := os.Stat(libraries); c.client == "nodejs" && err != nil {
					t.Skipf("the libraries are not there; make deps fetches them: %v", err)
				}
				r := made(t, target, strings.TrimPrefix(k.kind, "storage-")+string(c.client), sub, patchbay.Writer, nil)
				cmd := exec.CommandContext(t.Context(), c.run[0], c.run[1:]...)
				cmd.Env = append(rendered(t, target, k.kind, c.client, c.naming, r), "PATH=/usr/bin:/bin:/usr/local/bin", "HOME="+t.TempDir(), "NODE_PATH="+libraries)
				if c.client == "go" {
					cmd.Env = append(cmd.Env, program+"="+k.kind)
				}
				var said, problem bytes.Buffer
				cmd.Stdout, cmd.Stderr = &said, &problem
				switch err := cmd.Run(); {
				case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3:
					t.Skipf("it is not installed: %s", problem.String())
				case err != nil || said.String() != "hello":
					t.Errorf("it says %q, %v: %s", said.String(), err, problem.String())
				}
				if _, err := probe(t, target, r); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The account's key is written where it is asked for, and it alone.
func TestTheAccountsKeyIsWrittenWhereItIsAskedFor(t *testing.T) {
	s := shared(t)
	target := opened(t, register(s, nil))
	blobs(s).made(t, "keyed")
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: "keyed", Generation: 1, Connection: "/subscriptions/s/x"}, Name: "pb_keyed_g1",
		Sub: "blobServices/default", Auth: patchbay.AuthAccessKey, Access: patchbay.Writer,
	}
	warnings, err := target.Administrator.(driver.WarnedLogins).Beyond(t.Context(), r)
	if err != nil || len(warnings) != 2 {
		t.Errorf("Beyond = %q, %v", warnings, err)
	}
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if env := strings.Join(rendered(t, target, "storage-blob", "python", patchbay.NamingAzure, r), "\n"); !strings.Contains(env, "AccountKey="+s.Key) || strings.Contains(env, "SharedAccessSignature") {
		t.Error("the connection string has not the key, or a signature besides")
	}
	result, err := probe(t, target, r)
	if err != nil || len(result.Warnings) == 0 {
		t.Errorf("Probe = %+v, %v", result, err)
	}
	owned, err := target.Owned(t.Context())
	for _, o := range owned {
		if o.Name == r.Name {
			t.Error("the account's own key is listed as a login of ours")
		}
	}
	if err != nil {
		t.Error(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	r.Access = patchbay.Reader
	if _, err := target.NewCredential(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("a reader with the account's key: %v", err)
	}
}
