package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// likeOld gives f the owner, mode and attributes of the file called name.
func likeOld(f *os.File, name string) error {
	old, err := os.Lstat(name)
	if err != nil {
		return err
	}
	uid, gid := owner(old)
	new, err := f.Stat()
	if err != nil {
		return err
	}
	if u, g := owner(new); u != uid || g != gid {
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("%s belongs to %d:%d, which this process can't give a file to: %w", name, uid, gid, ErrOwner)
		}
	}
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	// Attributes come last: an access control list is cut by a later chmod.
	if err := copyAttributes(f, name); err != nil {
		return fmt.Errorf("%s: %w: %w", name, ErrOwner, err)
	}
	return nil
}

func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return os.Geteuid(), os.Getegid()
}

// systemAttributes are set by the system itself, which may not let us.
var systemAttributes = []string{"security.", "trusted.", "com.apple."}

// copyAttributes gives f the extended attributes of the file called name,
// access control lists among them.
func copyAttributes(f *os.File, name string) error {
	list, err := sized(func(b []byte) (int, error) { return unix.Listxattr(name, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
next:
	for attribute := range bytes.SplitSeq(list, []byte{0}) {
		key := string(attribute)
		if key == "" {
			continue
		}
		value, err := sized(func(b []byte) (int, error) { return unix.Getxattr(name, key, b) })
		if err == nil {
			err = unix.Fsetxattr(int(f.Fd()), key, value, 0)
		}
		if err == nil {
			continue
		}
		for _, prefix := range systemAttributes {
			if strings.HasPrefix(key, prefix) {
				continue next
			}
		}
		return err
	}
	return nil
}

// sized calls get for the size of its answer and then for the answer.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	size, err := get(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	b := make([]byte, size)
	size, err = get(b)
	if err != nil {
		return nil, err
	}
	return b[:size], nil
}
