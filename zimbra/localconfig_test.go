package zimbra_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/zimbra"
)

func TestReadLocalconfig(t *testing.T) {
	key := func(name, value string) string { return `<key name="` + name + `"><value>` + value + `</value></key>` }
	for _, tc := range []struct {
		name, keys string
		want       zimbra.Localconfig
		bad        string // what the error names
	}{
		{"defaults", key("zimbra_mysql_password", "s3cret"), zimbra.Localconfig{Groups: 100, CheckpointFrequency: 100}, ""},
		{"set", key("zimbra_mailbox_groups", " 7 ") + key("zimbra_mailbox_change_checkpoint_frequency", "20"), zimbra.Localconfig{Groups: 7, CheckpointFrequency: 20}, ""},
		{"empty value", key("zimbra_mailbox_groups", ""), zimbra.Localconfig{Groups: 100, CheckpointFrequency: 100}, ""},
		{"no group", key("zimbra_mailbox_groups", "0"), zimbra.Localconfig{}, "zimbra_mailbox_groups"},
		{"no number", key("zimbra_mailbox_groups", "many"), zimbra.Localconfig{}, "zimbra_mailbox_groups"},
		{"a database per mailbox", key("debug_disable_mailbox_group", "true"), zimbra.Localconfig{}, "debug_disable_mailbox_group"},
		{"said to be off", key("debug_disable_mailbox_group", "FALSE"), zimbra.Localconfig{Groups: 100, CheckpointFrequency: 100}, ""},
		{"relative volumes", key("zimbra_relative_volume_path", "true"), zimbra.Localconfig{}, "zimbra_relative_volume_path"},
		{"Lucene by name", key("zimbra_class_index_store_factory", "com.zimbra.cs.index.LuceneIndex$Factory"), zimbra.Localconfig{Groups: 100, CheckpointFrequency: 100}, ""},
		{"another index", key("zimbra_class_index_store_factory", "com.zimbra.cs.index.ElasticSearchIndex$Factory"), zimbra.Localconfig{}, "zimbra_class_index_store_factory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := zimbra.ReadLocalconfig(strings.NewReader("<?xml version=\"1.0\"?>\n<localconfig>" + tc.keys + "</localconfig>"))
			if tc.bad == "" {
				require.NoError(t, err)
				require.Equal(t, tc.want, got)
				return
			}
			var le *zimbra.LocalconfigError
			require.ErrorAs(t, err, &le)
			require.Equal(t, tc.bad, le.Key)
		})
	}
}

func TestReadLocalconfigCutShort(t *testing.T) {
	const whole = `<localconfig><key name="zimbra_mysql_password"><value>s3cret</value></key><key name="zimbra_mailbox_groups"><value>7</value></key></localconfig>`
	for n := range len(whole) {
		_, err := zimbra.ReadLocalconfig(strings.NewReader(whole[:n]))
		var le *zimbra.LocalconfigError
		require.ErrorAs(t, err, &le, "cut after %d bytes", n)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
