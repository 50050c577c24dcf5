// Package netns reaches into network namespaces of the kernel, for tests: a network
// there is a machine's, a container's or a cluster's own.
package netns
