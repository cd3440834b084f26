package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// Every container of a lab says whose it is, so that the next lab can tell those whose owner is gone.
const (
	labelDir  = "zmlift.lab.dir"  // the lab's directory, which its owner holds locked
	labelHost = "zmlift.lab.host" // where that directory is: an engine may serve several machines
)

// engineTimeout is how long an engine may take to say that it is there; it takes milliseconds.
const engineTimeout = 5 * time.Second

// dialEngine finds the Docker engine, as testcontainers does, and has it answer.
func dialEngine(ctx context.Context) (*testcontainers.DockerClient, error) {
	// Its reaper is an image that must be pulled. We clean up ourselves, by label and by a pipe that breaks with us.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	tclog.SetDefault(tclog.NewNoopLogger())
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err == nil {
		_, err = engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	}
	if err != nil {
		return nil, fmt.Errorf("no Docker engine answers: %w", err)
	}
	return engine, nil
}

// checkContainers says whether this machine can run the servers in containers. It makes the image, which may take minutes the
// first time.
func checkContainers(ctx context.Context, logw io.Writer) error {
	engine, err := dialEngine(ctx)
	if err != nil {
		return err
	}
	_, err = labImage(ctx, engine, logw)
	return err
}

// containers runs every machine in a container of its own.
type containers struct {
	dir    string
	engine *testcontainers.DockerClient
	image  string
	labels map[string]string

	mu    sync.Mutex
	boxes []*box
}

func newContainers(ctx context.Context, dir string, logw io.Writer) (*containers, error) {
	engine, err := dialEngine(ctx)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	if err := sweepContainers(ctx, engine, host); err != nil {
		return nil, fmt.Errorf("remove what killed labs left: %w", err)
	}
	image, err := labImage(ctx, engine, logw)
	if err != nil {
		return nil, err
	}
	return &containers{dir: dir, engine: engine, image: image, labels: map[string]string{labelDir: dir, labelHost: host}}, nil
}

// sweepContainers removes the containers of labs on this host whose owner is gone.
func sweepContainers(ctx context.Context, engine *testcontainers.DockerClient, host string) error {
	list, err := engine.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", labelHost+"="+host),
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list.Items {
		if !ownerLives(c.Labels[labelDir]) {
			errs = append(errs, removeContainer(ctx, engine, c.ID))
		}
	}
	return errors.Join(errs...)
}

// ownerLives says whether somebody holds the lock of a lab's directory.
func ownerLives(dir string) bool {
	f, err := os.OpenFile(dir+"/lock", os.O_RDWR, 0)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) // unreadable: another user's, who will see to it
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// removeContainer ends a container and returns when the engine has forgotten it.
func removeContainer(ctx context.Context, engine *testcontainers.DockerClient, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // conflict: it is being removed already
		return err
	}
	return poll(ctx, func() error {
		_, err := engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if errdefs.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("container %.12s is still there", id))
	})
}

