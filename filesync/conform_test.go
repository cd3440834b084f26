package filesync_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/filesync"
	"github.com/zmlift/zmlift/internal/lab"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A way is one of the ways from a source to a destination: where they are, and by which engine.
type way struct {
	name     string
	dst, src side
	opts     filesync.Options
}

// with are a test's own options on this way.
func (w way) with(opts filesync.Options) *filesync.Options {
	opts.Engine, opts.Direct = w.opts.Engine, w.opts.Direct
	return &opts
}

func (w way) places(t *testing.T) (dst, src place) { return newPlace(t, w.dst), newPlace(t, w.src) }

// ways are all of them. Both remote hosts are the same machine, so that root is not needed for a second sshd.
func ways(local, remote side, direct *filesync.SSH) []way {
	var all []way
	for _, src := range []side{local, remote} {
		for _, dst := range []side{local, remote} {
			name := src.name + " to " + dst.name
			all = append(all, way{name + " by stream", dst, src, filesync.Options{Engine: filesync.Stream}})
			rsync := way{name + " by rsync", dst, src, filesync.Options{Engine: filesync.Rsync}}
			if src.name == dst.name {
				if os.Getuid() != 0 {
					continue // the others show what there is to see
				}
				rsync.name, rsync.opts.Direct = name+" by rsync, directly", direct
			}
			if dst.name == "local" && src.name == "local" {
				rsync.name, rsync.opts.Direct = name+" by rsync", nil
			}
			all = append(all, rsync)
		}
	}
	return all
}

// A nobody is what a test needs to know that runs without rights.
type nobody struct{ Addr, User, KeyFile, KnownHostsFile string }

const (
	nobodyEnv = "ZMLIFT_FILESYNC_NOBODY"
	nobodyID  = 65534
)

// TestConformance runs the suite on every way: as root, and, in a process of its own, as somebody who may only what everybody may.
func TestConformance(t *testing.T) {
	if config := os.Getenv(nobodyEnv); config != "" {
		var n nobody
		require.NoError(t, json.Unmarshal([]byte(config), &n))
		conformAsNobody(t, n)
		return
	}
	remote := remoteSide(t, 1)
	s := lab.Shared(t).Stores[1]
	to := &filesync.SSH{Addr: s.SSHAddr, User: s.SSHUser, IdentityFile: s.KeyFile, KnownHostsFile: s.KnownHostsFile}
	priority := &filesync.Priority{}
	require.NoError(t, priority.Set(1, ""))
	remote.host = filesync.Remote(dial(t, s), &filesync.RemoteOptions{SSH: to, Priority: priority})
	conform(t, ways(sides(t, 1)[0], remote, to))
	t.Run("as nobody", func(t *testing.T) { conformElsewhere(t, s) })
}

// conformElsewhere runs this test again, as nobody.
func conformElsewhere(t *testing.T, s *lab.Store) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Getuid() != 0 {
		t.Skipf("NO TEST WITHOUT RIGHTS: root and setpriv are needed: %v", err)
	}
	t.Parallel()
	dir := tempDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	give := func(file, to string, mode fs.FileMode) string {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(dir+"/"+to, b, mode))
		require.NoError(t, os.Chown(dir+"/"+to, nobodyID, nobodyID))
		return dir + "/" + to
	}
	config, err := json.Marshal(nobody{s.SSHAddr, s.SSHUser, give(s.KeyFile, "key", 0o600), give(s.KnownHostsFile, "known_hosts", 0o644)})
	require.NoError(t, err)
	args := append(asNobody(setpriv), give("/proc/self/exe", "filesync.test", 0o755), "-test.run", "^TestConformance$")
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), nobodyEnv+"="+string(config), "HOME="+dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

func asNobody(setpriv string) []string {
	return []string{setpriv, fmt.Sprint("--reuid=", nobodyID), fmt.Sprint("--regid=", nobodyID), "--clear-groups"}
}

func conformAsNobody(t *testing.T, n nobody) {
	key, err := os.ReadFile(n.KeyFile)
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(key)
	require.NoError(t, err)
	known, err := knownhosts.New(n.KnownHostsFile)
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", n.Addr, &ssh.ClientConfig{
		User: n.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known, HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	to := &filesync.SSH{Addr: n.Addr, User: n.User, IdentityFile: n.KeyFile, KnownHostsFile: n.KnownHostsFile}
	host := filesync.Remote(&sshRunner{client}, &filesync.RemoteOptions{SSH: to, Prefix: asNobody("setpriv")})
	conform(t, ways(side{"local", filesync.Local(), tempDir}, side{"remote", host, tempDir}, to))
}

