package hosts

import "io/fs"

// MissingError is of a path that leads into a directory which is not there.
type MissingError struct{ Dir string }

func (e *MissingError) Error() string { return "there is no directory " + e.Dir }

// Is makes it an absence like any other.
func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }
