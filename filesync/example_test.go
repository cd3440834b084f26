package filesync_test

import (
	"context"
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
