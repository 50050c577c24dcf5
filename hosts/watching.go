package hosts

import "context"

// Watching is a [Host] that says when its files change.
type Watching interface {
	// WatchFiles calls changed after each change of what files lists: a file that is
	// written, replaced, removed or made, or a link or directory on the way to it. The
	// first call says that from now on nothing is missed. files is asked at the
	// beginning and after each change, and its error ends the watching.
	//
	// It ends with ctx, which is no error; with ErrPrivate; or with an error of the
	// machine's, [LimitError] among them. What another machine does to a file system
	// that both have mounted is not seen.
	WatchFiles(ctx context.Context, files func(context.Context) ([]Watched, error), changed func()) error
}

// Watched is a file, or the files in a directory, be they there or not.
type Watched struct {
	Path string // absolute
	// Below is how many levels of files below a directory are watched too; 0 for a file.
	Below int
	// Match says which names of the first level count; nil: all.
	Match func(name string) bool
}

// LimitError is what the machine lets nobody have more of.
type LimitError struct {
	Err  error
	What string // what there is too much of, for a message
	Fix  string // how it is raised
}

func (e *LimitError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap is the system's own error.
func (e *LimitError) Unwrap() error { return e.Err }