// conform demands the same of every way.
func conform(t *testing.T, all []way) {
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range conformance {
				t.Run(c.name, func(t *testing.T) { c.test(t, w) })
			}
		})
	}
}

// conformance is what holds whatever the way.
var conformance = []struct {
	name string
	test func(t *testing.T, w way)
}{
	{"everything arrives and stays", testEverything},
	{"a list", testList},
	{"links across batches of a list", testListLinks},
	{"replaced, not written into", testReplaced},
	{"large files in another version", testVersions},
	{"kinds change", testKinds},
	{"left out", testExcluded},
	{"the guard", testGuarded},
	{"the guard is lost while content is on its way", testGuardLost},
	{"symlinks", testPlanted},
	{"symlinks that come meanwhile", testPlantedMeanwhile},
	{"a symlink that comes meanwhile at the source", testSourceMeanwhile},
	{"work around the files", testWork},
	{"names", testBadNames},
	{"vanishing", testVanishes},
	{"growing", testGrows},
	{"unreadable", testUnreadable},
	{"read-only", testReadOnly},
	{"full", testFull},
	{"a directory where a file is to be", testDirectory},
	{"a directory that comes meanwhile", testDirectoryMeanwhile},
	{"progress", testProgress},
}

func syncAll(t *testing.T, w way, dst, src place, opts filesync.Options) (filesync.Stats, error) {
	t.Helper()
	return filesync.Sync(t.Context(), dst.Tree, src.Tree, w.with(opts))
}

func syncItems(t *testing.T, w way, dst, src place, opts filesync.Options, pairs ...string) (filesync.Stats, error) {
	t.Helper()
	return filesync.SyncList(t.Context(), dst.Tree, src.Tree, items(pairs...), w.with(opts))
}

// heals demands that a sync after a fault makes all right, and leaves nothing unfinished.
func heals(t *testing.T, w way, dst, src place) {
	t.Helper()
	_, err := syncAll(t, w, dst, src, filesync.Options{Stale: -1})
	require.NoError(t, err)
	require.Equal(t, src.snapshot(t), dst.snapshot(t))
}

func noStage(t *testing.T, dst place) {
	t.Helper()
	for _, name := range dst.names(t) {
		require.NotContains(t, name, ".filesync-")
	}
}

func testEverything(t *testing.T, w way) {
	dst, src := w.places(t)
	src.fill(t)
	dst.write(t, "gone/with/all of it", "x")
	stats, err := syncAll(t, w, dst, src, filesync.Options{})
	require.NoError(t, err)
	require.Equal(t, src.snapshot(t), dst.snapshot(t))
	require.EqualValues(t, 3, stats.Deleted)
	noStage(t, dst)
	stats, err = syncAll(t, w, dst, src, filesync.Options{})
	require.NoError(t, err)
	require.Equal(t, filesync.Stats{
		TotalFiles: stats.TotalFiles, TotalBytes: stats.TotalBytes, SameFiles: stats.TotalFiles, SameBytes: stats.TotalBytes,
	}, timeless(stats), "nothing to do the second time")
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(dst.dir, 1501, 1502))
		src.write(t, "of the root's owner/f", "x")
		_, err = syncAll(t, w, dst, src, filesync.Options{})
		require.NoError(t, err)
		owned(t, dst, 1501, 1502, "of the root's owner", "of the root's owner/f")
	}
}

