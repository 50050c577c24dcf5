package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) runCreate(cmd *cobra.Command, k targetKind, f *connectFlags, _ []string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	id, spec, err := a.newConnection(cmd, k, f)
	if err != nil {
		return err
	}
	v, op, err := c.PutConnection(ctx, id, spec)
	if err != nil {
		return during(err, "connect %s to %s", sourceName(id), targetShort(spec.Target.ID))
	}
	if err := a.finish(ctx, v, op, f.noWait); err != nil || !id.IsLocal() {
		return err
	}
	a.notef("its settings: patchbay connection list-configuration %s   (or run with them: patchbay run --local --connection %s -- COMMAND)",
		clean(localName(id)), clean(id.Name()))
	return nil
}

// newConnection resolves source, target and name of what create and preview
// are asked for.
func (a *app) newConnection(cmd *cobra.Command, k targetKind, f *connectFlags) (patchbay.ID, patchbay.Spec, error) {
	ctx := cmd.Context()
	if err := f.check(cmd, k); err != nil {
		return "", patchbay.Spec{}, err
	}
	if a.interactive() {
		if err := a.askMissing(ctx, k, f); err != nil {
			return "", patchbay.Spec{}, err
		}
	}
	switch {
	case !f.ref.named():
		return "", patchbay.Spec{}, usagef(cmd, "which source? Name it with --source, or say --local for a connection of your own machine")
	case f.targetID == "" && f.targetName == "" && f.server == "":
		return "", patchbay.Spec{}, usagef(cmd, "which target? Name it with --target or --%s", k.server())
	}
	source, err := a.home(ctx, f.ref)
	if err != nil {
		return "", patchbay.Spec{}, err
	}
	parts := map[string]string{}
	for flag, value := range f.parts {
		parts[flag] = *value
	}
	target, err := a.target(ctx, k, targetRef{
		id: f.targetID, name: first(f.targetName, f.server), group: f.targetGroup, parts: parts,
	})
	if err != nil {
		return "", patchbay.Spec{}, err
	}
	if f.clientType == "" {
		f.clientType = "none"
	}
	spec, err := a.spec(cmd, f)
	if err != nil {
		return "", patchbay.Spec{}, err
	}
	spec.Target = patchbay.TargetService{Type: patchbay.AzureResource, ID: target}
	f.settleAuth(&spec, nil)
	name := f.ref.connection
	if name == "" {
		if name, err = a.newName(k.word); err != nil {
			return "", patchbay.Spec{}, err
		}
	}
	id, err := linkerID(source, name)
	return id, spec, err
}

// linkerID is the id of a new connection; its name is one segment.
func linkerID(source patchbay.ID, name string) (patchbay.ID, error) {
	id, err := patchbay.ParseID(string(connectionOf(source, name)))
	if err == nil && id.Name() != name {
		err = patchbay.Errorf(patchbay.InvalidArgument, "%q can't be the name of a connection", name)
	}
	return id, err
}

// newName is az's: the kind's letters and digits, and five random ones.
func (a *app) newName(kind string) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	name := strings.ReplaceAll(kind, "-", "") + "_"
	for end := len(name) + 5; len(name) < end; {
		var b [1]byte
		if _, err := io.ReadFull(a.Random, b[:]); err != nil {
			return "", fmt.Errorf("no random bytes: %w", err)
		}
		// 252 is the last multiple of 36: every letter is as likely as another.
		if b[0] < 252 {
			name += string(letters[int(b[0])%len(letters)])
		}
	}
	return name, nil
}

// finish waits for the end of a create or update, unless it is told not to,
// and prints the connection.
func (a *app) finish(ctx context.Context, v client.ConnectionView, op string, noWait bool) error {
	v, err := a.settle(ctx, v, op, noWait)
	if err != nil {
		return err
	}
	return a.printConnection(v)
}

// settle is the connection after its operation, or as it is when that is not
// waited for.
func (a *app) settle(ctx context.Context, v client.ConnectionView, op string, noWait bool) (client.ConnectionView, error) {
	if noWait {
		if op != "" {
			a.notef("patchbay: it goes on in the background: patchbay operation show %s", clean(op))
		}
		return v, nil
	}
	done, err := a.follow(ctx, op)
	if err != nil {
		return v, err
	}
	if done.Message != "" {
		a.notef("patchbay: warning: %s", clean(done.Message))
	}
	c, err := a.client()
	if err != nil {
		return v, err
	}
	return c.Connection(ctx, v.ID)
}
