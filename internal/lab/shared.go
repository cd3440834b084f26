package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// The labs that the tests of one binary share: package state, because a test binary has no other place that outlives a test.
// The key is the back end that was asked for.
var shared struct {
	sync.Mutex
	labs map[string]sharedLab
}

type sharedLab struct {
	lab *Lab
	err error
}

// Shared is the lab of this test binary. The first call starts it; [Main] stops it. Where no lab may or can run the test is
// skipped, saying why; when ZMLIFT_LAB names a back end that does not come up, the test fails.
func Shared(t testing.TB) *Lab {
	t.Helper()
	return sharedOn(t, "")
}

// SharedOn is the same on one back end, Processes or Containers, for the test that is to run on each. If that is the one that
// Shared runs on, they are one lab. The test is also skipped when ZMLIFT_LAB names the other one.
func SharedOn(t testing.TB, backend string) *Lab {
	t.Helper()
	return sharedOn(t, backend)
}

func sharedOn(t testing.TB, backend string) *Lab {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	s, ok := shared.labs[backend]
	if !ok {
		s.lab, s.err = startShared(backend)
		if shared.labs == nil {
			shared.labs = map[string]sharedLab{}
		}
		shared.labs[backend] = s
	}
	skipOrFail(t, s.err)
	return s.lab
}

// Own is a lab that this test has for itself and may break; it is closed with the test. opts is as for [Start]. It skips or fails where
// Shared does.
func Own(t testing.TB, opts *Options) *Lab {
	t.Helper()
	var o Options
	if opts != nil {
		o = *opts
	}
	var l *Lab
	var err error
	if o.Backend, err = permitted(t.Context(), o.Backend, os.Stderr); err == nil {
		l, err = Start(t.Context(), &o)
	}
	skipOrFail(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// skipOrFail ends a test that has no lab. Where nobody asked for one this is no failure.
func skipOrFail(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrOff), errors.Is(err, ErrUnavailable) && os.Getenv(EnvBackend) == "":
		t.Skipf("*** NOT TESTED on real servers: %v", err)
	default:
		t.Fatal(err)
	}
}

// startShared starts a lab, or finds that the one asked for runs already under another key.
func startShared(backend string) (*Lab, error) {
	ctx := context.Background()
	name, err := permitted(ctx, backend, os.Stderr)
	if err != nil {
		return nil, err
	}
	for _, s := range shared.labs {
		if s.lab != nil && s.lab.Backend == name {
			return s.lab, nil
		}
	}
	return Start(ctx, &Options{Backend: name, Log: os.Stderr})
}

// Main runs the tests of a package and stops their shared labs: func TestMain(m *testing.M) { lab.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	var closed []*Lab
	for _, s := range shared.labs {
		if errors.Is(s.err, ErrOff) || errors.Is(s.err, ErrUnavailable) {
			Note("*** integration tests SKIPPED: %v", s.err)
		}
		if s.lab == nil || slices.Contains(closed, s.lab) {
			continue
		}
		closed = append(closed, s.lab)
		Note("integration tests ran on %s", s.lab.Backend)
		if err := s.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// EnvNotes is the environment variable that names the file for notes.
const EnvNotes = "ZMLIFT_NOTES"

// Note says something that whoever runs the tests must see although they pass: go test keeps the output of a package that passed to itself.
// It goes to standard error, and as a line to the file that EnvNotes names, which `make test` prints at its end.
func Note(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	fmt.Fprint(os.Stderr, line)
	name := os.Getenv(EnvNotes)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		_, err = f.WriteString(line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "note not kept:", err)
	}
}
