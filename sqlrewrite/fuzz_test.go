package sqlrewrite_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"github.com/zmlift/zmlift/sqlrewrite"
)

// seeds are the inputs of all other tests.
func seeds(f *testing.F) {
	f.Add([]byte(movedIn), uint64(0))
	for _, c := range good {
		f.Add([]byte(c.in), uint64(len(c.in)))
	}
	for i, c := range slices.Concat(refused, missed) {
		f.Add([]byte(strings.Replace(c, "§", "", 1)), uint64(i))
	}
	for i, c := range slices.Concat(kept, evasions) {
		f.Add([]byte(c), uint64(i))
	}
}

// A chunked reader returns pieces of random lengths, now and then with the error.
type chunked struct {
	in  []byte
	rnd *rand.Rand
}

func (c *chunked) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), c.rnd.IntN(9))], c.in)
	if c.in = c.in[n:]; len(c.in) == 0 && (n == 0 || c.rnd.IntN(2) == 0) {
		return n, io.EOF
	}
	return n, nil
}

func compile(t testing.TB, rules sqlrewrite.Rules) *sqlrewrite.Rewriter {
	t.Helper()
	r, err := sqlrewrite.Compile(rules)
	require.NoError(t, err)
	return r
}

// inverse turns rules around, where that can be done.
func inverse(rules sqlrewrite.Rules) sqlrewrite.Rules {
	turn := func(m map[string]string) map[string]string {
		back := map[string]string{}
		for from, to := range m {
			back[to] = from
		}
		return back
	}
	var columns []sqlrewrite.Column
	for _, c := range rules.Columns {
		c.Map = turn(c.Map)
		if to, ok := rules.Databases[c.Database]; ok {
			c.Database = to
		}
		columns = append(columns, c)
	}
	rules.Columns, rules.Databases = columns, turn(rules.Databases)
	return rules
}

// FuzzIdentity: rules that change nothing keep every byte of what they let through; of the rest comes out a prefix.
func FuzzIdentity(f *testing.F) {
	seeds(f)
	same := caseRules()
	for i := range same.Columns {
		m := map[string]string{}
		for from := range same.Columns[i].Map {
			m[from] = from
		}
		same.Columns[i].Map = m
	}
	same.Databases = map[string]string{"old": "old"}
	none := compile(f, sqlrewrite.Rules{})
	identity := compile(f, same)
	f.Fuzz(func(t *testing.T, in []byte, _ uint64) {
		for _, r := range []*sqlrewrite.Rewriter{none, identity} {
			var out bytes.Buffer
			stats, err := r.Rewrite(t.Context(), &out, bytes.NewReader(in))
			if err == nil && !bytes.Equal(in, out.Bytes()) {
				t.Fatalf("%q became %q", in, out.Bytes())
			}
			if !bytes.HasPrefix(in, out.Bytes()) {
				t.Fatalf("%q became %q, with error %v", in, out.Bytes(), err)
			}
			for _, n := range stats.Changed {
				require.Zero(t, n)
			}
			var serr *sqlrewrite.SyntaxError
			if err != nil && (!errors.As(err, &serr) || serr.Offset < 0 || serr.Offset > int64(len(in)) ||
				serr.Line != 1+bytes.Count(in[:serr.Offset], []byte{'\n'})) {
				t.Fatalf("error %#v", err)
			}
		}
	})
}

// FuzzChunks: the pieces in which the input comes make no difference, not to the output and not to the error.
func FuzzChunks(f *testing.F) {
	seeds(f)
	r := compile(f, caseRules())
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		var whole bytes.Buffer
		stats, err := r.Rewrite(t.Context(), &whole, bytes.NewReader(in))
		for name, way := range ways {
			for i, src := range []io.Reader{
				iotest.OneByteReader(bytes.NewReader(in)),
				iotest.DataErrReader(bytes.NewReader(in)),
				&chunked{in, rand.New(rand.NewPCG(seed, 1))},
			} {
				var out bytes.Buffer
				got, gerr := way(r, t.Context(), &out, src)
				require.Equal(t, err, gerr, "%s, %d", name, i)
				require.Equal(t, whole.String(), out.String(), "%s, %d", name, i)
				require.Equal(t, stats, got, "%s, %d", name, i)
			}
		}
	})
}

