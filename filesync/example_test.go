package filesync_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zmlift/zmlift/filesync"
)

func ExampleSync() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for name, content := range map[string]string{"src/a": "one", "src/b": "two", "dst/stale": "three"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			fmt.Println(err)
			return
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			fmt.Println(err)
			return
		}
	}

	here := filesync.Local() // or filesync.Remote(tunnel, nil)
	stats, err := filesync.Sync(context.Background(), here.Tree(dir+"/dst"), here.Tree(dir+"/src"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d files copied, %d deleted\n", stats.Files, stats.Deleted)
	// Output: 2 files copied, 1 deleted
}

// A list gives the names on both sides; here files move to other directories. Only they are copied.
func ExampleSyncList() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	err = errors.Join(
		os.MkdirAll(dir+"/src/0", 0o755), os.Mkdir(dir+"/dst", 0o755),
		os.WriteFile(dir+"/src/0/257-3.msg", []byte("From: ..."), 0o640), os.WriteFile(dir+"/src/0/orphan", nil, 0o640),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	list := func(yield func(filesync.Item, error) bool) { // a query, for example; an error ends the sync
		yield(filesync.Item{From: "0/257-3.msg", To: "1/257-3.msg"}, nil)
	}

	ctx, here := context.Background(), filesync.Local()
	dst := here.Tree(dir + "/dst")
	if _, err := filesync.SyncList(ctx, dst, here.Tree(dir+"/src"), list, &filesync.Options{Delete: true}); err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range filesync.List(ctx, dst, nil) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Name)
	}
	// Output:
	// 1
	// 1/257-3.msg
}

// What a list marks goes away; the rest of the tree is not even looked at.
func ExampleItem() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	err = errors.Join(
		os.Mkdir(dir+"/src", 0o755), os.Mkdir(dir+"/dst", 0o755), os.WriteFile(dir+"/src/260-7.msg", []byte("From: ..."), 0o640),
		os.WriteFile(dir+"/dst/257-3.msg", nil, 0o640), os.WriteFile(dir+"/dst/258-4.msg", nil, 0o640),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	changes := []filesync.Item{{From: "260-7.msg", To: "260-7.msg"}, {To: "257-3.msg", Delete: true}}
	list := func(yield func(filesync.Item, error) bool) {
		for _, it := range changes {
			if !yield(it, nil) {
				return
			}
		}
	}

	here := filesync.Local()
	stats, err := filesync.SyncList(context.Background(), here.Tree(dir+"/dst"), here.Tree(dir+"/src"), list, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	files, bytes := stats.Left()
	fmt.Printf("%d copied, %d deleted, %d files with %d bytes left\n", stats.Files, stats.Deleted, files, bytes)
	// Output: 1 copied, 1 deleted, 0 files with 0 bytes left
}

func ExampleCheck() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/a", []byte("as it was"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	sum := sha256.Sum256([]byte("as it was"))
	want := func(yield func(filesync.Want, error) bool) {
		_ = yield(filesync.Want{Name: "a", Size: 9, SHA256: sum[:]}, nil) && yield(filesync.Want{Name: "b", Size: 1}, nil)
	}
	for bad, err := range filesync.Check(context.Background(), filesync.Local().Tree(dir), want, nil) {
		if err != nil {
			fmt.Println(err) // not everything was looked at
			return
		}
		fmt.Println(bad.Name, bad.Why)
	}
	// Output: b missing
}

// A mark says whose a tree is. A writer that looks for another one changes nothing.
func ExampleGuard() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, tree := context.Background(), filesync.Local().Tree(dir)
	if err := filesync.WriteFile(ctx, tree, ".owner", []byte("move 8"), true); err != nil {
		fmt.Println(err)
		return
	}
	mine := &filesync.Options{Guard: &filesync.Guard{Name: ".owner", Content: "move 7"}}
	err = filesync.Remove(ctx, tree, "msg", mine)
	fmt.Println(errors.Is(err, filesync.ErrGuard))
	// Output: true
}