func testList(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "0/1-1.msg", "one")
	src.write(t, "0/-2\n'.msg", "two")
	src.write(t, "1/unreferenced.msg", "stays behind")
	dst.write(t, "0/0-0.msg", "marked")
	dst.write(t, "0/stays.msg", "of no list")
	names := []string{"0/1-1.msg", "7/\xff.msg", "0/-2\n'.msg", "8/9/2-2.msg"}
	marked := func(pairs ...string) func(yield func(filesync.Item, error) bool) {
		return func(yield func(filesync.Item, error) bool) {
			for _, name := range []string{"0/0-0.msg", "0/not there.msg", "no/such/directory"} {
				if !yield(filesync.Item{To: name, Delete: true}, nil) {
					return
				}
			}
			items(pairs...)(yield)
		}
	}
	stats, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, marked(names...), w.with(filesync.Options{}))
	require.NoError(t, err)
	require.Equal(t, filesync.Stats{Files: 2, Bytes: 6, Dirs: 3, TotalFiles: 2, TotalBytes: 6, Deleted: 1}, timeless(stats))
	require.Equal(t, []string{"0", "0/stays.msg", "7", "7/\xff.msg", "8", "8/9", "8/9/2-2.msg"}, dst.names(t))
	require.Equal(t, "one", dst.read(t, "7/\xff.msg"))

	before := dst.snapshot(t)
	stats, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, marked(names...), w.with(filesync.Options{}))
	require.NoError(t, err)
	require.Equal(t, filesync.Stats{TotalFiles: 2, TotalBytes: 6, SameFiles: 2, SameBytes: 6}, timeless(stats))
	require.Equal(t, before, dst.snapshot(t))

	var name *filesync.NameError
	_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, marked("0/1-1.msg", "0/0-0.msg"), w.with(filesync.Options{}))
	require.ErrorAs(t, err, &name, "to be there and not to be there")
	var kind *filesync.FileTypeError
	_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, func(yield func(filesync.Item, error) bool) {
		yield(filesync.Item{To: "8/9", Delete: true}, nil)
	}, w.with(filesync.Options{}))
	require.ErrorAs(t, err, &kind, "a directory is not removed")
	require.Equal(t, before, dst.snapshot(t))

	var missing *filesync.MissingError
	_, err = syncItems(t, w, dst, src, filesync.Options{}, "0/1-1.msg", "x", "0/gone", "y")
	require.ErrorAs(t, err, &missing)
	require.Equal(t, before, dst.snapshot(t))
}

// A file of which an earlier pass brought one name gets the others as links, also where names change on the way.
func testListLinks(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "a", "shared")
	for _, name := range []string{"b", "c"} {
		require.NoError(t, os.Link(src.dir+"/a", src.dir+"/"+name))
	}
	_, err := syncItems(t, w, dst, src, filesync.Options{}, "b", "x/1")
	require.NoError(t, err)
	stats, err := syncItems(t, w, dst, src, filesync.Options{}, "a", "x/0", "b", "x/1", "c", "y/2")
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Links)
	require.True(t, sameFile(t, dst.dir+"/x/0", dst.dir+"/x/1"))
	require.True(t, sameFile(t, dst.dir+"/x/0", dst.dir+"/y/2"))
}

func testReplaced(t *testing.T, w way) {
	dst, src := w.places(t)
	bystander := dst.dir + "-bystander"
	t.Cleanup(func() { os.Remove(bystander) })
	dst.write(t, "shared", "the neighbour's")
	require.NoError(t, os.Link(dst.dir+"/shared", bystander))
	src.write(t, "shared", "the source's")
	_, err := syncAll(t, w, dst, src, filesync.Options{})
	require.NoError(t, err)
	require.Equal(t, "the source's", dst.read(t, "shared"))
	b, err := os.ReadFile(bystander)
	require.NoError(t, err)
	require.Equal(t, "the neighbour's", string(b))
}

func testVersions(t *testing.T, w way) {
	dst, src := w.places(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	dst.write(t, "d/_1.cfs", string(content))
	dst.write(t, "index/_2.cfs", string(content))
	require.NoError(t, os.Chtimes(dst.dir+"/d/_1.cfs", time.Time{}, time.Unix(1_700_000_000, 0))) // it has the same size
	copy(content[300_000:], "changed")
	src.write(t, "d/_1.cfs", string(content))
	src.write(t, "_2.cfs", string(content)+"longer")
	_, err := syncItems(t, w, dst, src, filesync.Options{Mutable: true}, "_2.cfs", "index/_2.cfs", "d/_1.cfs", "d/_1.cfs")
	require.NoError(t, err)
	require.Equal(t, string(content), dst.read(t, "d/_1.cfs"))
	require.Equal(t, string(content)+"longer", dst.read(t, "index/_2.cfs"))
}

func testKinds(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "was a directory", "now a file")
	src.write(t, "was a file/x/y", "now in a directory")
	dst.write(t, "was a directory/with/files", "1")
	dst.write(t, "was a file", "2")
	heals(t, w, dst, src)
}

