package sqlite

import (
	"context"
	"database/sql"
	"os"
	"time"
)

// Sizes of the write-ahead log, in bytes. Above the first it is copied into
// the database beside the writes; above the second the writes wait for that
// once, or a log that is never idle would grow for ever.
const (
	walCopy  = 4 << 20
	walReset = 64 << 20
)

// checkpointer copies the log into the database, on a connection of its own:
// never on the path of a commit.
type checkpointer struct {
	db    *sql.DB
	wal   string
	stop  context.CancelFunc
	ended chan struct{}
}

func (s *Store) startCheckpoints(ctx context.Context) (*checkpointer, error) {
	db, err := s.pool(1, "cache_size(-500)")
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, storeError(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &checkpointer{db: db, wal: s.path + "-wal", stop: stop, ended: make(chan struct{})}
	go c.run(ctx)
	return c, nil
}

func (c *checkpointer) run(ctx context.Context) {
	defer close(c.ended)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(c.wal)
		if err != nil || info.Size() < walCopy {
			continue
		}
		// A failure (a full disk, a reader in the way) loses nothing: the log
		// stays, and the next tick tries again.
		_, _ = c.db.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
		if info.Size() >= walReset {
			_, _ = c.db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
	}
}

func (c *checkpointer) close() error {
	c.stop()
	<-c.ended
	return c.db.Close()
}
