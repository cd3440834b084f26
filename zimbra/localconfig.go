package zimbra

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Localconfig is what a move needs of a mailstore's localconfig.xml. Keys that the file does not have are at mailboxd's own defaults
// (common: localconfig/LC).
type Localconfig struct {
	Groups              int // zimbra_mailbox_groups
	CheckpointFrequency int // zimbra_mailbox_change_checkpoint_frequency
}

// A LocalconfigError says what is wrong with a localconfig.xml. It holds no value of a key: some are passwords.
type LocalconfigError struct {
	Key string // "" when the file as a whole is meant
	Msg string
}

func (e *LocalconfigError) Error() string {
	if e.Key == "" {
		return "localconfig.xml: " + e.Msg
	}
	return "localconfig.xml: " + e.Key + ": " + e.Msg
}

// ReadLocalconfig reads a localconfig.xml. A file that is cut short, or that asks for a layout of databases, volumes or index that cannot be
// moved, is a *LocalconfigError.
func ReadLocalconfig(r io.Reader) (Localconfig, error) {
	var file struct {
		XMLName xml.Name `xml:"localconfig"`
		Keys    []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value"`
		} `xml:"key"`
	}
	if err := xml.NewDecoder(r).Decode(&file); err != nil {
		var syntax *xml.SyntaxError
		if errors.As(err, &syntax) {
			return Localconfig{}, &LocalconfigError{Msg: fmt.Sprintf("line %d: not well-formed XML, or cut short", syntax.Line)}
		}
		return Localconfig{}, &LocalconfigError{Msg: err.Error()}
	}
	values := map[string]string{}
	for _, k := range file.Keys {
		values[k.Name] = strings.TrimSpace(k.Value)
	}
	for _, key := range []string{"debug_disable_mailbox_group", "debug_external_mailbox_directory", "zimbra_relative_volume_path"} {
		if v := values[key]; v != "" && !strings.EqualFold(v, "false") && v != "0" {
			return Localconfig{}, &LocalconfigError{key, "is set: mailboxes of such a layout cannot be moved"}
		}
	}
	if v := values["zimbra_class_index_store_factory"]; v != "" && !strings.Contains(v, "Lucene") {
		return Localconfig{}, &LocalconfigError{"zimbra_class_index_store_factory", "the search index is not Lucene's"}
	}
	var c Localconfig
	var err error
	if c.Groups, err = positive(values, "zimbra_mailbox_groups", 100); err != nil {
		return Localconfig{}, err
	}
	if c.CheckpointFrequency, err = positive(values, "zimbra_mailbox_change_checkpoint_frequency", 100); err != nil {
		return Localconfig{}, err
	}
	return c, nil
}

func positive(values map[string]string, key string, unset int) (int, error) {
	v, ok := values[key]
	if !ok || v == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return 0, &LocalconfigError{key, "is not a positive number"}
	}
	return int(n), nil
}
