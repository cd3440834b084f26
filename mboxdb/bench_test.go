package mboxdb_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zmlift/zmlift/mboxdb"
)

// benchItems make about three times as many rows.
const benchItems = 10000

func report(b *testing.B, sum mboxdb.Summary) {
	b.SetBytes(sum.Bytes)
	b.ReportMetric(float64(sum.Rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkDump(b *testing.B) {
	m := newMove(b, benchItems)
	var sum mboxdb.Summary
	b.ReportAllocs()
	for b.Loop() {
		var err error
		sum, err = m.srcDB.Dump(b.Context(), io.Discard, m.from, nil)
		require.NoError(b, err)
	}
	report(b, sum)
}

// The rewriter of the tests is part of it.
func BenchmarkLoad(b *testing.B) {
	m := newMove(b, benchItems)
	c := m.copy(b)
	var sum mboxdb.Summary
	b.ReportAllocs()
	for b.Loop() {
		var err error
		sum, err = c.Load(b.Context())
		require.NoError(b, err)
	}
	report(b, sum)
	require.NoError(b, c.Remove(context.Background(), elsewhere))
}

// Both sides' digests, one beside the other.
func BenchmarkVerify(b *testing.B) {
	m := newMove(b, benchItems)
	c := m.copy(b)
	sum, err := c.Load(b.Context())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := c.Verify(b.Context())
		require.NoError(b, err)
	}
	report(b, sum)
	require.NoError(b, c.Remove(context.Background(), elsewhere))
}

// Both sides' rows, read to their ends.
func BenchmarkSecondVerifier(b *testing.B) {
	m := newMove(b, benchItems)
	c := m.copy(b)
	sum, err := c.Load(b.Context())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := m.second(b)
		require.NoError(b, err)
	}
	report(b, sum)
	require.NoError(b, c.Remove(context.Background(), elsewhere))
}

func BenchmarkBlobs(b *testing.B) {
	m := newMove(b, benchItems)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		for _, err := range m.srcDB.Blobs(b.Context(), m.from) {
			require.NoError(b, err)
			n++
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "blobs/s")
}
