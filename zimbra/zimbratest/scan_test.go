package zimbratest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/zimbra"
	"github.com/zmlift/zmlift/zimbra/zimbratest"
)

// TestScanOfWhom: a scan says what is wrong with the question, and is for stores that can be scanned.
func TestScanOfWhom(t *testing.T) {
	m, err := zimbra.New(zimbratest.New().Process("mover", zimbratest.Fault{}).Config())
	require.NoError(t, err)
	_, err = m.Scan(t.Context(), zimbra.ScanRequest{Account: "nobody@example.com"})
	var pre *zimbra.PreflightError
	require.ErrorAs(t, err, &pre)
	require.True(t, pre.Has(zimbra.CodeNoAccount))
	_, err = m.Scan(t.Context(), zimbra.ScanRequest{Account: zimbratest.Alice})
	var config *zimbra.ConfigError
	require.ErrorAs(t, err, &config)
}
