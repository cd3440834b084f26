package tunnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/zmlift/zmlift/tunnel"
)

func ExampleTunnel_Run() {
	s, err := newServer() // an SSH server in this process
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	t, err := tunnel.Open(ctx, tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()

	// Arguments arrive as they are; no shell sees the dollar or the quotes.
	err = t.Run(ctx, []string{"printf", "%s\n", `it's $HOME`}, nil, os.Stdout, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = t.Run(ctx, []string{"sort"}, strings.NewReader("pear\napple\n"), os.Stdout, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = t.Run(ctx, []string{"cat", "/no/such/file"}, nil, os.Stdout, nil)
	var exit *tunnel.ExitError
	if errors.As(err, &exit) {
		fmt.Println("exit status", exit.ExitCode(), "-", exit.Stderr)
	}
	// Output:
	// it's $HOME
	// apple
	// pear
	// exit status 1 - cat: /no/such/file: No such file or directory
}

func ExampleTunnel_DialContext() {
	s, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	greeter, err := greet("220 far side ready\r\n") // a server that listens on the loopback of the far side
	if err != nil {
		log.Fatal(err)
	}
	defer greeter.Close()
	ctx := context.Background()
	t, err := tunnel.Open(ctx, tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()

	conn, err := t.DialContext(ctx, "tcp", greeter.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(greeting))
	// Output: 220 far side ready
}

// A port for a tool that cannot be given a dialer. It is gone when ctx ends.
func ExampleTunnel_ListenAll() {
	s, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	greeter, err := greet("220 far side ready\r\n")
	if err != nil {
		log.Fatal(err)
	}
	defer greeter.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t, err := tunnel.Open(ctx, tunnel.Host{Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()

	ports, err := t.ListenAll(ctx, tunnel.Forward{Local: "127.0.0.1:0", Remote: greeter.Addr().String()})
	if err != nil {
		log.Fatal(err) // names every port that is taken
	}
	defer ports[0].Close()
	conn, err := net.Dial("tcp", ports[0].Addr().String()) // what the tool does
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(greeting))
	// Output: 220 far side ready
}

// An encrypted key: the passphrase is asked for when the server would take the key, and comes from wherever secrets are kept.
func ExampleHost_passphrase() {
	s, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.encryptIdentity("open sesame"); err != nil {
		log.Fatal(err)
	}
	t, err := tunnel.Open(context.Background(), tunnel.Host{
		Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: s.KnownHostsFile,
		Passphrase: func(_ context.Context, file string) ([]byte, error) {
			fmt.Println("asked for", filepath.Base(file))
			return []byte("open sesame"), nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	fmt.Println("let in")
	// Output:
	// asked for id
	// let in
}

// The entry of an ssh_config file: the chain of hosts that leads to it.
func ExampleFromConfig() {
	dir, err := os.MkdirTemp("", "tunnel-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config")
	text := `
Host mail1
	HostName mail1.internal
	User zimbra
	ProxyJump carol@gate.example.com:2222
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	hosts, err := tunnel.FromConfig("mail1", &tunnel.ConfigOptions{Files: []string{config}, Home: dir}) // nil: ~/.ssh/config
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range hosts {
		fmt.Println(h.User, h.Addr)
	}
	// tunnel.Open(ctx, hosts...) goes there.

	// Output:
	// carol gate.example.com:2222
	// zimbra mail1.internal:22
}

// A host that the known_hosts file does not have is refused, with what it takes to add it.
func ExampleHostKeyError() {
	s, err := newServer()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	_, err = tunnel.Open(context.Background(), tunnel.Host{
		Addr: s.Addr, User: "me", IdentityFile: s.IdentityFile, KnownHostsFile: "/no/known_hosts",
	})
	var key *tunnel.HostKeyError
	if errors.As(err, &key) {
		fmt.Println(errors.Is(err, tunnel.ErrHostKey), key.Algorithm, len(key.Known))
		fmt.Println(strings.Contains(err.Error(), key.Fingerprint), strings.Contains(err.Error(), ">> /no/known_hosts"))
	}
	// Output:
	// true ssh-ed25519 0
	// true true
}

// greet listens on the loopback and sends text to everyone.
func greet(text string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, bytes.NewReader([]byte(text)))
			c.Close()
		}
	}()
	return l, nil
}
