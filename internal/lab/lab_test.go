package lab_test

import (
	"testing"

	"github.com/zmlift/zmlift/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestShared(t *testing.T) {
	l := lab.Shared(t)
	for _, s := range l.Stores {
		var v string
		if err := s.DB(t).QueryRow("SELECT value FROM zimbra.config WHERE name = 'db.version'").Scan(&v); err != nil || v != "118" {
			t.Errorf("%s: db.version %q, %v", s.Host, v, err)
		}
	}
}
