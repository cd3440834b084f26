// Package sqlrewritetest checks rules for package sqlrewrite in the tests of those who write them.
//
// One call says what a test is about: these rules change these values of this dump, and nothing else.
//
//	func TestRules(t *testing.T) {
//		sqlrewritetest.Check(t, rules, dump,
//			sqlrewritetest.Change{Table: "shop.orders", Column: "customer", Row: 1, Old: "7", New: "1007"},
//		)
//	}
//
// That nothing else changes is not taken from the rewriter's word: the output is compared, byte by byte, with the input in which the changes
// were made.
package sqlrewritetest