func testExcluded(t *testing.T, w way) {
	dst, src := w.places(t)
	opts := filesync.Options{Exclude: []string{"tmp", "old/mine"}, ExcludeBase: []string{"*.bak", "incoming"}}
	src.write(t, "keep", "k")
	src.write(t, "tmp/x", "not copied")
	src.write(t, "0/1-1.msg.bak", "not copied")
	src.write(t, "0/incoming/x", "not copied")
	dst.write(t, "old/mine", "not deleted")
	dst.write(t, "old/gone", "deleted")
	dst.write(t, "1/x.bak", "not deleted")
	dst.write(t, "1/x", "deleted")
	dst.write(t, "incoming/x", "not deleted")
	_, err := syncAll(t, w, dst, src, opts)
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "1/x.bak", "incoming", "incoming/x", "keep", "old", "old/mine"}, dst.names(t))
	var name *filesync.NameError
	_, err = syncItems(t, w, dst, src, opts, "keep", "0/a.bak")
	require.ErrorAs(t, err, &name)
	_, err = syncAll(t, w, dst, src, filesync.Options{ExcludeBase: []string{"[a"}})
	require.ErrorAs(t, err, &name)
}

func testGuarded(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "d/a", "one")
	src.write(t, mark, "the source's own is left out")
	dst.write(t, "old", "to be deleted")
	dst.write(t, mark, "move 8")
	opts := filesync.Options{Guard: &filesync.Guard{Name: mark, Content: "move 7"}}
	before := dst.snapshot(t)
	_, err := syncAll(t, w, dst, src, opts)
	require.ErrorIs(t, err, filesync.ErrGuard)
	_, err = syncItems(t, w, dst, src, opts, "d/a", "a")
	require.ErrorIs(t, err, filesync.ErrGuard)
	_, err = filesync.SyncList(t.Context(), dst.Tree, src.Tree, func(yield func(filesync.Item, error) bool) {
		yield(filesync.Item{To: "old", Delete: true}, nil)
	}, w.with(opts))
	require.ErrorIs(t, err, filesync.ErrGuard)
	require.Equal(t, before, dst.snapshot(t), "nothing changed")
	dst.write(t, mark, "move 7")
	_, err = syncAll(t, w, dst, src, opts)
	require.NoError(t, err)
	require.Equal(t, []string{mark, "d", "d/a"}, dst.names(t))
}

