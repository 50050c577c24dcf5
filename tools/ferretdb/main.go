//go:build tools

// Package ferretdb names the program that tools/ferretdb.sh builds: a server that speaks
// MongoDB's protocol, for the tests of targets/mongodb.
package ferretdb

import _ "github.com/FerretDB/FerretDB/cmd/ferretdb"
