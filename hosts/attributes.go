package hosts

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

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
