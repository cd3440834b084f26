package mboxdb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/internal/lab"
	"github.com/zmlift/zmlift/mboxdb"
)

func TestTables(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	db := openDB(t, s)
	testGroup(t, s, 9003)
	_, err := db.Tables(t.Context(), 9003)
	require.ErrorIs(t, err, mboxdb.ErrNoGroup)
	require.NoError(t, db.EnsureGroup(t.Context(), 9003))
	tables, err := db.Tables(t.Context(), 9003)
	require.NoError(t, err)
	require.Len(t, tables, 27)
	moved := 0
	place := map[string]int{}
	for i, table := range tables {
		place[table.String()] = i
		if table.Moved() {
			moved++
		}
	}
	require.Equal(t, 25, moved)
	require.Equal(t, 26, place["zimbra.mailbox"], "the mailbox row is last")
	for _, table := range tables { // parents before children
		for _, fk := range table.ForeignKeys {
			if parent, ok := place[fk.Table]; ok && fk.Table != "zimbra.mailbox" {
				require.LessOrEqual(t, parent, place[table.String()], "%s refers to %s", table, fk.Table)
			}
		}
	}
	byName := map[string]mboxdb.Table{}
	for _, table := range tables {
		byName[table.String()] = table
	}
	require.Equal(t, mboxdb.Never, byName["zimbra.volume_blobs"].Class)
	require.Equal(t, mboxdb.Never, byName["zimbra.deleted_account"].Class)
	require.Equal(t, []string{"mailbox_id", "id"}, byName["mboxgroup.mail_item"].Key)
	require.Equal(t, []string{"mailbox_id", "tag_id", "item_id"}, byName["mboxgroup.tagged_item"].Key, "no primary key")
	require.Nil(t, byName["mboxgroup.event"].Key)
	require.Nil(t, byName["mboxgroup.tombstone"].Key)

	zimbra, err := db.Tables(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, zimbra, 9)
}

// What is not known stops everything, unless a policy names it.
func TestUnknownTables(t *testing.T) {
	s := lab.Shared(t).Stores[1]
	testGroup(t, s, 9003)
	require.NoError(t, openDB(t, s).EnsureGroup(t.Context(), 9003))
	root := s.RootDB(t)
	for _, stmt := range []string{
		"CREATE TABLE mboxgroup9003.ext_notes (mailbox_id INT UNSIGNED NOT NULL, note TEXT) ENGINE=InnoDB",
		"CREATE TABLE mboxgroup9003.ext_upper (MAILBOX_ID INT UNSIGNED NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE mboxgroup9003.ext_isam (mailbox_id INT UNSIGNED NOT NULL) ENGINE=MyISAM",
		"CREATE TABLE mboxgroup9003.ext_float (mailbox_id INT UNSIGNED NOT NULL, x DOUBLE) ENGINE=InnoDB",
		"CREATE TABLE mboxgroup9003.not_ours (id INT) ENGINE=InnoDB",
		"CREATE VIEW mboxgroup9003.a_view AS SELECT mailbox_id FROM mboxgroup9003.tag",
		"ALTER TABLE mboxgroup9003.tag ADD COLUMN newcolumn INT",
		"ALTER TABLE mboxgroup9003.watch ADD COLUMN twice INT AS (item_id * 2) PERSISTENT",
		"ALTER TABLE mboxgroup9003.event DROP FOREIGN KEY fk_event_mailbox_id",
		"ALTER TABLE mboxgroup9003.event ENGINE=Aria",
	} {
		mustExec(t, root, stmt)
	}
	tests := []struct {
		name     string
		policies map[string]mboxdb.TablePolicy
		want     []string
	}{
		{"no policy", nil, []string{
			"mboxgroup.event (engine Aria has no transactions)",
			"mboxgroup.ext_float", "mboxgroup.ext_isam", "mboxgroup.ext_notes", "mboxgroup.ext_upper",
			"mboxgroup.tag.newcolumn",
			"mboxgroup.watch.twice (type int generated cannot be copied exactly)",
		}},
		{"copy", map[string]mboxdb.TablePolicy{
			"mboxgroup.ext_float": mboxdb.PolicyCopy, "mboxgroup.ext_isam": mboxdb.PolicyCopy, "mboxgroup.ext_notes": mboxdb.PolicyCopy,
			"mboxgroup.ext_upper": mboxdb.PolicySkip, "mboxgroup.tag": mboxdb.PolicyCopy, "mboxgroup.event": mboxdb.PolicySkip,
		}, []string{
			"mboxgroup.event (engine Aria has no transactions)",
			"mboxgroup.ext_float.x (type double cannot be copied exactly)",
			"mboxgroup.ext_isam (engine MyISAM has no transactions)",
			"mboxgroup.watch.twice (type int generated cannot be copied exactly)",
		}},
		{"a policy that means nothing", map[string]mboxdb.TablePolicy{"mboxgroup.ext_notes": "maybe"}, []string{
			"mboxgroup.event (engine Aria has no transactions)",
			"mboxgroup.ext_float", "mboxgroup.ext_isam", "mboxgroup.ext_notes", "mboxgroup.ext_upper",
			"mboxgroup.tag.newcolumn",
			"mboxgroup.watch.twice (type int generated cannot be copied exactly)",
		}},
	}
	for _, tt := range tests {
		db := mboxdb.New(s.DB(t), &mboxdb.Options{Tables: tt.policies})
		_, err := db.Tables(t.Context(), 9003)
		var unknown *mboxdb.UnknownTableError
		require.ErrorAs(t, err, &unknown, tt.name)
		require.Equal(t, tt.want, unknown.Tables, tt.name)
		_, err = db.Schema(t.Context(), 9003)
		require.ErrorAs(t, err, &unknown, tt.name)
	}

	// Rows in a table that nobody knows are rows all the same.
	mustExec(t, root, "INSERT INTO mboxgroup9003.ext_notes VALUES (4711, 'x'), (4711, 'y'), (4712, 'z')")
	mustExec(t, root, "INSERT INTO mboxgroup9003.ext_upper VALUES (4711)")
	var left *mboxdb.LeftoversError
	require.ErrorAs(t, openDB(t, s).Leftovers(t.Context(), 4711, 9003), &left)
	require.Equal(t, map[string]int64{"mboxgroup9003.ext_notes": 2, "mboxgroup9003.ext_upper": 1}, left.Rows)
	require.EqualError(t, left, "rows under mailbox id 4711: mboxgroup9003.ext_notes 2, mboxgroup9003.ext_upper 1")
}

