package zmlift_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/zmlift/zmlift"

// leaves know their subject and nothing of each other. What a stranger can import alone stays that way.
var leaves = []string{"ldapattr", "mboxdb", "sqlrewrite", "filesync", "tunnel"}

// TestImports keeps the arrows between the packages: who may import whom. It reads the sources, so that it needs no go command.
func TestImports(t *testing.T) {
	for _, f := range goFiles(t, parser.ImportsOnly) {
		dir, test := path.Dir(f.name), strings.HasSuffix(f.name, "_test.go")
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := forbidden(dir, imp, test); why != "" {
				t.Errorf("%s imports %s: %s", f.name, imp, why)
			}
		}
	}
}

// forbidden says why a package in dir may not import imp; "" when it may.
func forbidden(dir, imp string, test bool) string {
	in, ours := strings.CutPrefix(imp, module+"/")
	if strings.Contains(imp, "stretchr/testify") && !test && !strings.HasSuffix(dir, "test") && !strings.HasPrefix(dir, "internal/lab") {
		return "testify is for tests"
	}
	if (dir == "sqlrewrite" || dir == "mboxdb/mboxverify") && !test && !ours && strings.Contains(imp, ".") {
		return dir + " imports the standard library alone"
	}
	if !ours || test {
		return ""
	}
	top, of := first(dir), first(in)
	switch {
	case strings.HasPrefix(in, "internal/lab") && !strings.HasPrefix(dir, "internal/lab") && !strings.HasPrefix(dir, "examples/lab"):
		return "only tests, benchmarks and examples/lab import the lab"
	case of == "examples":
		return "nothing imports a program"
	case dir == "mboxdb/mboxverify":
		return "the second verifier shares nothing with the first"
	case isLeaf(top) && of != top && of != "internal":
		return "leaves import neither each other nor zimbra"
	case top == "internal" && !strings.HasPrefix(dir, "internal/lab") && of != "internal":
		return "internal packages are below everything else"
	case top == "zimbra" && of == "tunnel":
		return "zimbra reaches other machines through what it is given"
	}
	return ""
}

func isLeaf(dir string) bool {
	for _, l := range leaves {
		if l == dir {
			return true
		}
	}
	return false
}

func first(dir string) string { top, _, _ := strings.Cut(dir, "/"); return top }

// TestPackageComments wants a doc.go with a package comment in every package, and runnable examples in those that people import.
func TestPackageComments(t *testing.T) {
	docs, examples, packages := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t, parser.ParseComments) {
		dir := path.Dir(f.name)
		if strings.HasSuffix(f.name, "_test.go") {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Example") {
					examples[dir] = true
				}
			}
			continue
		}
		packages[dir] = true
		if f.Doc != nil && path.Base(f.name) == "doc.go" || f.Name.Name == "main" && f.Doc != nil {
			docs[dir] = true
		}
	}
	for dir := range packages {
		if !docs[dir] {
			t.Errorf("%s has no doc.go with a package comment", dir)
		}
		if (isLeaf(dir) || dir == "zimbra") && !examples[dir] {
			t.Errorf("%s has no runnable example", dir)
		}
	}
}

// A goFile is a parsed file and its name, with slashes, below the module.
type goFile struct {
	*ast.File
	name string
}

func goFiles(t *testing.T, mode parser.Mode) []goFile {
	t.Helper()
	var files []goFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || path.Dir(filepath.ToSlash(name)) == "." {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, mode|parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, goFile{f, filepath.ToSlash(name)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go file found")
	}
	return files
}
