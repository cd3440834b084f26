package tunnel

import (
	"errors"
	"fmt"
	"strings"
)

// pidMark begins the line that the login shell writes before it becomes the command.
const pidMark = "tunnel-pid:"

// maxLine is what Linux takes as one argument (MAX_ARG_STRLEN); the server hands the whole line to the login shell as one.
const maxLine = 128<<10 - 1

// commandLine is what the login shell is given for argv.
func commandLine(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("tunnel: no command")
	}
	if strings.HasPrefix(argv[0], "-") {
		// exec would take it for an option; not every shell knows "exec --".
		return "", fmt.Errorf("tunnel: command %q begins with a dash", argv[0])
	}
	for _, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return "", fmt.Errorf("tunnel: %s: an argument contains a NUL, which no command line can", argv[0])
		}
	}
	line := "echo " + pidMark + "$$;exec " + quote(argv)
	if len(line) > maxLine {
		return "", fmt.Errorf("tunnel: %s: the command line is %d bytes long, %d are possible: give data on standard input", argv[0], len(line), maxLine)
	}
	return line, nil
}

// quote makes every argument one word of sh: inside single quotes only the single quote itself is special.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
