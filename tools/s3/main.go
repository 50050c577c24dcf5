//go:build tools

// Package tools names what is built in this module for the tests of targets/s3: a
// command can't be imported otherwise.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
