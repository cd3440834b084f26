package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// programs are what the servers of a lab need. Debian keeps some of them outside an ordinary user's PATH.
var programs = []string{"mariadbd", "mariadb-install-db", "mariadb", "slapd", "slapadd", "sshd", "tar", "find"}

// program finds a program's absolute path; sshd insists on being started by it.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s", name)
}

// checkPrograms says whether this machine can run the servers as processes, naming every missing program.
func checkPrograms() error {
	var missing []string
	for _, name := range programs {
		if _, err := program(name); err != nil {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return fmt.Errorf("no %s (Debian: run scripts/install-deps.sh)", strings.Join(missing, ", "))
	}
	return nil
}

// processes runs every server as a child of this process, below one directory.
type processes struct {
	dir     string
	nursery *nursery
}

func newProcesses(dir string) *processes {
	return &processes{dir: dir, nursery: newNursery()}
}

func (p *processes) close() error {
	p.nursery.close()
	return endStrays(p.dir)
}

// endStrays kills what commands over ssh left behind when their sshd was killed under them, such as a half-way mariadb-install-db, which
// would go on writing below the lab's directory. They are known by that directory in their arguments and by having no terminal: a person
// who looks at a file there has one.
func endStrays(dir string) error {
	for range 100 {
		found := false
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil || pid == os.Getpid() {
				continue
			}
			args, err := os.ReadFile(name)
			if err != nil || !strings.Contains(string(args), dir+"/") || hasTerminal(pid) {
				continue
			}
			found = true
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
		if !found {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("lab: processes below %s do not end", dir)
}

// hasTerminal reads the process's tty_nr, the fifth field after its name (proc(5)).
func hasTerminal(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true // gone, or not ours to look at
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return len(fields) < 5 || fields[4] != "0"
}

func (p *processes) machine(ctx context.Context, name string, keys *sshFiles) (*machine, error) {
	root := filepath.Join(p.dir, name)
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	sshd, err := program("sshd")
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		// sshd as root wants its privilege separation directory; a system without a running sshd has none.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	m := &machine{name: name, root: root, bind: "127.0.0.1", keys: keys, user: me.Username, hostKey: keys.hostKeys[name]}
	m.daemon = func(ctx context.Context, name string, argv []string) error {
		path, err := program(argv[0])
		if err != nil {
			return err
		}
		_, err = p.nursery.start(name, m.root+"/"+name+".log", append([]string{path}, argv[1:]...)...)
		return err
	}
	err = retryPorts(ctx, func() error {
		ports, err := freePorts(2)
		if err != nil {
			return err
		}
		m.sshPort, m.mysqlPort = ports[0], ports[1]
		config := filepath.Join(root, "sshd_config")
		if err := os.WriteFile(config, sshdConfig(m.bind, m.sshPort, keys.hostKeyFile(name), keys.authorizedFile, needsPAM()), 0o644); err != nil {
			return err
		}
		c, err := p.nursery.start("sshd", root+"/sshd.log", sshd, "-D", "-e", "-f", config)
		if err != nil {
			return err
		}
		return c.until(ctx, m.answers)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: sshd: %w%s", name, err, tail(root+"/sshd.log"))
	}
	return m, nil
}

func (p *processes) directory(ctx context.Context, d *directoryFiles) (int, error) {
	root := filepath.Join(p.dir, "ldap")
	if err := d.write(root); err != nil {
		return 0, err
	}
	slapadd, err := program("slapadd")
	if err != nil {
		return 0, err
	}
	slapd, err := program("slapd")
	if err != nil {
		return 0, err
	}
	if out, err := exec.CommandContext(ctx, slapadd, d.loadArgs(root)...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("slapadd: %w: %s", err, out)
	}
	var port int
	err = retryPorts(ctx, func() error {
		ports, err := freePorts(1)
		if err != nil {
			return err
		}
		port = ports[0]
		c, err := p.nursery.start("slapd", root+"/slapd.log", append([]string{slapd}, d.serveArgs(root, "127.0.0.1", port)...)...)
		if err != nil {
			return err
		}
		return c.until(ctx, d.ldap(port).wait)
	})
	if err != nil {
		return 0, fmt.Errorf("slapd: %w%s", err, tail(root+"/slapd.log"))
	}
	return port, nil
}

var errDied = errors.New("died at once")

// until waits until the server answers; errDied when the process ended first.
func (c *child) until(ctx context.Context, answers func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with this function, which cancels ctx
		select {
		case <-c.dead:
			cancel(errDied)
		case <-ctx.Done():
		}
	}()
	if err := answers(ctx); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// retryPorts runs f again, with other ports, when its server died at once: somebody may have taken the port between our
// look and the server's bind.
func retryPorts(ctx context.Context, f func() error) error {
	var err error
	for range 3 {
		if err = f(); err == nil || !errors.Is(err, errDied) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Kernels take the ports of outgoing connections from above. A server that is killed and started again must find its own still free.
const lowestPort, portRange = 10000, 20000

// freePorts finds ports nobody listens on at this moment.
func freePorts(n int) ([]int, error) {
	var ports []int
	for tries := 100; len(ports) < n; tries-- {
		port := lowestPort + rand.IntN(portRange)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		switch {
		case err == nil:
			defer l.Close() // only now, so that the ports differ
			ports = append(ports, port)
		case tries <= 0 || !errors.Is(err, syscall.EADDRINUSE):
			return nil, err
		}
	}
	return ports, nil
}

// tail is the end of a server's log, for the error of a server that did not come up.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		return ""
	}
	return "\n" + string(b[max(0, len(b)-2000):])
}
