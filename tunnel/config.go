package tunnel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ConfigOptions are the knobs of [FromConfig]. nil is what ssh does.
type ConfigOptions struct {
	Files []string // in this order, and all must exist; nil: ~/.ssh/config and /etc/ssh/ssh_config, which need not
	Home  string   // what ~ is; "": the user's home directory
}

// FromConfig is what ssh's configuration files say about a host: the chain for [Open] or [New], jump hosts first. name is what one would
// give to ssh: an alias of a Host entry or a machine's name, with USER@ before it if need be. What the files do not say is as with ssh: the
// user who runs the program, port 22, the keys ~/.ssh/id_*, ~/.ssh/known_hosts, the agent of SSH_AUTH_SOCK. Other fields of the Hosts,
// such as Passphrase, are the caller's to set. Nothing is dialled.
//
// Used are HostName, Port, User, IdentityFile, IdentitiesOnly, IdentityAgent, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, ProxyJump,
// ConnectTimeout, Ciphers and ServerAliveInterval (of the last host); Host, Include, and Match by all, final, host, originalhost, user and
// localuser; the tokens %% %d %h %i %k %n %p %r %u, ${VARIABLE} and ~. An option that decides who is at the other end or how it is reached
// and is none of these, such as ProxyCommand or Match exec, is an error that names the file and the line, and so is an option that nobody
// knows. What concerns terminals, forwardings and algorithms is ignored. StrictHostKeyChecking is ignored as well: host keys are verified,
// whatever it says.
func FromConfig(name string, opts *ConfigOptions) ([]Host, error) {
	me, home, err := currentUser()
	if err != nil {
		return nil, err
	}
	c := configuration{me: me, home: home}
	if opts != nil {
		c.home, c.files = cmp.Or(opts.Home, home), opts.Files
	}
	c.mustExist = c.files != nil
	if c.files == nil {
		c.files = []string{filepath.Join(c.home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	}
	var d destination
	d.user, d.host = cutUser(name)
	hosts, err := c.chain(d, 0)
	if err != nil {
		return nil, fmt.Errorf("tunnel: ssh configuration of %s: %w", name, err)
	}
	return hosts, nil
}

type configuration struct {
	files     []string
	mustExist bool
	me, home  string
}

// A destination is what ssh is told, or what ProxyJump names. What is not empty goes before the files.
type destination struct{ user, host, port string }

// maxJumps is more hosts than anybody has in a row.
const maxJumps = 16

// chain is the way to d: through its jump hosts, of which the first may have some of its own.
func (c *configuration) chain(d destination, depth int) ([]Host, error) {
	e, h, err := c.host(d)
	if err != nil {
		return nil, err
	}
	jump := e.options["proxyjump"]
	if jump == nil || strings.EqualFold(jump.args[0], "none") {
		return []Host{h}, nil
	}
	if depth == maxJumps {
		return nil, jump.wrong("%s is reached through itself", d.host)
	}
	text, err := jump.value()
	if err != nil {
		return nil, err
	}
	var hosts []Host
	for i, text := range strings.Split(text, ",") {
		via, err := parseJump(text)
		if err != nil {
			return nil, jump.wrong("%v", err)
		}
		var hop []Host
		if i == 0 {
			hop, err = c.chain(via, depth+1)
		} else {
			var one Host
			_, one, err = c.host(via)
			hop = []Host{one}
		}
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, hop...)
	}
	return append(hosts, h), nil
}

func cutUser(s string) (user, host string) {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return s[:at], s[at+1:]
	}
	return "", s
}

// parseJump reads [user@]host[:port], with or without ssh:// before it.
func parseJump(s string) (d destination, err error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "ssh://")
	d.user, d.host = cutUser(s)
	if host, port, err := net.SplitHostPort(d.host); err == nil {
		d.host, d.port = host, port
	}
	d.host = strings.Trim(d.host, "[]")
	if d.host == "" || d.port != "" && !isPort(d.port) {
		return d, fmt.Errorf("%q is no [USER@]HOST[:PORT]", s)
	}
	return d, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// host reads the files for one host.