func (c *containers) close() error {
	c.mu.Lock()
	boxes := c.boxes
	c.boxes = nil
	c.mu.Unlock()
	errs := make([]error, len(boxes))
	var wg sync.WaitGroup
	for i, b := range boxes {
		wg.Go(func() { errs[i] = b.close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *containers) machine(ctx context.Context, name string, keys *sshFiles) (*machine, error) {
	const config, hostKeyFile, authorizedFile = "/etc/lab/sshd_config", "/etc/lab/ssh_host_key", "/etc/lab/authorized_keys"
	hostKey, err := os.ReadFile(keys.hostKeyFile(name))
	if err != nil {
		return nil, err
	}
	authorized, err := os.ReadFile(keys.authorizedFile)
	if err != nil {
		return nil, err
	}
	m := &machine{name: name, bind: "0.0.0.0", keys: keys, user: "root", hostKey: keys.hostKeys[name]}
	b, err := c.start(ctx, boxSpec{
		name: name, ports: 2, memory: "/opt/zimbra",
		files: func(ports []int) map[string][]byte {
			return map[string][]byte{
				config:         sshdConfig(m.bind, ports[0], hostKeyFile, authorizedFile, "no"),
				hostKeyFile:    hostKey,
				authorizedFile: authorized,
			}
		},
	})
	if err != nil {
		return nil, err
	}
	m.sshPort, m.mysqlPort, m.daemon = b.ports[0], b.ports[1], b.daemon
	err = b.daemon(ctx, "sshd", []string{"/usr/sbin/sshd", "-D", "-e", "-f", config})
	if err == nil {
		err = m.answers(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: sshd: %w%s", name, err, b.log(ctx, "sshd"))
	}
	return m, nil
}

func (c *containers) directory(ctx context.Context, d *directoryFiles) (int, error) {
	const root = "/etc/lab/ldap"
	b, err := c.start(ctx, boxSpec{
		name: "ldap", ports: 1, memory: root + "/data",
		files: func([]int) map[string][]byte {
			files := map[string][]byte{}
			for name, content := range d.all(root) {
				files[root+"/"+name] = content
			}
			return files
		},
	})
	if err != nil {
		return 0, err
	}
	if err := b.exec(ctx, append([]string{"/usr/sbin/slapadd"}, d.loadArgs(root)...)); err != nil {
		return 0, err
	}
	port := b.ports[0]
	err = b.daemon(ctx, "slapd", append([]string{"/usr/sbin/slapd"}, d.serveArgs(root, "0.0.0.0", port)...))
	if err == nil {
		err = d.ldap(port).wait(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("slapd: %w%s", err, b.log(ctx, "slapd"))
	}
	return port, nil
}

// A boxSpec says what makes one container.
type boxSpec struct {
	name   string
	ports  int    // how many ports, published under the same numbers on 127.0.0.1
	memory string // a directory that lies in memory
	files  func(ports []int) map[string][]byte
}

// A box is a running container in which nothing runs yet but a shell that waits for its input to end. The input is a
// connection of this process, so that the container ends with it, however it ends; then the engine removes it.
type box struct {
	name  string
	ports []int
	c     *containers
	testcontainers.Container
	input client.HijackedResponse
}

// start starts a container, again with other ports when somebody took one in the meantime.
func (c *containers) start(ctx context.Context, spec boxSpec) (b *box, err error) {
	for range 3 {
		var ports []int
		if ports, err = freePorts(spec.ports); err != nil {
			return nil, err
		}
		if b, err = c.startOnce(ctx, spec, ports); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", spec.name, err)
	}
	return b, nil
}

func (c *containers) startOnce(ctx context.Context, spec boxSpec, ports []int) (*box, error) {
	b := &box{name: spec.name, ports: ports, c: c}
	bindings := network.PortMap{}
	var exposed []string
	for _, port := range ports {
		exposed = append(exposed, strconv.Itoa(port)+"/tcp")
		bindings[network.MustParsePort(exposed[len(exposed)-1])] = []network.PortBinding{
			{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: strconv.Itoa(port)},
		}
	}
	var files []testcontainers.ContainerFile
	for name, content := range spec.files(ports) {
		files = append(files, testcontainers.ContainerFile{Reader: strings.NewReader(string(content)), ContainerFilePath: name, FileMode: 0o600})
	}
	attach := func(ctx context.Context, started testcontainers.Container) error {
		res, err := c.engine.ContainerAttach(ctx, started.GetContainerID(), client.ContainerAttachOptions{Stream: true, Stdin: true})
		b.input = res.HijackedResponse
		return err
	}
	var err error
	b.Container, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image:        c.image,
			Cmd:          []string{"sh", "-c", "read -r end"},
			ExposedPorts: exposed,
			Labels:       maps.Clone(c.labels), // which the library writes to
			Files:        files,
			// Big enough for every test; what is not used takes no memory.
			Tmpfs: map[string]string{spec.memory: "rw,exec,mode=0755,size=8g"},
			ConfigModifier: func(config *container.Config) {
				config.Hostname = spec.name
				config.OpenStdin, config.StdinOnce = true, true
			},
			HostConfigModifier: func(config *container.HostConfig) {
				config.PortBindings = bindings
				config.AutoRemove = true
				config.Init = new(true) // somebody who waits for orphans
			},
			LifecycleHooks: []testcontainers.ContainerLifecycleHooks{{PreStarts: []testcontainers.ContainerHook{attach}}},
		},
		Started: true,
		Logger:  tclog.NewNoopLogger(),
	})
	if err != nil {
		if b.Container == nil {
			return nil, err
		}
		return nil, errors.Join(err, b.close())
	}
	c.mu.Lock()
	c.boxes = append(c.boxes, b)
	c.mu.Unlock()
	return b, nil
}

func (b *box) close() error {
	if b.input.Conn != nil {
		b.input.Close()
	}
	return removeContainer(context.Background(), b.c.engine, b.GetContainerID())
}

// exec runs argv and waits for it.
func (b *box) exec(ctx context.Context, argv []string) error {
	status, out, err := b.Exec(ctx, argv, tcexec.Multiplexed())
	if err != nil {
		return fmt.Errorf("%s in container %s: %w", argv[0], b.name, err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		return fmt.Errorf("%s in container %s: %w", argv[0], b.name, err)
	}
	if status != 0 {
		return fmt.Errorf("%s in container %s: exit status %d: %s", argv[0], b.name, status, text)
	}
	return nil
}

// daemon is machine.daemon.
func (b *box) daemon(ctx context.Context, name string, argv []string) error {
	return b.exec(ctx, append([]string{"sh", "-c", `"$@" </dev/null >>"$0" 2>&1 &`, logFile(name)}, argv...))
}

func logFile(daemon string) string { return "/" + daemon + ".log" }

// log is the end of a daemon's log, for the error of one that did not come up.
func (b *box) log(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), engineTimeout)
	defer cancel()
	_, out, err := b.Exec(ctx, []string{"tail", "-n", "20", logFile(name)}, tcexec.Multiplexed())
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(out)
	return "\n" + string(text)
}
