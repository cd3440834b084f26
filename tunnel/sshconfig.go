package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
)

// A directive is one line of an ssh_config file.
type directive struct {
	option string // in lower case
	args   []string
	file   string
	line   int
}

func (d *directive) wrong(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %s", d.file, d.line, d.option, fmt.Sprintf(format, args...))
}

// value is the only argument.
func (d *directive) value() (string, error) {
	if len(d.args) != 1 || d.args[0] == "" {
		return "", d.wrong("want one value, not %d", len(d.args))
	}
	return d.args[0], nil
}

// An entry is what the files say about one host, as ssh reads them: of each option the first that applies, of IdentityFile all.
type entry struct {
	alias      string // what was asked for
	target     string // what Host compares: the alias
	home       string
	me         string // who asks
	options    map[string]*directive
	identities []*directive
	ignored    []string // patterns of IgnoreUnknown
	final      bool     // it is the second reading, in which Match final applies
	asksFinal  bool
}

// readFiles reads the files, and again if one has a Match final: that applies once everything else is known.
func (e *entry) readFiles(files []string, mustExist bool) error {
	for {
		for _, f := range files {
			err := e.readFile(f, 0)
			if err != nil && (mustExist || !errors.Is(err, fs.ErrNotExist)) {
				return err
			}
		}
		if e.final || !e.asksFinal {
			return nil
		}
		name, err := e.hostName()
		if err != nil {
			return err
		}
		// As with ssh, the name is settled by then, and what Host compares.
		e.final, e.target = true, name
		e.options["hostname"] = &directive{option: "hostname", args: []string{strings.ReplaceAll(name, "%", "%%")}}
	}
}

const maxIncludes = 16