// FuzzCut: what comes out of the beginning of an input is a prefix of what comes out of the whole. Only where the whole is refused it may be
// longer: the beginning may end where nothing is wrong yet, in the middle of what is refused, or behind the comments before what is no SQL.
func FuzzCut(f *testing.F) {
	seeds(f)
	r := compile(f, caseRules())
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		var whole, part bytes.Buffer
		_, refused := r.Rewrite(t.Context(), &whole, bytes.NewReader(in))
		cut := in[:seed%(uint64(len(in))+1)]
		_, err := r.Rewrite(t.Context(), &part, bytes.NewReader(cut))
		if !bytes.HasPrefix(whole.Bytes(), part.Bytes()) && (refused == nil || !bytes.HasPrefix(part.Bytes(), whole.Bytes())) {
			t.Fatalf("%q becomes %q (%v), and cut to %q %q (%v)", in, whole.Bytes(), refused, cut, part.Bytes(), err)
		}
	})
}

// FuzzInverse: a map that loses nothing and its inverse give the input back, where both let it through, but for other spellings of the same
// texts where they change.
func FuzzInverse(f *testing.F) {
	seeds(f)
	rules := sqlrewrite.Rules{
		Columns: []sqlrewrite.Column{
			{Table: "t", Column: "id", Map: map[string]string{"1234": "8234", "-7": "-8", "it's": "a\"b", "7": "9"}},
			{Table: "t", Column: "n", Map: map[string]string{"1": "2", "2": "3", "3": "1", "x": "y", "y": "x"}, Unmapped: sqlrewrite.Pass},
			{Database: "old", Table: "d", Column: "id", Map: map[string]string{"1": "2", "2": "1"}, Unmapped: sqlrewrite.Pass},
		},
		Databases: map[string]string{"old": "new`er", "new`er": "old"},
		Context:   caseRules().Context,
	}
	rules.Context.Columns = map[string][]string{"t": {"a", "id", "n"}, "d": {"id", "x"}}
	there, back := compile(f, rules), compile(f, inverse(rules))
	f.Fuzz(func(t *testing.T, in []byte, _ uint64) {
		var out, again, third bytes.Buffer
		if _, err := there.Rewrite(t.Context(), &out, bytes.NewReader(in)); err != nil {
			return
		}
		if _, err := back.Rewrite(t.Context(), &again, bytes.NewReader(out.Bytes())); err != nil {
			t.Fatalf("%q became %q, which is refused: %v", in, out.Bytes(), err)
		}
		var changed, restored []sqlrewrite.Change
		for c := range there.Changes(t.Context(), bytes.NewReader(in)) {
			changed = append(changed, c)
		}
		for c := range back.Changes(t.Context(), bytes.NewReader(out.Bytes())) {
			restored = append(restored, c)
		}
		require.Len(t, restored, len(changed))
		var want []byte
		at := 0
		for i, c := range changed {
			if r := restored[i]; r.Old != c.New || r.New != c.Old || r.OldSQL != c.NewSQL {
				t.Fatalf("%q: %+v, and back %+v", in, c, r)
			}
			want = append(append(want, in[at:c.Offset]...), restored[i].NewSQL...)
			at = int(c.Offset) + len(c.OldSQL)
		}
		if want = append(want, in[at:]...); !bytes.Equal(again.Bytes(), want) {
			t.Fatalf("%q became %q, and that %q", in, out.Bytes(), again.Bytes())
		}
		if _, err := there.Rewrite(t.Context(), &third, bytes.NewReader(again.Bytes())); err != nil || !bytes.Equal(third.Bytes(), out.Bytes()) {
			t.Fatalf("%q became %q, that %q, and that %q: %v", in, out.Bytes(), again.Bytes(), third.Bytes(), err)
		}
	})
}
