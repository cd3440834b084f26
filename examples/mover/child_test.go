package main

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChild(t *testing.T) {
	c := start(t, "never", "--help")
	require.Equal(t, exitDone, c.code(t))
	require.Equal(t, help(), c.out.String())
	c = start(t, "never", "status", "--config", writeConfig(t, strings.Replace(good, "[ldap]", "[lpad]", 1)))
	require.Equal(t, exitUsage, c.code(t))
	require.Contains(t, c.err.String(), "lpad: unknown key")
}

// Ctrl-C ends a plan that waits for a server which does not answer.
func TestChildInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted := make(chan net.Conn, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	defer func() { l.Close(); <-done }()
	text := strings.Replace(good, "ldap://ldap.example.com:389\"", "ldap://"+l.Addr().String()+"\"\nstart_tls = \"never\"", 1)
	text = strings.Replace(text, `mysql_password_env = "MAIL2"`, `mysql_password = "three"`, 1)
	c := start(t, "never", "plan", "alice@example.com", "--to", "mail2.example.com", "--config", writeConfig(t, text))
	conn := <-accepted
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1)) // it has asked
	require.NoError(t, err)
	require.NoError(t, c.Process.Signal(os.Interrupt))
	c.waitFor(t, "stopping")
	require.Equal(t, exitUnfinished, c.code(t), c.err.String())
}

// A server that is not there is a problem of the plan.
func TestChildUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	text := strings.Replace(good, "ldap://ldap.example.com:389\"", "ldap://"+addr+"\"\nstart_tls = \"never\"", 1)
	text = strings.Replace(text, `mysql_password_env = "MAIL2"`, `mysql_password = "three"`, 1)
	c := start(t, "never", "plan", "alice@example.com", "--to", "mail2.example.com", "--config", writeConfig(t, text))
	require.Equal(t, exitProblems, c.code(t), c.err.String())
	require.Contains(t, c.out.String(), "directory (ldap://"+addr+")")
}
