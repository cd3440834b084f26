package mboxdb

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// What ended a copy is what it says, and decides whether that is tried again, also where Rewrite keeps the error to itself.
func TestPipeReturnsWhatFailedFirst(t *testing.T) {
	broken, hidden := errors.New("broken"), errors.New("hidden")
	c := &Copy{opt: CopyOptions{Rewrite: func(_ context.Context, dst io.Writer, src io.Reader) error {
		if _, err := io.Copy(dst, src); err != nil {
			return hidden
		}
		return nil
	}}}
	write := func(_ context.Context, w io.Writer) error { _, err := w.Write([]byte("a row")); return err }
	read := func(_ context.Context, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
	for range 2000 { // whoever is quicker
		err := c.pipe(t.Context(), func(context.Context, io.Writer) error { return broken }, read)
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "source")
		err = c.pipe(t.Context(), write, func(context.Context, io.Reader) error { return broken })
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "load")
		require.NoError(t, c.pipe(t.Context(), write, read))
	}
}