func (c *configuration) host(d destination) (*entry, Host, error) {
	e := &entry{alias: d.host, target: d.host, home: c.home, me: c.me, options: map[string]*directive{}}
	if d.host == "" {
		return nil, Host{}, errors.New("no host")
	}
	for option, value := range map[string]string{"user": d.user, "port": d.port} {
		if value != "" {
			e.options[option] = &directive{option: option, args: []string{value}}
		}
	}
	err := e.readFiles(c.files, c.mustExist)
	if err != nil {
		return nil, Host{}, err
	}
	h, err := e.host()
	return e, h, err
}

// host makes a Host of what was read.
func (e *entry) host() (h Host, err error) {
	name, err := e.hostName()
	if err != nil {
		return h, err
	}
	port := "22"
	user, uerr := e.userName()
	errs := []error{
		uerr,
		e.one("port", func(d *directive, s string) error {
			port = s
			if !isPort(s) {
				return d.wrong("%q is no port", s)
			}
			return nil
		}),
	}
	h.User, h.Addr = user, net.JoinHostPort(name, port)
	if err := errors.Join(errs...); err != nil {
		return h, err
	}
	errs = []error{
		e.one("hostkeyalias", func(_ *directive, s string) error { h.HostKeyAlias = strings.ToLower(s); return nil }),
		e.one("connecttimeout", func(d *directive, s string) (err error) { h.Timeout, err = d.seconds(s); return err }),
		e.one("serveraliveinterval", func(d *directive, s string) (err error) { h.KeepAlive, err = d.seconds(s); return err }),
		e.one("ciphers", func(d *directive, s string) (err error) { h.Ciphers, err = d.ciphers(s); return err }),
		e.one("identitiesonly", func(d *directive, s string) error {
			h.IdentitiesOnly = strings.EqualFold(s, "yes")
			if !h.IdentitiesOnly && !strings.EqualFold(s, "no") {
				return d.wrong("want yes or no")
			}
			return nil
		}),
		e.agent(&h),
		e.keys(&h),
		e.knownHosts(&h),
	}
	return h, errors.Join(errs...)
}

// one calls f with an option's only value, if the files have the option.
func (e *entry) one(option string, f func(d *directive, value string) error) error {
	d := e.options[option]
	if d == nil {
		return nil
	}
	s, err := d.value()
	if err != nil {
		return err
	}
	return f(d, s)
}

func (e *entry) hostName() (name string, err error) {
	name = e.alias
	err = e.one("hostname", func(d *directive, s string) error {
		name, err = e.expand(d, s, map[byte]string{'h': e.alias})
		return err
	})
	return strings.ToLower(name), err
}

func (e *entry) userName() (name string, err error) {
	name = e.me
	err = e.one("user", func(_ *directive, s string) error { name = s; return nil })
	return name, err
}

func (d *directive) seconds(s string) (time.Duration, error) {
	if strings.EqualFold(s, "none") {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, d.wrong("%q is no number of seconds", s)
	}
	return time.Duration(n) * time.Second, nil
}

// ciphers reads a list, which +, - or ^ makes one of changes to ours. A cipher that we do not have cannot be agreed on.
func (d *directive) ciphers(s string) ([]string, error) {
	ours := ciphers()
	change := s[0]
	if strings.IndexByte("+-^", change) >= 0 {
		s = s[1:]
	} else {
		change = 0
	}
	patterns := strings.Split(s, ",")
	named := func(c string) bool { return matchesAny(patterns, c) }
	var list []string
	switch change {
	case '+': // all that we have are on
		list = ours
	case '-':
		list = slices.DeleteFunc(ours, named)
	case '^':
		list = append(list, slices.DeleteFunc(slices.Clone(ours), func(c string) bool { return !named(c) })...)
		list = append(list, slices.DeleteFunc(ours, named)...)
	default:
		for _, c := range patterns {
			if slices.Contains(ours, c) {
				list = append(list, c)
			}
		}
	}
	if len(list) == 0 {
		return nil, d.wrong("none that is supported: want some of %s", strings.Join(ciphers(), ","))
	}
	return list, nil
}

