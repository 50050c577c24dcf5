// Command settingsdoc writes docs/settings.md from the settings table. It is
// run by go generate in package settings.
package main

import (
	"fmt"
	"os"

	"patchbay.dev/patchbay/settings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: settingsdoc FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(settings.Markdown()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