// The mark is replaced when the writer has looked at it once and not for the second time.
func testGuardLost(t *testing.T, w way) {
	dst, src := w.places(t)
	for i := range 5 {
		src.write(t, fmt.Sprintf("d/%d", i), strings.Repeat("x", 20_000))
	}
	dst.write(t, "d/0", "before")
	dst.write(t, "gone", "before")
	dst.write(t, mark, "mine")
	opts := filesync.Options{Guard: &filesync.Guard{Name: mark, Content: "mine"}, Rate: 100_000}
	taken := make(chan error, 1)
	go func() { // as soon as there is a stage
		taken <- func() error {
			for range 5000 {
				entries, err := os.ReadDir(dst.dir)
				if err != nil {
					return err
				}
				for _, e := range entries {
					if strings.HasPrefix(e.Name(), ".filesync-") {
						return os.WriteFile(dst.dir+"/"+mark, []byte("another's"), 0o644)
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
			return errors.New("no stage came")
		}()
	}()
	_, err := syncAll(t, w, dst, src, opts)
	require.NoError(t, <-taken)
	require.ErrorIs(t, err, filesync.ErrGuard)
	require.Equal(t, "before", dst.read(t, "d/0"))
	require.Equal(t, []string{mark, "d", "d/0", "gone"}, dst.names(t))
}

// A symlink is not followed, on either side, and nothing beyond it changes.
func testPlanted(t *testing.T, w way) {
	for _, plant := range []struct {
		name      string
		at        func(dst, src place) string
		mark      string // an item of the list that is marked for deletion
		from, to  string
		listAlone bool
	}{
		{"a directory of the destination", func(dst, _ place) string { return dst.dir + "/sub" }, "", "sub/g", "sub/g", false},
		{"a file of the destination", func(dst, _ place) string { return dst.dir + "/link" }, "", "sub/g", "link", false},
		{"above what is to be deleted", func(dst, _ place) string { return dst.dir + "/sub" }, "sub/f", "top", "top", false},
		{"a directory of the source", func(_, src place) string { return src.dir + "/link" }, "", "link/f", "x", false},
		{"a file of the source", func(_, src place) string { return src.dir + "/sub/link" }, "", "sub/link", "x", false},
	} {
		dst, src := w.places(t)
		outside := dst.dir + "-outside"
		require.NoError(t, os.MkdirAll(outside, 0o755))
		t.Cleanup(func() { os.RemoveAll(outside) })
		require.NoError(t, os.WriteFile(outside+"/f", []byte("not ours"), 0o600))
		src.write(t, "sub/f", "1")
		src.write(t, "sub/g", "2")
		src.write(t, "top", "3")
		to := outside
		if strings.Contains(plant.name, "a file") {
			to += "/f"
		}
		require.NoError(t, os.Symlink(to, plant.at(dst, src)))
		_, err := syncAll(t, w, dst, src, filesync.Options{})
		_, lerr := filesync.SyncList(t.Context(), dst.Tree, src.Tree, func(yield func(filesync.Item, error) bool) {
			if plant.mark == "" || yield(filesync.Item{To: plant.mark, Delete: true}, nil) {
				yield(filesync.Item{From: plant.from, To: plant.to}, nil)
			}
		}, w.with(filesync.Options{}))
		for _, err := range []error{err, lerr} {
			var kind *filesync.FileTypeError
			require.ErrorAs(t, err, &kind, plant.name)
			require.Contains(t, err.Error(), "link", plant.name)
		}
		entries, err := os.ReadDir(outside)
		require.NoError(t, err)
		require.Len(t, entries, 1, plant.name)
		b, err := os.ReadFile(outside + "/f")
		require.NoError(t, err)
		require.Equal(t, "not ours", string(b), plant.name)
	}
}

// The symlink comes after the look, where a directory was.
func testPlantedMeanwhile(t *testing.T, w way) {
	for _, names := range [][]string{{"sub/g", "sub/x"}, {"sub/g", "sub/new/x"}} {
		dst, src := w.places(t)
		outside := dst.dir + "-outside"
		require.NoError(t, os.MkdirAll(outside, 0o755))
		t.Cleanup(func() { os.RemoveAll(outside) })
		src.write(t, "sub/g", "1")
		dst.write(t, "sub/before", "2")
		plant := once(func() {
			require.NoError(t, os.RemoveAll(dst.dir+"/sub"))
			require.NoError(t, os.Symlink(outside, dst.dir+"/sub"))
		})
		_, err := syncItems(t, w, dst, src, filesync.Options{Progress: plant}, names...)
		require.Error(t, err)
		require.Contains(t, err.Error(), "link")
		entries, err := os.ReadDir(outside)
		require.NoError(t, err)
		require.Empty(t, entries)
		require.NoError(t, os.Remove(dst.dir+"/sub"))
		heals(t, w, dst, src)
	}
}

// The symlink takes the place of a directory on the way to a file, after the source was listed. Where it leads there is a file that looks the same.
func testSourceMeanwhile(t *testing.T, w way) {
	for _, dir := range []string{"sub", "-rf", "new\nline", "it's/a \"deep\" one"} {
		for _, whole := range []bool{true, false} {
			dst, src := w.places(t)
			outside := src.dir + "-outside"
			t.Cleanup(func() { os.RemoveAll(outside) })
			when := time.Unix(1_700_000_000, 0)
			file := dir + "/more/f"
			src.write(t, file, "ours")
			require.NoError(t, os.MkdirAll(outside+"/more", 0o755))
			require.NoError(t, os.WriteFile(outside+"/more/f", []byte("else"), 0o644))
			for _, name := range []string{src.dir + "/" + file, outside + "/more/f"} {
				require.NoError(t, os.Chtimes(name, when, when))
			}
			opts := filesync.Options{Progress: once(func() {
				require.NoError(t, os.Rename(src.dir+"/"+dir, src.dir+"-aside"))
				t.Cleanup(func() { os.RemoveAll(src.dir + "-aside") })
				require.NoError(t, os.Symlink(outside, src.dir+"/"+dir))
			})}
			var err error
			if whole {
				_, err = syncAll(t, w, dst, src, opts)
			} else {
				_, err = syncItems(t, w, dst, src, opts, file, "f")
			}
			require.ErrorContains(t, err, "symlink", "%q", dir)
			require.ErrorContains(t, err, dir[:3])
			require.Empty(t, dst.names(t), "nothing from outside arrives: %q", dir)
			require.NoError(t, os.Remove(src.dir+"/"+dir))
			require.NoError(t, os.Rename(src.dir+"-aside", src.dir+"/"+dir))
			heals(t, w, dst, src)
		}
	}
}

// People work in the directories while files are copied from there: new files, names, times, modes and owners of directories are no change.
func testWork(t *testing.T, w way) {
	dst, src := w.places(t)
	var names []string
	for i := range 200 {
		name := fmt.Sprintf("msg/%d/%d", i%5, i)
		src.write(t, name, strings.Repeat(fmt.Sprint(i), 500))
		names = append(names, name, name)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			dir := fmt.Sprintf("%s/msg/%d", src.dir, i%5)
			mine := fmt.Sprint(dir, "/mine", i)
			owner := os.Getuid()
			if owner == 0 {
				owner = 1500 + i%3
			}
			err := errors.Join(
				os.WriteFile(mine, []byte("x"), 0o644), os.Rename(mine, mine+".msg"), os.Remove(mine+".msg"), os.Chmod(dir, fs.FileMode(0o755-i%2*5)),
				os.Chown(dir, owner, -1), os.Chtimes(dir, time.Time{}, time.Unix(int64(i), 0)), os.Chtimes(src.dir+"/msg", time.Time{}, time.Unix(int64(i), 0)),
			)
			if err != nil {
				stopped <- err
				return
			}
		}
	}()
	var err error
	for i := 0; i < 5 && err == nil; i++ {
		to, _ := w.places(t)
		_, err = syncItems(t, w, to, src, filesync.Options{}, names...)
	}
	close(stop)
	require.NoError(t, <-stopped)
	require.NoError(t, err)
	heals(t, w, dst, src)
}

func testBadNames(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "ok", "x")
	for _, n := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "nul\x00", ".filesync-x/y"} {
		for _, it := range []filesync.Item{{From: n, To: "ok"}, {From: "ok", To: n}, {To: n, Delete: true}, {From: "ok", To: "ok", Delete: true}} {
			_, err := filesync.SyncList(t.Context(), dst.Tree, src.Tree, func(yield func(filesync.Item, error) bool) { yield(it, nil) }, w.with(filesync.Options{}))
			var name *filesync.NameError
			require.ErrorAs(t, err, &name, "%q", it)
		}
	}
	require.Empty(t, dst.names(t))
}

