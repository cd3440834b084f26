package mboxverify_test

import (
	"testing"

	"github.com/zmlift/zmlift/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
