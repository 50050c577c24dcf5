// Package kubernetes starts a real Kubernetes for tests: a control plane, and a
// node on which pods run, in namespaces of their own of the kernel, which end with
// the process that started them however it ends. Its programs are those that
// tools/kubernetes.sh builds; without them tests are skipped.
package kubernetes
