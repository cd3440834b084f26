package filesync_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
)

// mailTree fills p with n files of 4 to 30 kB, as a mailbox has them.
func mailTree(b *testing.B, p place, n int) (total int64) {
	rnd := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 30<<10)
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	for i := range n {
		dir := fmt.Sprintf("%s/msg/%d", p.dir, i>>12)
		if i%4096 == 0 {
			require.NoError(b, os.MkdirAll(dir, 0o755))
		}
		size := 4<<10 + rnd.IntN(26<<10)
		require.NoError(b, os.WriteFile(fmt.Sprintf("%s/%d-%d.msg", dir, i, i+100), content[:size], 0o640))
		total += int64(size)
	}
	return total
}

const benchFiles = 20_000

// BenchmarkSync copies 20,000 files into an empty tree; remote is sshd on this machine. The last one is rsync over the same sshd.
func BenchmarkSync(b *testing.B) {
	for _, pair := range [][2]side{{sides(b, 0)[0], sides(b, 1)[0]}, {sides(b, 0)[0], remoteSide(b, 1)}, {remoteSide(b, 0), remoteSide(b, 1)}} {
		b.Run(pair[0].name+" to "+pair[1].name, func(b *testing.B) {
			src := newPlace(b, pair[0])
			b.SetBytes(mailTree(b, src, benchFiles))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				dst := newPlace(b, pair[1])
				b.StartTimer()
				stats, err := filesync.Sync(b.Context(), dst.Tree, src.Tree, nil)
				require.NoError(b, err)
				require.EqualValues(b, benchFiles, stats.Files)
				b.StopTimer()
				os.RemoveAll(dst.dir)
				b.StartTimer()
			}
			b.ReportMetric(float64(benchFiles*b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
	b.Run("rsync local to remote", func(b *testing.B) {
		s := lab.Shared(b).Stores[1]
		src := newPlace(b, sides(b, 0)[0])
		b.SetBytes(mailTree(b, src, benchFiles))
		for b.Loop() {
			b.StopTimer()
			dst := newPlace(b, remoteSide(b, 1))
			host, port := hostPort(b, s.SSHAddr)
			ssh := fmt.Sprintf("ssh -i %s -p %s -o UserKnownHostsFile=%s -o HostKeyAlgorithms=ssh-ed25519", s.KeyFile, port, s.KnownHostsFile)
			b.StartTimer()
			out, err := exec.Command("rsync", "-a", "-e", ssh, src.dir+"/", s.SSHUser+"@"+host+":"+dst.dir+"/").CombinedOutput()
			require.NoError(b, err, string(out))
			b.StopTimer()
			os.RemoveAll(dst.dir)
			b.StartTimer()
		}
		b.ReportMetric(float64(benchFiles*b.N)/b.Elapsed().Seconds(), "files/s")
	})
}

// BenchmarkSyncEqual has nothing to do: two listings and their comparison.
func BenchmarkSyncEqual(b *testing.B) {
	src, dst := newPlace(b, remoteSide(b, 0)), newPlace(b, remoteSide(b, 1))
	mailTree(b, src, benchFiles)
	_, err := filesync.Sync(b.Context(), dst.Tree, src.Tree, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		stats, err := filesync.Sync(b.Context(), dst.Tree, src.Tree, nil)
		require.NoError(b, err)
		require.Zero(b, stats.Files)
	}
	b.ReportMetric(float64(benchFiles*b.N)/b.Elapsed().Seconds(), "files/s")
}
