// Command driver is Patchbay with a driver more: for Shelf, a server that this module
// comes with. A program of your own is this file, with your drivers in it.
package main

import (
	"patchbay.dev/patchbay/cmd/patchbay/app"
	"patchbay.dev/patchbay/driver"

	"example.org/patchbay/shelf"
)

func main() {
	app.Main(app.Extras{
		Targets: []driver.TargetDriver{shelf.Driver()},
		Kinds:   map[string][]byte{shelf.Kind: shelf.Settings()},
	})
}
