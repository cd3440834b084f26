package sqlrewrite

import (
	"context"
	"io"
)

// RewriteAhead reads src as Rewrite reads a regular file, a block for each Read.
func (r *Rewriter) RewriteAhead(ctx context.Context, dst io.Writer, src io.Reader) (Stats, error) {
	return r.rewrite(ctx, dst, src, true, nil)
}
