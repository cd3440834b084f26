package mboxdb

import "strings"

// Only returns the part of a difference that keep takes: what a delta that goes by something else than digests would find. Tables that are
// taken as a whole have id 0.
func (d *Difference) Only(keep func(table string, id int64) bool) *Difference {
	out := &Difference{of: d.of, round: d.round}
	d.tried, out.tried = true, true // of what both name, one finds some applied already
	for _, t := range d.tables {
		kept := *t
		kept.cells = nil
		for _, c := range t.cells {
			cell := *c
			cell.ids, cell.gone = nil, nil
			for _, s := range c.ids {
				for id := s.lo; id <= s.hi; id++ {
					if keep(t.src.String(), id) {
						cell.ids = append(cell.ids, span{id, id})
					}
				}
			}
			if len(cell.ids) > 0 || t.src.bucket == "" && keep(t.src.String(), 0) {
				kept.cells = append(kept.cells, &cell)
			}
		}
		out.tables = append(out.tables, &kept)
	}
	return out
}

// SQLForgetBuckets is the statement that forgets buckets of tables.
func SQLForgetBuckets(buckets ...[]string) string { return sqlForgetBuckets + sqlBucketsOf(buckets) }

// InPieces has the copy work in pieces of a few rows.
func (c *Copy) InPieces() { c.sizes = sizes{digest: 100, atOnce: 50, write: 40, load: 3} }

// Long are the tables whose digests did not fit into one answer.
func (c *Copy) Long() (tables []string) {
	c.long.m.Range(func(t, _ any) bool { tables = append(tables, t.(string)); return true })
	return tables
}

// SQLRowText is what a row's digest is of.
func SQLRowText(t Table) string {
	return strings.TrimSuffix(strings.TrimPrefix(sqlRowDigest(t, nil, map[VolumeID]VolumeID{1: 5}), "SHA1("), ")")
}
