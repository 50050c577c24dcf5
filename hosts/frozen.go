package hosts

// FrozenError is of a file or directory that not even root changes: chattr has
// made it immutable (Attribute i), or open for appending only (a).
type FrozenError struct{ Path, Attribute string }

func (e *FrozenError) Error() string {
	what := map[string]string{"i": "immutable", "a": "append-only"}[e.Attribute]
	return e.Path + " has the attribute " + e.Attribute + " (" + what + ")"
}
