package zimbra_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/zimbra"
)

// BenchmarkBlobsInLock is what the lock does about blobs when nothing has changed: copy-blobs and verify-blobs after a presync, and copy-blobs where
// no pass before the lock is remembered.
func BenchmarkBlobsInLock(b *testing.B) {
	for _, items := range []int{10_000, 50_000} {
		b.Run(fmt.Sprint(items), func(b *testing.B) {
			s := newSite(b, 0)
			a, err := s.AddAccount(b.Context(), s.Stores[0], lab.AccountSpec{Name: address("inlock"), Items: items})
			require.NoError(b, err)
			p, err := s.mover.Plan(b.Context(), zimbra.Request{Account: a.Name, To: s.Stores[1].Host, Accept: []string{zimbra.CodeNoMailboxd}})
			require.NoError(b, err)
			run := func(fence uint64) zimbra.Files {
				c := s.effects(b, p, "x")
				require.NoError(b, c.Fence.Claim(b.Context(), fence))
				to, err := c.Rows.Reserve(b.Context())
				require.NoError(b, err)
				require.NoError(b, c.Files.Make(b.Context(), to))
				return c.Files
			}
			measure := func(name string, f func() (zimbra.FileStats, error)) {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						_, err := f()
						require.NoError(b, err)
					}
				})
			}
			files := run(1)
			_, err = files.Presync(b.Context())
			require.NoError(b, err)
			measure("copy", func() (zimbra.FileStats, error) { return files.Copy(b.Context()) })
			measure("check", func() (zimbra.FileStats, error) { return files.Check(b.Context()) })
			files = run(2)
			measure("copy-all", func() (zimbra.FileStats, error) { return files.Copy(b.Context()) })
		})
	}
}