func (e *entry) readFile(name string, depth int) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	applies := true
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		d := &directive{file: name, line: n}
		if d.option, d.args, err = splitLine(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		switch {
		case d.option == "":
		case len(d.args) == 0:
			err = d.wrong("without a value")
		case d.option == "host":
			applies = matchesAny(d.args, e.target)
		case d.option == "match":
			applies, err = e.match(d)
		case !applies:
		case d.option == "include":
			err = e.include(d, depth)
		default:
			err = e.take(d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// include reads the files that d names. One that does not exist is no mistake, as with ssh.
func (e *entry) include(d *directive, depth int) error {
	if depth == maxIncludes {
		return d.wrong("files that include each other")
	}
	base := filepath.Join(e.home, ".ssh")
	if filepath.Dir(d.file) == "/etc/ssh" || strings.HasPrefix(d.file, "/etc/ssh/") {
		base = "/etc/ssh"
	}
	for _, pattern := range d.args {
		if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
			pattern = filepath.Join(e.home, rest)
		} else if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(base, pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil {
			return d.wrong("%v", err)
		}
		for _, f := range files {
			if err := e.readFile(f, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// match evaluates a Match line, from left to right until something does not apply.
func (e *entry) match(d *directive) (bool, error) {
	applies := true
	for args := d.args; len(args) > 0; {
		name, arg, attached := strings.Cut(args[0], "=")
		args = args[1:]
		name, negated := strings.CutPrefix(strings.ToLower(name), "!")
		is := true
		switch name {
		case "all":
		case "final":
			e.asksFinal = true
			is = e.final
		case "host", "originalhost", "user", "localuser":
			if !attached {
				if len(args) == 0 {
					return false, d.wrong("%s without a pattern", name)
				}
				arg, args = args[0], args[1:]
			}
			subject, err := e.subject(name)
			if err != nil {
				return false, err
			}
			if strings.HasSuffix(name, "host") { // of which letters' case is no part
				arg, subject = strings.ToLower(arg), strings.ToLower(subject)
			}
			is = matchesAny(strings.Split(arg, ","), subject)
		default:
			if !applies {
				return false, nil // ssh would not look at it either
			}
			return false, d.wrong("%s is not supported", name)
		}
		applies = applies && is != negated
	}
	return applies, nil
}

// subject is what a criterion of Match is about.
func (e *entry) subject(criterion string) (string, error) {
	switch criterion {
	case "host":
		return e.hostName()
	case "user":
		return e.userName()
	case "localuser":
		return e.me, nil
	}
	return e.alias, nil
}

// take remembers a directive, unless there was one before.
func (e *entry) take(d *directive) error {
	switch kind := options[d.option]; {
	case d.option == "ignoreunknown":
		for _, arg := range d.args {
			e.ignored = append(e.ignored, strings.Split(strings.ToLower(arg), ",")...)
		}
		return nil
	case d.option == "identityfile":
		seen := func(i *directive) bool { return i.file == d.file && i.line == d.line } // at the first reading
		if !slices.ContainsFunc(e.identities, seen) {
			e.identities = append(e.identities, d)
		}
		return nil
	case kind == used:
	case kind == ignored, kind == "" && matchesAny(e.ignored, d.option):
		return nil
	case kind == "":
		return d.wrong("is not known here")
	case len(d.args) != 1 || !strings.Contains(" "+kind+" ", " "+strings.ToLower(d.args[0])+" "):
		if d.option == "proxycommand" && e.options["proxyjump"] != nil {
			return nil // whichever comes first
		}
		return d.wrong("%s is not supported, only %s", strings.Join(d.args, " "), strings.ReplaceAll(kind, " ", " or "))
	case d.option == "proxycommand":
		d.option = "proxyjump" // "none" says the same of both
	}
	if e.options[d.option] == nil {
		e.options[d.option] = d
	}
	return nil
}

// The kinds of options. Any other is a list of the only values that are supported.
const (
	used    = "used"
	ignored = "ignored"
)

// options says what becomes of every option of OpenSSH. Those that decide who is at the other end, or how it is reached, are obeyed or
// refused. Ignored are those that concern programs with a terminal, forwardings, and kinds of login that this package has not; algorithms,
// of which it has none that would have to be turned off; and those that would weaken the verification of host keys, which nothing does here.
var options = func() map[string]string {
	m := map[string]string{
		"addressfamily": "any", "canonicalizehostname": "no none", "certificatefile": "none", "knownhostscommand": "none", "pkcs11provider": "none",
		"proxycommand": "none", "proxyusefdpass": "no", "pubkeyauthentication": "yes unbound host-bound", "remotecommand": "none",
		"revokedhostkeys": "none",
	}
	for kind, names := range map[string]string{
		used: `hostname port user identityfile identitiesonly identityagent userknownhostsfile globalknownhostsfile hostkeyalias proxyjump
			connecttimeout ciphers serveraliveinterval ignoreunknown`,
		ignored: `addkeystoagent batchmode canonicaldomains canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames
			casignaturealgorithms challengeresponseauthentication channeltimeout checkhostip clearallforwardings compression compressionlevel
			connectionattempts controlmaster controlpath controlpersist dynamicforward enableescapecommandline enablesshkeysign escapechar
			exitonforwardfailure fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports
			gssapiauthentication gssapiclientidentity gssapidelegatecredentials gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey
			gssapiserveridentity gssapitrustdns hashknownhosts hostbasedacceptedalgorithms hostbasedauthentication hostbasedkeytypes
			hostkeyalgorithms ipqos kbdinteractiveauthentication kbdinteractivedevices kexalgorithms localcommand localforward loglevel logverbose
			macs nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming passwordauthentication permitlocalcommand
			permitremoteopen preferredauthentications pubkeyacceptedalgorithms pubkeyacceptedkeytypes rekeylimit remoteforward requesttty
			requiredrsasize securitykeyprovider sendenv serveralivecountmax sessiontype setenv stdinnull streamlocalbindmask streamlocalbindunlink
			stricthostkeychecking syslogfacility tag tcpkeepalive tunnel tunneldevice updatehostkeys verifyhostkeydns visualhostkey xauthlocation`,
	} {
		for name := range strings.FieldsSeq(names) {
			m[name] = kind
		}
	}
	return m
}()

// splitLine cuts a line into its option, in lower case, and its arguments. Quotes and backslashes are read as OpenSSH does since 8.7.
func splitLine(line string) (option string, args []string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", nil, nil
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(line), nil, nil
	}
	option, rest := strings.ToLower(line[:end]), strings.TrimLeft(line[end:], " \t")
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = after
	}
	args, err = splitWords(rest)
	if err != nil {
		err = fmt.Errorf("%s: %w", option, err)
	}
	return option, args, err
}

func splitWords(s string) ([]string, error) {
	var words []string
	for i := 0; i < len(s); {
		switch s[i] {
		case ' ', '\t':
			i++
			continue
		case '#':
			return words, nil
		}
		var word strings.Builder
		quote := byte(0)
		for ; i < len(s) && (quote != 0 || s[i] != ' ' && s[i] != '\t'); i++ {
			switch c := s[i]; {
			case c == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == '"' || s[i+1] == '\'' || quote == 0 && s[i+1] == ' '):
				i++
				word.WriteByte(s[i])
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote != 0 && c == quote:
				quote = 0
			default:
				word.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, errors.New("a quote without its end")
		}
		words = append(words, word.String())
	}
	return words, nil
}

// matchesAny says whether s matches one of the patterns and none of those that begin with an exclamation mark.
func matchesAny(patterns []string, s string) bool {
	found := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if wildcard(p, s) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// wildcard knows * for any text and ? for any one character.
func wildcard(pattern, s string) bool {
	for ; pattern != ""; pattern = pattern[1:] {
		switch {
		case pattern[0] == '*':
			for i := range len(s) + 1 {
				if wildcard(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
			return false
		}
		s = s[1:]
	}
	return s == ""
}

// currentUser is whoever runs this program.
func currentUser() (name, home string, err error) {
	u, err := user.Current()
	if err != nil {
		return "", "", fmt.Errorf("tunnel: who am I: %w", err)
	}
	return u.Username, u.HomeDir, nil
}
