package sqlserver

// For tests of another package.
var (
	Literal = literal
	Ident   = ident
)
