package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

//go:embed Dockerfile
var dockerfile string

const (
	imageName  = "zmlift-lab"
	imageLabel = "zmlift.lab.image"
	imagePath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// firstAnswer is how long a registry may take to begin; most machines without one hear so at once.
	firstAnswer = 15 * time.Second
)

// labImage is the image that the containers run. It is built from the Dockerfile where its base is there or can be pulled, and
// made of this machine's own packages elsewhere. Either is made once and found again under the hash of what it was made from.
func labImage(ctx context.Context, engine *testcontainers.DockerClient, logw io.Writer) (string, error) {
	built := fmt.Sprintf("%s:built-%.12x", imageName, sha256.Sum256([]byte(dockerfile)))
	if ok, err := haveImage(ctx, engine, built); ok || err != nil {
		return built, err
	}
	files, errInstalled := installedFiles(ctx)
	imported := imageName + ":imported-" + hashFiles(files)
	if errInstalled == nil {
		if ok, err := haveImage(ctx, engine, imported); ok || err != nil {
			return imported, err
		}
	}
	errBuild := buildImage(ctx, engine, built, logw)
	if errBuild == nil {
		return built, removeOldImages(ctx, engine, built)
	}
	if errInstalled == nil {
		fmt.Fprintf(logw, "lab: no image from the Dockerfile (%v); making one of the packages installed here\n", errBuild)
		errInstalled = importImage(ctx, engine, imported, files)
	}
	if errInstalled == nil {
		return imported, removeOldImages(ctx, engine, imported)
	}
	return "", fmt.Errorf("no image: from the Dockerfile: %w; of the packages installed here: %w", errBuild, errInstalled)
}