func TestSchemaOfTwoServers(t *testing.T) {
	l := lab.Shared(t)
	var schemas [2]mboxdb.Schema
	for i, s := range l.Stores {
		testGroup(t, s, 9003)
		db := openDB(t, s)
		require.NoError(t, db.EnsureGroup(t.Context(), 9003))
		var err error
		schemas[i], err = db.Schema(t.Context(), 9003)
		require.NoError(t, err)
	}
	require.Nil(t, mboxdb.Differences(schemas[0], schemas[1]))
	require.Equal(t, "varchar(44) utf8mb3_bin", schemas[0]["mboxgroup.mail_item.blob_digest"])
	require.Equal(t, "yes", schemas[0]["mboxgroup.mail_item unique (mailbox_id,folder_id,name)"])
	require.Equal(t, "mailbox_id,id RESTRICT", schemas[0]["mboxgroup.mail_item references mboxgroup.mail_item (mailbox_id,folder_id)"])
	require.Equal(t, "id CASCADE", schemas[0]["mboxgroup.event references zimbra.mailbox (mailbox_id)"])

	// The order of columns and their defaults make no difference, types, collations and keys do.
	root := l.Stores[1].RootDB(t)
	mustExec(t, root, "ALTER TABLE mboxgroup9003.watch MODIFY target VARCHAR(36) NOT NULL DEFAULT 'x' AFTER item_id")
	changed := func() []string {
		schema, err := openDB(t, l.Stores[1]).Schema(t.Context(), 9003)
		require.NoError(t, err)
		return mboxdb.Differences(schemas[0], schema)
	}
	require.Nil(t, changed())
	mustExec(t, root, "ALTER TABLE mboxgroup9003.watch MODIFY target VARCHAR(36) CHARACTER SET utf8 COLLATE utf8_bin NOT NULL")
	mustExec(t, root, "ALTER TABLE mboxgroup9003.tag MODIFY color INT")
	mustExec(t, root, "ALTER TABLE mboxgroup9003.tag ADD UNIQUE KEY i_color (mailbox_id, color)")
	mustExec(t, root, "ALTER TABLE mboxgroup9003.event DROP FOREIGN KEY fk_event_mailbox_id, DROP COLUMN arg")
	require.Equal(t, []string{
		"mboxgroup.event references zimbra.mailbox (mailbox_id): id CASCADE at the source, absent at the destination",
		"mboxgroup.event.arg: varchar(10240) utf8mb3_general_ci at the source, absent at the destination",
		"mboxgroup.tag unique (mailbox_id,color): absent at the source, yes at the destination",
		"mboxgroup.tag.color: bigint at the source, int at the destination",
		"mboxgroup.watch.target: varchar(36) utf8mb3_general_ci at the source, varchar(36) utf8mb3_bin at the destination",
	}, changed())
}

func TestSpellings(t *testing.T) {
	for in, want := range map[string]string{
		"utf8": "utf8mb3", "utf8_bin": "utf8mb3_bin", "utf8mb3": "utf8mb3", "utf8mb3_general_ci": "utf8mb3_general_ci", "utf8mb4": "utf8mb4",
		"utf8mb4_bin": "utf8mb4_bin", "latin1": "latin1", "": "",
	} {
		require.Equal(t, want, mboxdb.CharsetSpelling(in), in)
	}
	for in, want := range map[string]string{
		"int(10) unsigned": "int unsigned", "INT UNSIGNED": "int unsigned", "tinyint(4)": "tinyint", "bigint(20)": "bigint", "int": "int",
		"varchar(64)": "varchar(64)", "decimal(10,2)": "decimal(10,2)", "enum('a(1)','b')": "enum('a(1)','b')", "datetime": "datetime",
	} {
		require.Equal(t, want, mboxdb.ColumnSpelling(in), in)
	}
	for in, want := range map[string]bool{
		"": false, "auto_increment": false, "DEFAULT_GENERATED": false, "DEFAULT_GENERATED on update CURRENT_TIMESTAMP": false,
		"VIRTUAL GENERATED": true, "STORED GENERATED": true, "PERSISTENT": true,
	} {
		require.Equal(t, want, mboxdb.Generated(in), in)
	}
}

func ExampleDifferences() {
	src := mboxdb.Schema{"zimbra.mailbox.comment": "varchar(255) utf8mb3_general_ci", "zimbra.mailbox.id": "int unsigned"}
	dst := mboxdb.Schema{"zimbra.mailbox.comment": "varchar(64) utf8mb3_general_ci", "zimbra.mailbox.id": "int unsigned", "zimbra.mailbox.new": "int"}
	fmt.Println(strings.Join(mboxdb.Differences(src, dst), "\n"))
	// Output:
	// zimbra.mailbox.comment: varchar(255) utf8mb3_general_ci at the source, varchar(64) utf8mb3_general_ci at the destination
	// zimbra.mailbox.new: absent at the source, int at the destination
}
