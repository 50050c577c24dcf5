//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
)

// benchSources measures where these platforms run.
func benchSources(_ context.Context, out io.Writer, _ int) error {
	_, err := fmt.Fprintln(out, "NOT CHECKED: sources: their platforms run on Linux")
	return err
}
