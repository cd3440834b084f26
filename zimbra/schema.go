package zimbra

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// groupPrefix stands for any mailbox group database in the keys of Survey.Schema.
const groupPrefix = "mboxgroup."

func schemaSum(schema map[string]string) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(schema)) {
		fmt.Fprintf(h, "%q=%q\n", k, schema[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// schemaDifferences names what one side has and the other has not, or has otherwise. A destination that has no group database yet is
// compared when its own script has made one.
func schemaDifferences(src, dst map[string]string) []string {
	noGroup := !slices.ContainsFunc(slices.Collect(maps.Keys(dst)), func(k string) bool { return strings.HasPrefix(k, groupPrefix) })
	var diff []string
	for k, v := range src {
		if noGroup && strings.HasPrefix(k, groupPrefix) {
			continue
		}
		if dst[k] != v {
			diff = append(diff, k)
		}
	}
	for k := range dst {
		if _, ok := src[k]; !ok {
			diff = append(diff, k)
		}
	}
	slices.Sort(diff)
	return diff
}

func byID(vs []mboxdb.Volume) map[mboxdb.VolumeID]mboxdb.Volume {
	m := make(map[mboxdb.VolumeID]mboxdb.Volume, len(vs))
	for _, v := range vs {
		m[v.ID] = v
	}
	return m
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func marshal(v any) (json.RawMessage, error) { return json.Marshal(v) }
