package hosts

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// As linux/fs.h has them.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// frozen fails for what not even its owner may change, as chattr makes it. A file
// system that has no such attributes freezes nothing.
func frozen(name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil // whether it may be read is another question
	}
	defer func() { _ = f.Close() }()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	switch {
	case err != nil:
		return nil // it has none
	case flags&immutable != 0:
		return &FrozenError{name, "i"}
	case flags&appendOnly != 0:
		return &FrozenError{name, "a"}
	}
	return nil
}
