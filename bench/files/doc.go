// Files (bench/files) measures filesync beside rsync, tar through ssh, and cp: a first copy, and a pass over a tree that is nearly complete. All
// contenders run in turn, on one machine, over the same sshd; medians are compared. Its benchmarks are in the tests, for only those may use the
// lab:
//
//	make bench-files
//	make bench-files FILES="20000 100000" SECOND="20000 200000" RUNS=5
//
// Lines that begin with RATIO are for other programs: how many times longer the other one took, and in parentheses for how many files.
package files
