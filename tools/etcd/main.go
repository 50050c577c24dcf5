// Command etcd is the newest etcd, for the tests of targets/etcd: Debian's is of years
// ago.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
