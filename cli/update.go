package cli

import (
	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

func (a *app) runUpdate(cmd *cobra.Command, k targetKind, f *connectFlags, args []string) error {
	ctx := cmd.Context()
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	if err := f.check(cmd, k); err != nil {
		return err
	}
	change, err := a.spec(cmd, f)
	if err != nil {
		return err
	}
	if change.IsZero() && !f.optsOut("auth") {
		return usagef(cmd, "what is to change? Name a client type, a way to sign in, an access or another property")
	}
	id, err := a.resolve(ctx, f.ref, argument(args))
	if err != nil {
		return err
	}
	v, err := c.Connection(ctx, id)
	if err != nil {
		return err
	}
	if t := v.Properties.Target.ID; t != "" && !k.fits(t) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is not a connection to %s but to %s", shortName(id), k.word, t.Type())
	}
	if f.optsOut("auth") {
		was, err := v.Spec()
		if err != nil {
			return err
		}
		f.settleAuth(&change, was.Auth)
	}
	// What was read has decided: that the kind is right, and how it signs in.
	v, op, err := c.PatchConnection(ctx, id, change, v.ETag)
	if err != nil {
		return during(err, "update %s", shortName(id))
	}
	return a.finish(ctx, v, op, f.noWait)
}
