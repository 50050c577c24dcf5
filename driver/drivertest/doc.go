// Package drivertest defines what it means to implement a driver: a suite for
// each interface of package driver, run against the real product. A driver's
// test gives the suite a harness, which starts the product and looks at it
// from outside, and is otherwise a few lines.
package drivertest
