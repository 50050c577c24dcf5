// Command patchbay connects applications to the services that they use: it is
// the server and its command line.
package main

import "patchbay.dev/patchbay/cmd/patchbay/app"

//go:generate go test -run TestDocumentationIsCurrent -update .

func main() { app.Main(app.Extras{}) }
