// Package testenv starts the real servers that tests use, on free ports and
// in temporary directories, and leaves nothing of them behind. It is also
// what the fault suites and benchmarks start theirs with.
package testenv