// once calls f the first time that progress is reported: the source was listed then, and nothing was read.
func once(f func()) func(filesync.Stats) {
	return func(filesync.Stats) {
		if f != nil {
			f()
			f = nil
		}
	}
}

func testVanishes(t *testing.T, w way) {
	dst, src := w.places(t)
	fill := func() {
		for _, name := range []string{"d/stays", "d/goes", "l1", "l2"} {
			os.Remove(src.dir + "/" + name)
			src.write(t, name, name)
		}
		require.NoError(t, os.Remove(src.dir+"/l2"))
		require.NoError(t, os.Link(src.dir+"/l1", src.dir+"/l2"))
	}
	remove := once
	opts := func() filesync.Options {
		return filesync.Options{Progress: remove(func() { os.Remove(src.dir + "/d/goes"); os.Remove(src.dir + "/l1") })}
	}
	names := []string{"d/stays", "1", "d/goes", "2", "l1", "3", "l2", "4"}
	fill()
	_, err := syncItems(t, w, dst, src, opts(), names...)
	var missing *filesync.MissingError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, src.dir)
	require.Empty(t, dst.names(t))

	fill()
	o := opts()
	o.Missing = func(filesync.Item) bool { return true }
	stats, err := syncItems(t, w, dst, src, o, names...)
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Missing)
	require.Equal(t, []string{"1", "4"}, dst.names(t))
	left, bytes := stats.Left()
	require.Equal(t, [2]int64{0, 0}, [2]int64{left, bytes})
	heals(t, w, dst, src)
}

// A file that grows between the listing and the copy is copied as it is; one that never rests ends the sync, or is complete.
func testGrows(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "a", "short")
	src.write(t, "b", "as it is")
	_, err := syncAll(t, w, dst, src, filesync.Options{Progress: once(func() { src.write(t, "a", "longer than before") })})
	require.NoError(t, err)
	require.Equal(t, "longer than before", dst.read(t, "a"))
	heals(t, w, dst, src)

	stop, stopped := make(chan struct{}), make(chan error, 1)
	f, err := os.OpenFile(src.dir+"/a", os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- f.Close()
				return
			default:
				f.WriteString(strings.Repeat("x", 1000))
				time.Sleep(time.Millisecond)
			}
		}
	}()
	_, err = syncAll(t, w, dst, src, filesync.Options{})
	close(stop)
	require.NoError(t, <-stopped)
	if err != nil {
		require.ErrorIs(t, err, filesync.ErrChanged)
	}
	require.Regexp(t, "^longer than beforex*$", dst.read(t, "a"))
	heals(t, w, dst, src)
}

