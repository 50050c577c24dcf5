package mongodb_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_MONGODB_PROGRAM"

// goProgram is a program in Go, which is this binary in a process of its own: MongoDB's
// library with what the settings say.
func goProgram() int {
	if err := goWork(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print("hello")
	return 0
}

func goWork() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGODB_URI")).SetServerSelectionTimeout(10 * time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
	things := c.Database(os.Getenv("MONGODB_DATABASE")).Collection("go")
	if _, err := things.InsertOne(ctx, bson.D{{Key: "name", Value: "hello"}, {Key: "n", Value: 1}}); err != nil {
		return err
	}
	if _, err := things.UpdateOne(ctx, bson.D{{Key: "name", Value: "hello"}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}); err != nil {
		return err
	}
	var found struct {
		N int `bson:"n"`
	}
	if err := things.FindOne(ctx, bson.D{{Key: "name", Value: "hello"}}).Decode(&found); err != nil || found.N != 2 {
		return fmt.Errorf("found %d: %w", found.N, err)
	}
	_, err = things.DeleteOne(ctx, bson.D{{Key: "name", Value: "hello"}})
	return err
}

const pythonProgram = `
import os, sys
try:
    import pymongo
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
c = pymongo.MongoClient(os.environ["MONGODB_URI"], serverSelectionTimeoutMS=10000)
things = c.get_default_database()["python"]
assert things.database.name == os.environ["MONGODB_DATABASE"]
things.insert_many([{"name": "hello", "n": 1}, {"name": "other"}])
things.update_one({"name": "hello"}, {"$inc": {"n": 1}})
found = things.find_one({"name": "hello"})
assert found["n"] == 2, found
things.delete_many({})
print(found["name"], end="")
`

const nodeProgram = `
const { createRequire } = require("node:module")
let MongoClient
try { ({ MongoClient } = createRequire(process.argv[1] + "/")("mongodb")) } catch (e) { console.error(e.message); process.exit(3) }
const client = new MongoClient(process.env.MONGODB_URI, { serverSelectionTimeoutMS: 10000 })
const work = async () => {
	const things = client.db().collection("node")
	await things.insertMany([{ name: "hello", n: 1 }, { name: "other" }])
	await things.updateOne({ name: "hello" }, { $inc: { n: 1 } })
	const found = await things.findOne({ name: "hello" })
	if (found.n !== 2) throw new Error(JSON.stringify(found))
	await things.deleteMany({})
	process.stdout.write(found.name)
}
work().catch(e => { console.error(e); process.exitCode = 1 }).finally(() => client.close())
`

// clients are programs in several languages, each with the client type that it reads the
// settings as.
func clients(t *testing.T) map[patchbay.ClientType][]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := filepath.Abs(filepath.Join("..", "..", "settings", "testdata", "libraries"))
	if err != nil {
		t.Fatal(err)
	}
	return map[patchbay.ClientType][]string{
		"go":     {self},
		"python": {"/usr/bin/python3", "-c", pythonProgram},
		"nodejs": {"node", "-e", nodeProgram, libraries},
	}
}

// work runs a program with what is written of the values, and nothing else.
func work(t *testing.T, client patchbay.ClientType, run []string, values settings.Values) {
	t.Helper()
	dir := t.TempDir()
	if !values["ca"].IsZero() {
		values["caFile"] = patchbay.NewSecret(filepath.Join(dir, settings.AuthorityFile))
	}
	set, err := settings.Render(settings.Request{Kind: "mongodb", Client: client, Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, program + "=" + string(client)}
	for _, one := range set {
		if one.File {
			if err := os.WriteFile(filepath.Join(dir, one.Name), []byte(one.Value.Reveal()), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		env = append(env, one.Name+"="+one.Value.Reveal())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, run[0], run[1:]...)
	cmd.Env = env
	var said, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &problem
	switch err := cmd.Run(); {
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3:
		t.Skipf("it is not installed (tools/deps.sh libraries): %s", strings.TrimSpace(problem.String()))
	case err != nil || said.String() != "hello":
		t.Errorf("it says %q, %v: %s", said.String(), err, problem.String())
	}
}

// What was written is all that a program has, and is enough for it: with a replica set
// whose certificates are of an authority that nobody else trusts.
func TestClientsReadWhatWasWritten(t *testing.T) {
	set := model(t, testenv.MongoOptions{TLS: true, Members: 2})
	set.StepDown(1) // they have to find the primary
	c := register(set, nil)
	c.Endpoint = "mongodb://" + set.Servers[0].Addr()
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for client, run := range clients(t) {
		t.Run(string(client), func(t *testing.T) {
			r := made(t, target, "client"+string(client), patchbay.Writer)
			values := settings.Values(r.Credential.Values())
			for name, value := range info.Values {
				values[name] = patchbay.NewSecret(value)
			}
			work(t, client, run, values)
			if _, err := probe(t, target, c, r); err != nil {
				t.Error(err)
			}
		})
	}
}