func (e *entry) agent(h *Host) error {
	h.Agent = os.Getenv("SSH_AUTH_SOCK")
	return e.one("identityagent", func(d *directive, s string) (err error) {
		switch {
		case s == "none":
			h.Agent = ""
		case s == "SSH_AUTH_SOCK":
		case strings.HasPrefix(s, "$") && !strings.HasPrefix(s, "${"):
			h.Agent = os.Getenv(s[1:])
		default:
			h.Agent, err = e.path(d, s, h)
		}
		return err
	})
}

func (e *entry) keys(h *Host) error {
	for _, d := range e.identities {
		s, err := d.value()
		if err != nil {
			return err
		}
		if s, err = e.path(d, s, h); err != nil {
			return err
		}
		if s != "none" && !slices.Contains(h.IdentityFiles, s) {
			h.IdentityFiles = append(h.IdentityFiles, s)
		}
	}
	if e.identities != nil {
		return nil
	}
	var usual []string
	for _, name := range []string{"id_rsa", "id_ecdsa", "id_ed25519"} {
		file := filepath.Join(e.home, ".ssh", name)
		usual = append(usual, file)
		if _, err := os.Stat(file); err == nil {
			h.IdentityFiles = append(h.IdentityFiles, file)
		}
	}
	if h.IdentityFiles == nil && h.Agent == "" {
		h.IdentityFiles = usual // whose absence is then what the login reports
	}
	return nil
}

func (e *entry) knownHosts(h *Host) error {
	for option, usual := range map[string][]string{
		"userknownhostsfile":   {filepath.Join(e.home, ".ssh", "known_hosts"), filepath.Join(e.home, ".ssh", "known_hosts2")},
		"globalknownhostsfile": {"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
	} {
		files := usual
		if d := e.options[option]; d != nil {
			files = nil
			for _, s := range d.args {
				if s == "none" {
					continue
				}
				s, err := e.path(d, s, h)
				if err != nil {
					return err
				}
				files = append(files, s)
			}
		}
		if option == "userknownhostsfile" {
			h.KnownHostsFiles = append(files, h.KnownHostsFiles...) // the user's first: hints name that
		} else {
			h.KnownHostsFiles = append(h.KnownHostsFiles, files...)
		}
	}
	if len(h.KnownHostsFiles) == 0 {
		h.KnownHostsFiles = []string{os.DevNull}
	}
	return nil
}

// path expands the name of a file.
func (e *entry) path(d *directive, s string, h *Host) (string, error) {
	name, port, err := net.SplitHostPort(h.Addr)
	if err != nil {
		panic(err) // it was joined
	}
	s, err = e.expand(d, s, map[byte]string{
		'd': e.home, 'h': name, 'i': strconv.Itoa(os.Getuid()), 'k': cmp.Or(h.HostKeyAlias, e.alias), 'n': e.alias, 'p': port, 'r': h.User,
		'u': e.me,
	})
	if err != nil {
		return "", err
	}
	switch rest, ok := strings.CutPrefix(s, "~/"); {
	case ok:
		return filepath.Join(e.home, rest), nil
	case strings.HasPrefix(s, "~"):
		return "", d.wrong("%s: somebody else's ~ is not supported", s)
	}
	return s, nil
}

// expand replaces the tokens and ${VARIABLE}.
func (e *entry) expand(d *directive, s string, tokens map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%' && i+1 < len(s):
			i++
			value, ok := tokens[s[i]]
			if s[i] == '%' {
				value, ok = "%", true
			}
			if !ok {
				return "", d.wrong("%s: %%%c is not supported here", s, s[i])
			}
			b.WriteString(value)
		case strings.HasPrefix(s[i:], "${"):
			name, _, ok := strings.Cut(s[i+2:], "}")
			value, set := os.LookupEnv(name)
			if !ok || !set {
				return "", d.wrong("%s: there is no variable %s", s, name)
			}
			b.WriteString(value)
			i += len("${}") - 1 + len(name)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
