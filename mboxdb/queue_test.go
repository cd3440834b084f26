package mboxdb

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each batch is taken once, by whomever; a worker's stretch is about as long as the others', and comes before them and in order.
func TestQueue(t *testing.T) {
	for _, rows := range [][]int64{{}, {1}, {8, 8, 8, 8}, {8, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 100}, {0, 0}, {5, 0, 5}} {
		var batches []cellBatch
		for i, n := range rows {
			batches = append(batches, cellBatch{insert: n, delete: int64(i)})
		}
		for workers := 1; workers <= 3; workers++ {
			q := newQueue(batches, min(workers, len(batches)))
			var all []cellBatch
			for _, s := range q.stretches {
				all = append(all, s...)
			}
			require.Equal(t, batches, all)
			taken := map[int64]bool{}
			for i := 0; ; i++ {
				b, ok := q.next(i % max(len(q.stretches), 1))
				if !ok {
					break
				}
				require.False(t, taken[b.delete], "%v", rows)
				taken[b.delete] = true
			}
			require.Len(t, taken, len(rows))
		}
	}
	q := newQueue(nil, 0)
	_, ok := q.next(0)
	require.False(t, ok)
	require.Len(t, newQueue([]cellBatch{{insert: 8}, {}}, 2).stretches[1], 1, "a batch without rows")
	even := newQueue([]cellBatch{{insert: 8}, {insert: 7}, {insert: 6}, {insert: 5}}, 2)
	require.Len(t, even.stretches[0], 2)
	for _, want := range []int64{6, 5, 8, 7} {
		b, ok := even.next(1)
		require.True(t, ok)
		require.Equal(t, want, b.insert)
	}
}
