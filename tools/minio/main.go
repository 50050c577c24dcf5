//go:build tools

// Package tools names what is built in this module for the tests of targets/s3: a
// command can't be imported otherwise. MinIO is AGPL: nothing of it is in Patchbay.
package tools

import _ "github.com/minio/minio"
