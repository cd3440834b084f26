package mboxdb_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/zmlift/zmlift/internal/lab"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := beChild(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	lab.Main(m)
}
