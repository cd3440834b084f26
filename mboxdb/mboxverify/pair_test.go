package mboxverify_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb/mboxverify"
)

func TestCompareIntegers(t *testing.T) {
	ascending := []string{"-9223372036854775808", "-10", "-9", "-1", "0", "1", "9", "10", "9223372036854775807", "18446744073709551615"}
	for i, a := range ascending {
		for j, b := range ascending {
			got := mboxverify.CompareIntegers([]byte(a), []byte(b))
			require.Equal(t, i < j, got < 0, "%s, %s", a, b)
			require.Equal(t, i == j, got == 0, "%s, %s", a, b)
		}
	}
}
