// Package house holds the rules of this repository as tests: which package may
// import which, what a file may be called, what a document may link to. A rule
// that is broken fails with its reason. There is no code in it to import.
package house
