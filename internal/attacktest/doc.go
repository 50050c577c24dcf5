// Package attacktest attacks a running server as a tenant with few rights would,
// and as a server that such a tenant names: what docs/security.md and
// docs/access.md promise must hold.
//
//	make attack                          # everything
//	go test ./internal/attacktest        # a share of it
package attacktest