func testUnreadable(t *testing.T, w way) {
	if os.Getuid() == 0 {
		return // root reads everything
	}
	dst, src := w.places(t)
	src.write(t, "d/a", "one")
	src.write(t, "d/secret", "two")
	dst.write(t, "stays", "until the end")
	require.NoError(t, os.Chmod(src.dir+"/d/secret", 0))
	_, err := syncAll(t, w, dst, src, filesync.Options{})
	require.Error(t, err)
	require.Regexp(t, "(?i)secret.*permission denied", err.Error())
	require.FileExists(t, dst.dir+"/stays")
	require.NoFileExists(t, dst.dir+"/d/secret")
	noStage(t, dst)
	require.NoError(t, os.Chmod(src.dir+"/d/secret", 0o600))
	heals(t, w, dst, src)
}

func testReadOnly(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "d/a", "one")
	dst.write(t, "stays", "until the end")
	readOnly := func(yes bool) {
		if os.Getuid() != 0 {
			mode := map[bool]fs.FileMode{true: 0o555, false: 0o755}[yes]
			require.NoError(t, os.Chmod(dst.dir, mode))
			return
		}
		flags := uintptr(syscall.MS_BIND | syscall.MS_REMOUNT)
		if yes {
			require.NoError(t, syscall.Mount(dst.dir, dst.dir, "", syscall.MS_BIND, ""))
			t.Cleanup(func() { syscall.Unmount(dst.dir, syscall.MNT_DETACH) })
			flags |= syscall.MS_RDONLY
		}
		require.NoError(t, syscall.Mount("", dst.dir, "", flags, ""))
	}
	readOnly(true)
	_, err := syncAll(t, w, dst, src, filesync.Options{})
	require.Error(t, err)
	require.Contains(t, err.Error(), dst.dir)
	require.Equal(t, []string{"stays"}, dst.names(t))
	readOnly(false)
	heals(t, w, dst, src)
}

