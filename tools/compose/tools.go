//go:build tools

// Package tools has go.mod name the program that it is for.
package tools

import _ "github.com/docker/compose/v2/cmd"
