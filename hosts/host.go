// Package hosts does things on a machine that applications run on: run a
// command, read and replace a file, publish a directory, open a connection.
// [Local] is the machine that this process runs on; package hosts/ssh reaches
// another. What is hard about files is done once, by [Files], over the few things
// that a [FileSystem] does; package hoststest is the suite that both pass.
package hosts

import (
	"context"
	"errors"
	"io/fs"
	"net"

	"patchbay.dev/patchbay"
)

// Errors that a caller tells apart, besides those of package fs (ErrNotExist,
// ErrPermission), the system's error numbers (syscall.ENOSPC, EROFS…), which every
// Host wraps as they are, [MissingError] and [FrozenError].
var (
	// ErrChanged: the file is not, or not any more, the one that was expected.
	ErrChanged = errors.New("the file has changed")
	// ErrIrregular: there is something else than a plain file or directory.
	ErrIrregular = errors.New("not a regular file")
	// ErrTooLarge: there is more than the caller wants to read.
	ErrTooLarge = errors.New("too large")
	// ErrReadOnly: nobody may write the file, by its mode.
	ErrReadOnly = errors.New("marked read-only")
	// ErrOwner: the new file can't be given the owner, mode or attributes of the
	// one that it would replace.
	ErrOwner = errors.New("its owner or attributes can't be kept")
	// ErrForeign: a directory that was not published under this tag.
	ErrForeign = errors.New("made by somebody else")
	// ErrPrivate: it is the control plane's own, which no caller is let at.
	ErrPrivate = errors.New("it is the server's own")
	// ErrNoProcess: no process has that id.
	ErrNoProcess = errors.New("no such process")
)

// Host is a machine. Paths are absolute; symbolic links are followed to what
// they name, and it is that which is read or replaced. Every method may be
// called from several goroutines and stops when its context ends.
type Host interface {
	// Run runs a command and waits for it. A command that ran and failed is no
	// error: its exit code says so.
	Run(ctx context.Context, c Command) (Result, error)
	// Signal sends a signal (HUP, USR1…) to a process, or ErrNoProcess.
	Signal(ctx context.Context, pid int, name string) error

	// CheckPath is ErrPrivate when what path leads to, or the directory that it is
	// in, is the control plane's own. Every other method asks the same again where
	// it opens something: a link may lead elsewhere by then.
	CheckPath(ctx context.Context, path string) error
	// ReadFile reads a regular file of at most limit bytes. It never waits for
	// a writer: a FIFO or device is ErrIrregular.
	ReadFile(ctx context.Context, path string, limit int64) (File, error)
	// CheckReplace says whether ReplaceFile could write there, as far as that can
	// be known without trying.
	CheckReplace(ctx context.Context, path string) error
	// ReplaceFile makes or replaces a file in one instant and durably: a reader
	// sees the old content or the new, and after it has returned, a crash does
	// not bring the old back. Mode, owner and extended attributes stay. On an
	// error nothing is left beside the file, which is as it was; where only the
	// last step failed, to make that durable, it has the new content. Another hard
	// link of the file keeps the old one.
	ReplaceFile(ctx context.Context, r Replacement) error
	// RemoveFile removes a file that has that content (see [Sum]), or ErrChanged.
	// Absent is success.
	RemoveFile(ctx context.Context, path, ifSum string) error
	// Sweep removes what a crash left of ReplaceFile beside path: the files that
	// match the pattern of path.Match. The caller holds the lock.
	Sweep(ctx context.Context, path, pattern string) error

	// ReadPublished reads the directory that PublishDir made; ErrForeign when it
	// is not one, fs.ErrNotExist when there is none.
	ReadPublished(ctx context.Context, dir string, limit int64) (Published, error)
	// ListDir names what is in a directory, sorted; fs.ErrNotExist when there is
	// none.
	ListDir(ctx context.Context, dir string) ([]string, error)
	// PublishDir makes a directory hold exactly these files, all in one instant,
	// or ErrForeign when it was not published under the same tag.
	PublishDir(ctx context.Context, dir string, p Published) error
	// WithdrawDir removes a directory that was published under that tag, in one
	// instant, or ErrForeign. Absent is success.
	WithdrawDir(ctx context.Context, dir, tag string) error

	// Lock waits until it holds the lock of the directory of the file that path
	// names, which every writer of Patchbay takes. It leaves no file behind and
	// ends with the process.
	Lock(ctx context.Context, path string) (unlock func(), err error)

	// DialContext opens a connection from this host: tcp, tcp4 or tcp6 to host:port,
	// where [DialRules] allow it, or unix to the absolute path of a socket.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Remote is a [Host] somewhere else.
type Remote interface {
	Host
	// Check says what this host lets us do, and what a source on it needs besides. It
	// changes nothing there. An error is what keeps it from looking at all.
	Check(ctx context.Context) ([]Finding, error)
	// Close lets go of the connection to it.
	Close() error
}

// Finding is one thing that was looked at on a [Remote].
type Finding = patchbay.Finding

// Command is a command to run, without a shell in between.
type Command struct {
	Argv []string
	// Stdin is what it reads; without it, nothing.
	Stdin []byte
	// MaxOutput is how many bytes of its output are kept, from the end; 0 means
	// 64 KiB.
	MaxOutput int
}

// Result is what a command left.
type Result struct {
	Exit   int    // 128 + n when signal n ended it
	Output []byte // the end of what it wrote to both its outputs
}

// File is a file's content and what it is.
type File struct {
	Content []byte
	Mode    fs.FileMode // permission bits
}

// Replacement is a new content for a file.
type Replacement struct {
	Path    string
	Content []byte
	// Temp is the base name of the temporary file, in the same directory, so that
	// what a crash leaves can be found. It is readable by its owner only.
	Temp string
	// Mode is that of a file that is not there yet. It gets the owner of its
	// directory where this process may give files away.
	Mode fs.FileMode
	// IfSum is the [Sum] of the content that the file must have right before it
	// is replaced, "" when it must not exist; otherwise ErrChanged.
	IfSum string
	// Ready, when not nil, is called when all is written and only the replacing
	// is left to do; its error stops it. It is called again where a connection was
	// cut and all is written once more.
	Ready func(context.Context) error
}

// Published is a directory that is replaced as a whole.
type Published struct {
	// Tag says whose it is: lower-case letters, digits, dots, dashes and
	// underscores.
	Tag string
	// Generation is a number that its owner chose, to be read again.
	Generation int64
	Files      map[string][]byte // by name; a name holds no slash and does not begin with ".."
	// Mode is that of the files; a directory has the execute bits beside its read
	// bits. ReadPublished does not set it.
	Mode fs.FileMode
}
