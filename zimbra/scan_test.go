package zimbra_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/zimbra"
)

func someScan() *zimbra.Scan {
	return &zimbra.Scan{
		Account: zimbra.Account{ID: "8d0d5f1c-2f5a-4e3c-9a6b-0f6b6f0f3c11", Name: "alice@example.com"}, Host: "mail1.example.com", Mailbox: 1230,
		Made: time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC), Blobs: 40312, Stopped: true,
		Bad: []zimbra.BadItem{
			{Item: 257, ModContent: 3, Volume: 1, Path: "/opt/zimbra/store/0/1230/msg/0/257-3.msg", Why: zimbra.BadMissing, Table: "mboxgroup.mail_item", Size: 2345},
			{Item: 300, ModContent: 8, Volume: 3, Path: "/opt/zimbra/hsm/0/1230/msg/0/300-8.msg", Why: zimbra.BadShort, Table: "mboxgroup.revision", Size: 99, Digest: "a,b+", Found: 7, FoundSHA: "00ff"},
		},
	}
}

func TestScanAsAFile(t *testing.T) {
	want := someScan()
	var b bytes.Buffer
	require.NoError(t, want.Write(&b))
	got, err := zimbra.ReadScan(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	require.Equal(t, want, got)

	lines := strings.SplitAfter(b.String(), "\n")
	got, err = zimbra.ReadScan(strings.NewReader(lines[0] + lines[2] + lines[3]))
	require.NoError(t, err, "a line may be taken out")
	require.Equal(t, want.Bad[1:], got.Bad)

	for n := range b.Len() - 1 { // the last byte is a line break
		_, err := zimbra.ReadScan(bytes.NewReader(b.Bytes()[:n]))
		require.Error(t, err, "cut after %d bytes", n)
	}
	for name, text := range map[string]string{
		"another version":   strings.Replace(b.String(), `"v":1`, `"v":2`, 1),
		"no first line":     strings.Join(lines[1:], ""),
		"after the last":    b.String() + lines[1],
		"missing, with sum": strings.Replace(b.String(), `"why":"short"`, `"why":"missing"`, 1),
		"bad, without sum":  strings.Replace(b.String(), `"why":"missing"`, `"why":"digest"`, 1),
		"no item":           strings.Replace(b.String(), `"item":257`, `"item":0`, 1),
		"not JSON":          lines[0] + "mail\n" + lines[3],
	} {
		_, err := zimbra.ReadScan(strings.NewReader(text))
		require.Error(t, err, name)
	}
}

// A person takes a line out of the list, and so approves of the other one.
func ExampleReadScan() {
	var file bytes.Buffer
	if err := someScan().Write(&file); err != nil { // of Mover.Scan, or of mover scan --json
		fmt.Println(err)
		return
	}
	var kept strings.Builder
	for {
		line, err := file.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		if !strings.Contains(line, "257-3.msg") {
			kept.WriteString(line)
		}
	}
	bad, err := zimbra.ReadScan(strings.NewReader(kept.String()))
	if err != nil {
		fmt.Println(err)
		return
	}
	request := zimbra.Request{Account: "alice@example.com", To: "mail2.example.com", Bad: bad}
	for _, b := range request.Bad.Bad {
		fmt.Println(b.Item, b.Why)
	}
	// Output: 300 short
}