func haveImage(ctx context.Context, engine *testcontainers.DockerClient, ref string) (bool, error) {
	_, err := engine.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// removeOldImages removes what earlier versions made. An image that a container runs stays.
func removeOldImages(ctx context.Context, engine *testcontainers.DockerClient, current string) error {
	list, err := engine.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("label", imageLabel)})
	if err != nil {
		return err
	}
	for _, image := range list.Items {
		if slices.Contains(image.RepoTags, current) {
			continue
		}
		if _, err := engine.ImageRemove(ctx, image.ID, client.ImageRemoveOptions{}); err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// buildImage builds the Dockerfile.
func buildImage(ctx context.Context, engine *testcontainers.DockerClient, ref string, logw io.Writer) error {
	_, base, _ := strings.Cut(dockerfile, "\nFROM ")
	base, _, _ = strings.Cut(base, "\n")
	have, err := haveImage(ctx, engine, base)
	if err != nil {
		return err
	}
	if !have {
		if err := pullImage(ctx, engine, base); err != nil {
			return fmt.Errorf("pull %s: %w", base, err)
		}
	}
	fmt.Fprintln(logw, "lab: building the image, once; this takes a minute or two")
	var buildContext bytes.Buffer
	w := tar.NewWriter(&buildContext)
	if err := writeTarFile(w, "Dockerfile", 0o644, []byte(dockerfile)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	res, err := engine.ImageBuild(ctx, &buildContext, client.ImageBuildOptions{
		Tags: []string{ref}, Labels: map[string]string{imageLabel: "built"},
		Remove: true, ForceRemove: true,
		NetworkMode: "host", // an engine may run without a bridge that leads out
	})
	if err != nil {
		return err
	}
	return drainMessages(res.Body, nil)
}

// pullImage gives up early where no registry answers.
func pullImage(ctx context.Context, engine *testcontainers.DockerClient, ref string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(firstAnswer, func() { cancel(fmt.Errorf("no answer within %v", firstAnswer)) })
	defer timer.Stop()
	res, err := engine.ImagePull(ctx, ref, client.ImagePullOptions{})
	if err == nil {
		err = drainMessages(res, func() { timer.Stop() })
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// drainMessages reads what the engine says while it works, to the end. An error may be among it.
func drainMessages(r io.ReadCloser, onMessage func()) error {
	defer r.Close()
	for d := json.NewDecoder(r); ; {
		var m struct {
			Stream, Error string
		}
		err := d.Decode(&m)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		if onMessage != nil {
			onMessage()
		}
	}
}

// packages are Debian's names for what the image needs, when it is made of this machine's own.
var packages = []string{
	"mariadb-server-core", "mariadb-client-core", "mariadb-common", "slapd", "openssh-server", "openssh-sftp-server", "rsync",
	"tar", "gzip", "findutils", "coreutils", "dash", "bash", "grep", "sed", "procps",
}

// An installedFile goes into the image under name; source is its content, or else target is where it links to.
type installedFile struct {
	name, source, target string
	info                 fs.FileInfo
}

// installedFiles lists the packages' files on this machine, and the libraries that their programs load.
func installedFiles(ctx context.Context) ([]installedFile, error) {
	if err := checkPrograms(); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "dpkg-query", append([]string{"-L"}, packages...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("dpkg-query: %s", bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return nil, err
	}
	byName := map[string]installedFile{}
	add := func(path string, follow bool) error {
		// /bin is a link to usr/bin, on this machine and in the image.
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // left out at installation, as documentation often is
		}
		if err != nil {
			return err
		}
		f := installedFile{name: filepath.Join(dir, filepath.Base(path)), source: path}
		stat := os.Lstat
		if follow {
			stat = os.Stat
		}
		if f.info, err = stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		switch mode := f.info.Mode(); {
		case mode.IsRegular():
		case filepath.Dir(f.name) == "/":
			return nil // /bin and the like: writeImage has them
		case mode&fs.ModeSymlink != 0:
			if f.target, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			return nil // a directory comes with what is in it
		}
		byName[f.name] = f
		return nil
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if !strings.HasPrefix(path, "/") || unneeded(path) {
			continue
		}
		if err := add(path, false); err != nil {
			return nil, err
		}
	}
	dump, err := program("mariadb-dump")
	if err != nil {
		return nil, err
	}
	if err := add(dump, true); err != nil {
		return nil, err
	}
	libraries, err := librariesOf(ctx, byName)
	if err != nil {
		return nil, err
	}
	for _, path := range libraries {
		if err := add(path, true); err != nil {
			return nil, err
		}
	}
	var files []installedFile
	for _, f := range byName {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b installedFile) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// unneeded says whether a file of a package is for people, or for daemons that a container does not have.
func unneeded(path string) bool {
	for _, dir := range []string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/etc/init.d/", "/lib/systemd/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// librariesOf finds what the programs among the files load, and what that loads. It reads the files themselves: ldd, which runs
// every one of them, takes seconds.
func librariesOf(ctx context.Context, files map[string]installedFile) ([]string, error) {
	cached, err := loaderCache(ctx)
	if err != nil {
		return nil, err
	}
	var todo []string
	for _, f := range files {
		if f.target == "" {
			todo = append(todo, f.source)
		}
	}
	seen := map[string]bool{}
	for ; len(todo) > 0; todo = todo[1:] {
		needed, err := neededBy(todo[0], cached)
		if err != nil {
			return nil, err
		}
		for _, path := range needed {
			if !seen[path] {
				seen[path] = true
				todo = append(todo, path)
			}
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// neededBy are the paths of the libraries that an ELF file names, its loader among them; none for other files.
func neededBy(path string, cached map[string][]string) ([]string, error) {
	f, err := elf.Open(path)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var paths []string
	if interp := f.Section(".interp"); interp != nil {
		loader, err := interp.Data()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		paths = append(paths, string(bytes.TrimRight(loader, "\x00")))
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, lib := range libraries {
		found := slices.IndexFunc(cached[lib], func(candidate string) bool { return sameMachine(candidate, f) })
		if found < 0 {
			return nil, fmt.Errorf("%s: no %s", path, lib)
		}
		paths = append(paths, cached[lib][found])
	}
	return paths, nil
}

func sameMachine(path string, as *elf.File) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Machine == as.Machine && f.Class == as.Class
}

// loaderCache is where the dynamic loader finds libraries, by name; there may be some for other machines.
func loaderCache(ctx context.Context) (map[string][]string, error) {
	ldconfig, err := program("ldconfig")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, ldconfig, "-p").Output()
	if err != nil {
		return nil, fmt.Errorf("ldconfig -p: %w", err)
	}
	cached := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		name, path, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		cached[name] = append(cached[name], path)
	}
	return cached, nil
}

func hashFiles(files []installedFile) string {
	h := sha256.New()
	fmt.Fprintln(h, imageBase())
	for _, f := range files {
		fmt.Fprintln(h, f.name, f.target, f.info.Size(), f.info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%.12x", h.Sum(nil))
}

// imageBase are the few files that no package brings.
func imageBase() map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\n",
		// No password, and not locked.
		"etc/shadow":        "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
	}
}

// importImage makes an image of the files.
func importImage(ctx context.Context, engine *testcontainers.DockerClient, ref string, files []installedFile) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeImage(w, files)
		w.CloseWithError(err)
		written <- err
	}()
	name, tag, _ := strings.Cut(ref, ":")
	res, err := engine.ImageImport(ctx, client.ImageImportSource{Source: r, SourceName: "-"}, name, client.ImageImportOptions{
		Tag: tag, Changes: []string{"ENV PATH=" + imagePath, "LABEL " + imageLabel + "=imported"},
	})
	if err == nil {
		err = drainMessages(res, nil)
	}
	r.CloseWithError(errors.New("the engine takes no more"))
	if werr := <-written; err == nil && werr != nil {
		err = werr
	}
	return err
}

func writeImage(out io.Writer, files []installedFile) error {
	w := tar.NewWriter(out)
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if target, err := os.Readlink("/" + dir); err == nil {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: target, Mode: 0o777}); err != nil {
				return err
			}
		}
	}
	for _, dir := range []struct {
		name string
		mode int64
	}{{"root", 0o700}, {"run", 0o755}, {"run/sshd", 0o755}, {"tmp", 0o1777}, {"var", 0o755}, {"var/tmp", 0o1777}, {"etc", 0o755}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name + "/", Mode: dir.mode}); err != nil {
			return err
		}
	}
	for name, content := range imageBase() {
		if err := writeTarFile(w, name, 0o644, []byte(content)); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.write(w); err != nil {
			return fmt.Errorf("%s: %w", f.source, err)
		}
	}
	return w.Close()
}

func (f *installedFile) write(w *tar.Writer) error {
	h, err := tar.FileInfoHeader(f.info, f.target)
	if err != nil {
		return err
	}
	h.Name = strings.TrimPrefix(f.name, "/")
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	if err := w.WriteHeader(h); err != nil || f.target != "" {
		return err
	}
	src, err := os.Open(f.source)
	if err != nil {
		return err
	}
	defer src.Close()
	_, err = io.Copy(w, src)
	return err
}

func writeTarFile(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
