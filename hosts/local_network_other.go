//go:build !linux

package hosts

import (
	"errors"
	"fmt"
)

// Network implements [Networks].
func (l *Local) Network(namespace string) (Network, error) {
	return nil, fmt.Errorf("enter %s: %w", namespace, errors.ErrUnsupported)
}
