package mboxdbtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zmlift/zmlift/mboxdb"
)

// A Rewriter is a small function for CopyOptions.Rewrite and RestoreOptions.Rewrite: it maps the mailbox id, the group's database and the
// locators, and nothing else. It reads the dumps of package mboxdb only. Package sqlrewrite is for use; this one is for tests, which may edit
// what goes through.
type Rewriter struct {
	To, From mboxdb.Mailbox
	Volumes  map[mboxdb.VolumeID]mboxdb.VolumeID // a locator that is not in it is an error
	// Edit gets the values of each row, as SQL, after they were mapped; a nil row is left out. The table is quoted: "`mboxgroup7`.`watch`".
	Edit func(table string, row []string) []string
}

// Rewrite copies a dump from src to dst.
func (r Rewriter) Rewrite(ctx context.Context, dst io.Writer, src io.Reader) error {
	in, out := bufio.NewReaderSize(src, 1<<20), bufio.NewWriterSize(dst, 1<<20)
	from, to := fmt.Sprintf("INSERT INTO `mboxgroup%d`.", r.From.Group), fmt.Sprintf("INSERT INTO `mboxgroup%d`.", r.To.Group)
	var table string
	locator := -1
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(line, "INSERT INTO "):
			if rest, ok := strings.CutPrefix(line, from); ok {
				line = to + rest
			}
			name, columns, _ := strings.Cut(strings.TrimPrefix(line, "INSERT INTO "), " (")
			table, locator = name, -1
			for i, c := range strings.Split(strings.TrimSuffix(columns, ") VALUES\n"), ",") {
				if c == "`locator`" {
					locator = i
				}
			}
		case strings.HasPrefix(line, "("):
			row := splitRow(line[1 : len(line)-3])
			if row[0] != r.From.ID.String() {
				return fmt.Errorf("%s: a row of another mailbox", table)
			}
			row[0] = r.To.ID.String()
			if locator >= 0 && row[locator] != "NULL" {
				if row[locator], err = r.locator(row[locator]); err != nil {
					return fmt.Errorf("%s: %w", table, err)
				}
			}
			if r.Edit != nil {
				row = r.Edit(table, row)
			}
			if row == nil {
				continue
			}
			line = "(" + strings.Join(row, ",") + ")" + line[len(line)-2:]
		}
		if _, err := out.WriteString(line); err != nil {
			return err
		}
	}
}

func (r Rewriter) locator(value string) (string, error) {
	for from, to := range r.Volumes {
		if value == "'"+from.String()+"'" {
			return "'" + to.String() + "'", nil
		}
	}
	return "", errors.New("no locator " + value + " in the map")
}

// splitRow cuts a row at its commas.
func splitRow(row string) []string {
	var out []string
	start, quoted := 0, false
	for i := 0; i < len(row); i++ {
		switch {
		case row[i] == '\\':
			i++
		case row[i] == '\'':
			quoted = !quoted
		case row[i] == ',' && !quoted:
			out = append(out, row[start:i])
			start = i + 1
		}
	}
	return append(out, row[start:])
}
