package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// The lab that the tests of one binary share: package state, because a test binary has no other place that outlives a test.
var shared struct {
	sync.Mutex
	lab *Lab
	err error
}

// Shared is the lab of this test binary. The first call starts it; [Main] stops it. Where no lab may or can run the test is
// skipped, saying why; when ZMLIFT_LAB names a back end that does not come up, the test fails.
func Shared(t testing.TB) *Lab {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.lab == nil && shared.err == nil {
		shared.lab, shared.err = Start(context.Background(), &Options{Log: os.Stderr})
	}
	err := shared.err
	switch {
	case err == nil:
	case errors.Is(err, ErrOff), errors.Is(err, ErrUnavailable) && os.Getenv(EnvBackend) == "":
		t.Skipf("*** NOT TESTED on real servers: %v", err)
	default:
		t.Fatal(err)
	}
	return shared.lab
}

// Main runs the tests of a package and stops their shared lab: func TestMain(m *testing.M) { lab.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if errors.Is(shared.err, ErrOff) || errors.Is(shared.err, ErrUnavailable) {
		// A skipped test says nothing without -v; this line is always seen.
		fmt.Fprintf(os.Stderr, "*** integration tests SKIPPED: %v\n", shared.err)
	}
	if shared.lab != nil {
		if err := shared.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}
