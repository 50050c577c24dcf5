//go:build !linux

package docker

import (
	"context"
	"errors"
)

// enter has nothing to enter where the engine's containers are in a machine of its
// own.
func (s *source) enter(context.Context, *container) (inside, error) {
	return nil, errors.New("the containers are not on this machine, but in one of the engine's own")
}
