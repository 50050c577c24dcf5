package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay/arm/client"
)

func (a *app) runPreview(cmd *cobra.Command, k targetKind, f *connectFlags, _ []string) error {
	c, err := a.start(cmd)
	if err != nil {
		return err
	}
	id, spec, err := a.newConnection(cmd, k, f)
	if err != nil {
		return err
	}
	v, err := c.PreviewConnection(cmd.Context(), id, spec)
	if err != nil {
		return err
	}
	if err := a.print(v, func() rows { return previewRows(v) }); err != nil {
		return err
	}
	for _, w := range v.Warnings {
		a.notef("patchbay: warning: %s", clean(w))
	}
	for _, p := range v.Problems {
		a.errorf("%s", a.describe(p))
	}
	if len(v.Problems) > 0 {
		return statusError{nil, exitCheckFailed}
	}
	return nil
}

func previewRows(v client.PreviewView) rows {
	r := rows{head: []string{"Kind", "Name", "What"}}
	for i, s := range v.Steps {
		r.add(fmt.Sprintf("step %d", i+1), s.Name, s.Text)
	}
	for _, s := range v.Settings {
		r.add("setting", s.Name, s.Value)
	}
	return r
}
