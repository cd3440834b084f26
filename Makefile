# Two commands are all a newcomer needs: make demo and make test. Both get what is missing first.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 30s

.PHONY: test demo deps lint unit race saboteurs soak fuzz fuzz-sample bench bench-rewrite bench-rows bench-check bench-tunnel bench-files

test: deps lint ## everything, integration included; ends with which back ends ran and what was left out
	@notes=$$(mktemp); \
	ZMLIFT_NOTES=$$notes go test -count=1 -timeout 20m ./... && sh scripts/saboteurs.sh; \
	code=$$?; sort "$$notes" | uniq -c | sed 's/^ *\([0-9]*\) /\1 x /'; rm -f "$$notes"; exit $$code

demo: deps ## a lab of real servers, and one mailbox moved between them
	go run ./examples/lab

deps: ## MariaDB, OpenLDAP, sshd and rsync, where they are missing and may be installed
	@sh scripts/install-deps.sh

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...

unit: ## without any server
	ZMLIFT_LAB=off go test ./...

race: deps
	go test -race -count=1 -timeout 60m ./...

saboteurs: ## each of them must be noticed
	sh scripts/saboteurs.sh

soak: deps ## the long proofs: killed at every write of a journal, in every way, and more
	ZMLIFT_SOAK=1 go test -count=1 -timeout 120m -v -run TestFaultsInPairs ./zimbra/zimbratest
	ZMLIFT_SOAK=1 go test -count=1 -timeout 120m -v -run 'TestKilled|TestPublishCutAnywhere' ./mboxdb
	sh scripts/saboteurs.sh testdata/saboteurs-mboxdb
	ZMLIFT_SOAK=1 go test -count=1 -timeout 120m -v -run 'TestKilledAtJournalWrites|TestDestinationCrashes|TestRolledBackAtEveryStep' ./examples/mover

fuzz:
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' $$pkg | sed 's/^func //' | sort -u); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$pkg || exit 1; \
		done; \
	done

# Two at a time, so that continuous integration stays short; the other targets' seeds are in go test. make fuzz gives each of all of them its time alone.
fuzz-sample: ## each fuzz target of sqlrewrite for FUZZTIME
	@grep -hoE '^func Fuzz[A-Za-z0-9_]*' sqlrewrite/*_test.go | sed 's/^func //' | sort -u | xargs -P 2 -I{} sh -c '\
		said=$$(go test -run "^$$" -fuzz "^{}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s -parallel 1 ./sqlrewrite 2>&1) || { echo "$$said"; exit 1; }; \
		echo "{}: $$(echo "$$said" | grep elapsed | tail -n 1)"'
	@echo "left out: fuzzing longer than $(FUZZTIME) for each target of sqlrewrite, and the targets of other packages beyond their seeds"

bench-rewrite: ## sqlrewrite beside sed, Python and cat; lines RATIO name value
	@go run ./bench/rewrite

bench:
	go test -run '^$$' -bench . -benchmem ./...

ROWS ?= 250000
bench-rows: ## presync and the difference in the lock beside other tools; ROWS="25000 125000 250000" for several sizes
	@sh scripts/install-deps.sh mariadb-import:mariadb-client mydumper:mydumper pt-table-sync:percona-toolkit
	ZMLIFT_BENCH_ROWS="$(ROWS)" go test -run '^$$' -bench BenchmarkRows -benchtime 1x -timeout 60m -v ./bench/rows

CHECK_FILES ?= 20000
bench-check: ## digests of all blobs on a store beside sha256sum there; lines RATIO name value
	ZMLIFT_LAB=processes ZMLIFT_BENCH_CHECK_FILES=$(CHECK_FILES) go test -run '^$$' -bench BenchmarkCheck -benchtime 1x -timeout 60m -v ./bench/check

bench-tunnel: deps ## bulk through package tunnel beside ssh with the same cipher; lines RATIO name value
	ZMLIFT_LAB=processes go test -run '^$$' -bench BenchmarkBulk -benchtime 1x -timeout 30m -v ./bench/tunnel

FILES  ?= 20000
SECOND ?= 20000 200000
bench-files: ## filesync beside rsync, tar through ssh and cp, as root; FILES="20000 100000" for several first copies, SECOND for second passes
	@sh scripts/install-deps.sh
	ZMLIFT_LAB=processes ZMLIFT_BENCH_FILES="$(FILES)" ZMLIFT_BENCH_SECOND="$(SECOND)" ZMLIFT_BENCH_RUNS="$(RUNS)" \
		go test -run '^$$' -bench . -benchtime 1x -timeout 240m ./bench/files
