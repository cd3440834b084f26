package mboxdb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A range of ids is read by the index that leads to it, the primary key if that does; everything by whatever the server likes.
func TestRangesHaveAnIndex(t *testing.T) {
	other, unlike := index{"i_type", []string{"mailbox_id", "type"}}, index{"i_conv", []string{"conv_id", "mailbox_id"}}
	for _, test := range []struct {
		indexes []index
		want    string
	}{
		{nil, ""},
		{[]index{other, unlike, {"i_conv_id(9)", []string{"mailbox_id", "conv_id(9)"}}, {"short", []string{"mailbox_id"}}}, ""},
		{[]index{other, {"i_conv_id", []string{"mailbox_id", "conv_id"}}, {"i_later", []string{"mailbox_id", "conv_id", "hash"}}}, "i_conv_id"},
		{[]index{{"i_conv_id", []string{"mailbox_id", "conv_id"}}, {"PRIMARY", []string{"mailbox_id", "conv_id", "hash"}}, other}, "PRIMARY"},
	} {
		table := Table{Database: groupKind, Name: "open_conversation", bucket: "conv_id", indexes: test.indexes,
			Columns: []Column{{Name: "mailbox_id", kind: number}, {Name: "conv_id", kind: number}, {Name: "hash", kind: text, Charset: "utf8mb3"}}}
		require.Equal(t, test.want, table.rangeIndex())
		require.Equal(t, test.want != "", table.ranged())
		some := []span{{1, 5}, {9, 9}}
		for _, stmt := range []string{sqlHashes(table, 7, 3, nil, nil, some), sqlPackedHashes(table, 7, 3, nil, nil, some)} {
			if test.want == "" {
				require.NotContains(t, stmt, "FORCE")
				require.Contains(t, stmt, " FROM `mboxgroup7`.`open_conversation` WHERE `mailbox_id` = 3 AND (")
				continue
			}
			require.Contains(t, stmt, " FROM `mboxgroup7`.`open_conversation` FORCE INDEX (`"+test.want+"`) WHERE `mailbox_id` = 3 AND (")
		}
		require.NotContains(t, sqlPackedHashes(table, 7, 3, nil, nil, []span{everything}), "FORCE")
		require.NotContains(t, sqlHashes(table, 7, 3, nil, nil, nil), "FORCE")
		table.bucket = ""
		require.False(t, table.ranged())
	}
}
