# What developers run; CI (.ci/run) runs the same targets.

.PHONY: test setup lint cross fuzz guard simulate bench bench-check deploy-check examples-check docs-check demo playground

test: setup ## all tests; installs what they need first
	.ci/test

setup: ## what the tests need and this machine lacks
	.ci/setup

lint: ## formatting, vet, staticcheck, import rules
	.ci/lint

cross: ## builds for other systems
	.ci/cross

fuzz: ## each fuzz target for a short while; FUZZTIME=1m for longer
	.ci/fuzz

guard: ## what hot paths cost beside bench/guards.json; ARGS=-update records it
	cd bench && go run ./guard $(ARGS)

SEEDS = 150
# GOGC: the garbage collector would take a third of the time.
simulate: ## the Redis broker under hundreds of seeds of faults; SEEDS=20000 for more
	GOGC=800 go test ./broker/redis -run '^TestSimulation$$' -sim.seeds $(SEEDS) -timeout 0 $(ARGS)

bench: ## juggler beside its peers; ARGS=-quick takes under two minutes
	cd bench && go run . $(ARGS)

bench-check: ## the benchmark's own tests
	cd bench && go test ./...

deploy-check: ## deploy/ against the schemas of Compose and the types of Kubernetes
	cd deploy/check && go test ./...

examples-check: ## the tests of the examples that are modules of their own
	cd examples/once && go test ./...
	cd examples/chat && go test ./...

docs-check: ## builds the site of the documentation, and looks at it in a browser
	cd docs/site && npm test

demo: ## a server with callees on ws://127.0.0.1:8080
	go run ./cmd/juggler demo

playground: setup ## the playground's page out of its source, to be committed
	cd cmd/juggler/internal/playground/web && npm run build
