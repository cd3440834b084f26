package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"

	"github.com/zmlift/zmlift/internal/lab"
)

const envOwner = "ZMLIFT_LAB_TEST_OWNER"

// TestOwner is no test: in a process of its own it starts a lab, tells where, and waits to be killed.
func TestOwner(t *testing.T) {
	backend := os.Getenv(envOwner)
	if backend == "" {
		return
	}
	l, err := lab.Start(t.Context(), &lab.Options{Backend: backend})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("lab", l.Dir, l.Stores[0].SSHAddr, l.Stores[1].MySQLAddr, strings.TrimPrefix(l.LDAP.URL, "ldap://"))
	time.Sleep(time.Minute)
}

// startOwner starts a lab in another process, and returns its directory and the addresses of some of its servers.
func startOwner(t *testing.T, backend string) (owner *exec.Cmd, dir string, addrs []string) {
	t.Helper()
	owner = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwner$", "-test.v")
	owner.Env = append(os.Environ(), envOwner+"="+backend, lab.EnvBackend+"=")
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	t.Cleanup(func() {
		owner.Process.Kill()
		owner.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "lab":
			fields := strings.Fields(rest)
			return owner, fields[0], fields[1:]
		case "error":
			t.Fatal(rest)
		}
	}
	t.Fatal("the owner said nothing")
	return nil, "", nil
}

// A killed owner leaves no server, on either back end, and nobody has to clean up.
func TestNothingOutlivesItsOwner(t *testing.T) {
	for _, backend := range []string{lab.Processes, lab.Containers} {
		t.Run(backend, func(t *testing.T) {
			available(t, backend)
			owner, dir, addrs := startOwner(t, backend)
			for _, addr := range addrs {
				require.NoError(t, reach(addr), "before")
			}
			require.NoError(t, owner.Process.Kill())
			owner.Wait()
			for _, addr := range addrs {
				require.Eventually(t, func() bool { return reach(addr) != nil }, 20*time.Second, 50*time.Millisecond, "%s after", addr)
			}
			if backend == lab.Containers {
				require.Eventually(t, func() bool { return len(containersOf(t, dir)) == 0 }, 20*time.Second, 50*time.Millisecond, "containers after")
			}
			require.NoError(t, os.RemoveAll(dir))
		})
	}
}

// What a crash of the engine leaves is removed by the next lab; what others use is not touched.
func TestContainersLeftBehind(t *testing.T) {
	available(t, lab.Containers)
	engine := dockerEngine(t)
	images, err := engine.ImageList(t.Context(), client.ImageListOptions{Filters: make(client.Filters).Add("label", "zmlift.lab.image")})
	require.NoError(t, err)
	require.NotEmpty(t, images.Items, "Available has made one")
	leave := func(dir, host string) {
		t.Helper()
		c, err := engine.ContainerCreate(t.Context(), client.ContainerCreateOptions{Config: &container.Config{
			Image: images.Items[0].ID, Cmd: []string{"true"},
			Labels: map[string]string{"zmlift.lab.dir": dir, "zmlift.lab.host": host},
		}})
		require.NoError(t, err)
		t.Cleanup(func() {
			engine.ContainerRemove(context.Background(), c.ID, client.ContainerRemoveOptions{Force: true})
		})
	}
	host, err := os.Hostname()
	require.NoError(t, err)
	gone, unlocked, elsewhere, inUse := "/nowhere/zmlift-lab-1", t.TempDir(), "/nowhere/zmlift-lab-2", t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(unlocked, "lock"), nil, 0o600))
	lock, err := os.Create(filepath.Join(inUse, "lock"))
	require.NoError(t, err)
	defer lock.Close()
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	leave(gone, host)
	leave(unlocked, host)
	leave(elsewhere, "another-host")
	leave(inUse, host)

	l, err := lab.Start(t.Context(), &lab.Options{Backend: lab.Containers})
	require.NoError(t, err)
	require.Empty(t, containersOf(t, gone), "its directory is gone")
	require.Empty(t, containersOf(t, unlocked), "nobody holds its lock")
	require.Len(t, containersOf(t, elsewhere), 1, "of another host")
	require.Len(t, containersOf(t, inUse), 1, "of a lab that runs beside")
	require.Len(t, containersOf(t, l.Dir), 3, "two stores and a directory")
	require.NoError(t, l.Close())
	require.Empty(t, containersOf(t, l.Dir))
	require.NoError(t, l.Close(), "twice")
}

func TestSharedOn(t *testing.T) {
	l := lab.Shared(t)
	require.Same(t, l, lab.SharedOn(t, l.Backend))
	require.NoError(t, lab.Available(t.Context(), l.Backend))
}

func TestEnvironmentHasTheLastWord(t *testing.T) {
	t.Setenv(lab.EnvBackend, "off")
	for _, backend := range []string{"", lab.Processes, lab.Containers} {
		_, err := lab.Start(t.Context(), &lab.Options{Backend: backend})
		require.ErrorIs(t, err, lab.ErrOff)
		require.ErrorIs(t, lab.Available(t.Context(), backend), lab.ErrOff)
	}
	t.Setenv(lab.EnvBackend, lab.Processes)
	require.ErrorIs(t, lab.Available(t.Context(), lab.Containers), lab.ErrOff)
	t.Setenv(lab.EnvBackend, "clouds")
	_, err := lab.Start(t.Context(), nil)
	require.ErrorContains(t, err, "clouds")
	require.NotErrorIs(t, err, lab.ErrUnavailable)
}

// available skips where the back end cannot be had, and fails where it was asked for.
func available(t *testing.T, backend string) {
	t.Helper()
	err := lab.Available(t.Context(), backend)
	if errors.Is(err, lab.ErrOff) || errors.Is(err, lab.ErrUnavailable) && os.Getenv(lab.EnvBackend) == "" {
		t.Skipf("*** NOT TESTED on %s: %v", backend, err)
	}
	require.NoError(t, err)
}

func reach(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func dockerEngine(t *testing.T) *testcontainers.DockerClient {
	t.Helper()
	engine, err := testcontainers.NewDockerClientWithOpts(t.Context())
	require.NoError(t, err)
	return engine
}

// containersOf are the ids of all containers of the lab in dir, running or not.
func containersOf(t *testing.T, dir string) []string {
	t.Helper()
	list, err := dockerEngine(t).ContainerList(t.Context(), client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", "zmlift.lab.dir="+dir),
	})
	require.NoError(t, err)
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}
