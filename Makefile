# Two commands are all a newcomer needs: make demo and make test. Both get what is missing first.

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 10s

.PHONY: test demo deps lint unit race fuzz bench soak

test: deps lint ## everything, integration included
	@echo "lab back ends wanted: $${ZMLIFT_LAB:-whatever answers}"
	go test -count=1 ./...

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
	go test -race -count=1 ./...

bench:
	go test -run '^$$' -bench . -benchmem ./...