func testFull(t *testing.T, w way) {
	if os.Getuid() != 0 {
		return // only root mounts
	}
	dst, src := w.places(t)
	require.NoError(t, syscall.Mount("tmpfs", dst.dir, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dst.dir, syscall.MNT_DETACH)) })
	src.write(t, "d/large", strings.Repeat("x", 1<<20))
	src.write(t, "small", "x")
	dst.write(t, "stays", "there")
	_, err := syncAll(t, w, dst, src, filesync.Options{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, dst.dir)
	require.Equal(t, "there", dst.read(t, "stays"))
	require.NoFileExists(t, dst.dir+"/d/large")
	noStage(t, dst)
	free, err := filesync.Free(t.Context(), dst.Tree)
	require.NoError(t, err)
	require.Less(t, free, int64(256<<10))
	require.Greater(t, free, int64(128<<10))
	require.NoError(t, syscall.Mount("tmpfs", dst.dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"))
	heals(t, w, dst, src)
}

func testDirectory(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "a", "one")
	src.write(t, "b", "two")
	dst.write(t, "a/inside", "stays")
	_, err := syncItems(t, w, dst, src, filesync.Options{}, "a", "a", "b", "b")
	var kind *filesync.FileTypeError
	require.ErrorAs(t, err, &kind)
	require.Equal(t, dst.dir+"/a", kind.Path)
	require.Equal(t, []string{"a", "a/inside"}, dst.names(t))
	// It comes after the look, and before the renames.
	require.NoError(t, os.RemoveAll(dst.dir+"/a"))
	_, err = syncItems(t, w, dst, src, filesync.Options{Progress: once(func() { dst.write(t, "a/inside", "stays") })}, "a", "a", "b", "b")
	require.Error(t, err)
	require.FileExists(t, dst.dir+"/a/inside")
	noStage(t, dst)
	heals(t, w, dst, src)
}

// Somebody makes the directory that the batch is to bring, meanwhile. What is in it stays.
func testDirectoryMeanwhile(t *testing.T, w way) {
	dst, src := w.places(t)
	src.write(t, "new/sub/a", "one")
	_, err := syncItems(t, w, dst, src, filesync.Options{Progress: once(func() { dst.write(t, "new/theirs", "stays") })}, "new/sub/a", "new/sub/a")
	require.Error(t, err)
	require.Equal(t, []string{"new", "new/theirs"}, dst.names(t))
	_, err = syncItems(t, w, dst, src, filesync.Options{}, "new/sub/a", "new/sub/a")
	require.NoError(t, err)
	require.Equal(t, []string{"new", "new/sub", "new/sub/a", "new/theirs"}, dst.names(t))
}

func testProgress(t *testing.T, w way) {
	dst, src := w.places(t)
	for i := range 20 {
		src.write(t, fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	dst.write(t, "0", src.read(t, "0"))
	when := time.Unix(1_700_000_000, 0)
	for _, p := range []place{dst, src} {
		require.NoError(t, os.Chtimes(p.dir+"/0", when, when))
	}
	var all []filesync.Stats
	stats, err := syncAll(t, w, dst, src, filesync.Options{Progress: func(s filesync.Stats) { all = append(all, s) }})
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 2)
	require.Equal(t, stats, all[len(all)-1])
	files, bytes := stats.Left()
	require.Equal(t, [2]int64{0, 0}, [2]int64{files, bytes})
	require.Zero(t, stats.Remaining())
	require.Positive(t, stats.Rate())
	require.Equal(t, [4]int64{19, 19_000, 1, 1000}, [4]int64{stats.Files, stats.Bytes, stats.SameFiles, stats.SameBytes})
}

// An engine that cannot be used says what is missing, and does nothing.
func TestEngineRefused(t *testing.T) {
	local, remote := sides(t, 0)[0], remoteSide(t, 1)
	src, dst, far := newPlace(t, local), newPlace(t, remote), newPlace(t, remote)
	src.write(t, "a", "one")
	to := &filesync.SSH{Addr: "127.0.0.1", User: "root"}
	for _, c := range []struct {
		dst, src filesync.Tree
		opts     filesync.Options
		want     string
	}{
		{dst.Tree, src.Tree, filesync.Options{Engine: "rcp"}, "Options.Engine"},
		{dst.Tree, src.Tree, filesync.Options{Engine: filesync.Rsync}, "RemoteOptions.SSH of " + dst.dir},
		{src.Tree, dst.Tree, filesync.Options{Engine: filesync.Rsync}, "RemoteOptions.SSH of " + dst.dir},
		{dst.Tree, far.Tree, filesync.Options{Engine: filesync.Rsync}, "Options.Direct"},
		{dst.Tree, src.Tree, filesync.Options{Direct: to}, "Options.Direct"},
		{dst.Tree, far.Tree, filesync.Options{Engine: filesync.Stream, Direct: to}, "Options.Direct"},
		{dst.Tree, far.Tree, filesync.Options{Direct: &filesync.SSH{Addr: "-oProxyCommand=x", User: "root"}}, "Options.Direct"},
		{dst.Tree, far.Tree, filesync.Options{Direct: &filesync.SSH{Addr: "h", User: "root", IdentityFile: "a b"}}, "Options.Direct"},
		{dst.Tree, far.Tree, filesync.Options{Direct: &filesync.SSH{Addr: "h"}}, "User"},
	} {
		_, err := filesync.Sync(t.Context(), c.dst, c.src, &c.opts)
		require.ErrorContains(t, err, c.want)
	}
	require.Empty(t, dst.names(t))
}

// hookRunner's stdin cut short, but with success: the far side must not take it for the whole.
func TestCutStreamIsNotRenamed(t *testing.T) {
	src, dst := newPlace(t, sides(t, 0)[0]), newPlace(t, remoteSide(t, 1))
	for i := range 20 {
		src.write(t, fmt.Sprint(i), strings.Repeat("x", 600))
	}
	for _, keep := range []int64{0, 512, 1024 + 512, 10 * 1536, 20 * 1536, 20*1536 + 512, 20*1536 + 1536} {
		r := &hookRunner{Runner: dial(t, lab.Shared(t).Stores[1]), stdin: func(script string, r io.Reader) io.Reader {
			if strings.Contains(script, "tar -x") {
				return io.LimitReader(r, keep)
			}
			return r
		}}
		_, err := filesync.Sync(t.Context(), filesync.Remote(r, nil).Tree(dst.dir), src.Tree, nil)
		require.Error(t, err, "after %d bytes", keep)
		require.Empty(t, dst.names(t), "after %d bytes", keep)
	}
}
