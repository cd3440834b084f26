package mboxdb

import (
	"context"
	"time"
)

// What has no public door.
var (
	Fenced          = fenced
	SplitScript     = splitScript
	CharsetSpelling = charsetSpelling
	ColumnSpelling  = columnSpelling
	Generated       = generated
)

// LockWith is Lock with other times.
func LockWith(ctx context.Context, d *DB, accountID string, idle, ping time.Duration) (*Lock, error) {
	return d.lock(ctx, accountID, idle, ping)
}

// Exec runs a statement in the lock's own session.
func (l *Lock) Exec(ctx context.Context, stmt string, args ...any) error {
	return exec(ctx, l.s, stmt, args...)
}
