//go:build !linux

package hostile

import "errors"

func confine(int64) error { return errors.ErrUnsupported }
