package tunnel_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A server is an SSH server in this process: for the examples, and for host keys that no real sshd here has. It knows one user, me, by
// one key, and has commands and connections and nothing else.
type server struct {
	Addr           string
	IdentityFile   string // of the user
	KnownHostsFile string // knows the server by its first key
	dir            string
	identity       ed25519.PrivateKey
	listener       net.Listener
	done           chan struct{}
	config         *ssh.ServerConfig
	prefix         string // what its login shell does first
	wg             sync.WaitGroup
}

func newServer(hostKeys ...ssh.Signer) (*server, error) {
	return newServerAs(func(*ssh.ServerConfig) {}, hostKeys...)
}

func newServerAs(configure func(*ssh.ServerConfig), hostKeys ...ssh.Signer) (*server, error) {
	dir, err := os.MkdirTemp("", "tunnel-*")
	if err != nil {
		return nil, err
	}
	if hostKeys == nil {
		hostKeys = []ssh.Signer{newEd25519()}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{
		Addr: listener.Addr().String(), IdentityFile: filepath.Join(dir, "id"), KnownHostsFile: filepath.Join(dir, "known_hosts"),
		dir: dir, listener: listener, done: make(chan struct{}),
	}
	user, private := newKey()
	s.identity = private
	if err := s.writeIdentity(ssh.MarshalPrivateKey(private, "")); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.KnownHostsFile, []byte(s.line(hostKeys[0].PublicKey())), 0o600); err != nil {
		return nil, err
	}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "me" || string(key.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, os.ErrPermission
		}
		return nil, nil
	}}
	for _, k := range hostKeys {
		s.config.AddHostKey(k)
	}
	configure(s.config)
	s.wg.Go(s.accept)
	return s, nil
}

func (s *server) encryptIdentity(passphrase string) error {
	return s.writeIdentity(ssh.MarshalPrivateKeyWithPassphrase(s.identity, "", []byte(passphrase)))
}

func (s *server) writeIdentity(block *pem.Block, err error) error {
	if err != nil {
		return err
	}
	return os.WriteFile(s.IdentityFile, pem.EncodeToMemory(block), 0o600)
}

// line is the server's line for a known_hosts file.
func (s *server) line(key ssh.PublicKey) string {
	return knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, key) + "\n"
}

func (s *server) Close() {
	s.listener.Close()
	close(s.done)
	s.wg.Wait()
	os.RemoveAll(s.dir)
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *server) serve(c net.Conn) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.wg.Go(func() {
		<-s.done
		c.Close()
	})
	go ssh.DiscardRequests(requests) // answers no to every one, keepalives included
	for n := range channels {
		switch n.ChannelType() {
		case "session":
			ch, reqs, err := n.Accept()
			if err == nil {
				s.wg.Go(func() { s.serveCommand(ch, reqs) })
			}
		case "direct-tcpip":
			s.wg.Go(func() { serveDial(n) })
		default:
			n.Reject(ssh.UnknownChannelType, "")
		}
	}
}

func (s *server) serveCommand(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	for r := range reqs {
		if r.Type != "exec" {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		var line struct{ Text string }
		ssh.Unmarshal(r.Payload, &line)
		cmd := exec.Command("sh", "-c", s.prefix+line.Text)
		cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
		// Not cmd.Stdin = ch: Wait would wait for an input that the client need not end.
		stdin, err := cmd.StdinPipe()
		if err != nil || cmd.Start() != nil {
			return
		}
		go func() { // ends with the channel
			io.Copy(stdin, ch)
			stdin.Close()
		}()
		cmd.Wait()
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(cmd.ProcessState.ExitCode())}))
		return
	}
}

func serveDial(n ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	ssh.Unmarshal(n.ExtraData(), &to)
	far, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.ParseIP(to.Host), Port: int(to.Port)})
	if err != nil {
		n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer far.Close()
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	go func() { // ends with the channel
		io.Copy(far, ch)
		far.CloseWrite()
	}()
	io.Copy(ch, far)
}

func newKey() (ssh.Signer, ed25519.PrivateKey) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer(private), private
}

func newEd25519() ssh.Signer {
	s, _ := newKey()
	return s
}

func newECDSA() ssh.Signer {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return signer(private)
}

func signer(private any) ssh.Signer {
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		panic(err)
	}
	return s
}
