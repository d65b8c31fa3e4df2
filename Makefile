# The daily commands. The first one that needs it sets the checkout up (tools/bootstrap.sh) and says so.
# Several at once share one .venv: run them one after the other.
.PHONY: help build demo test test-both test-mysql differential driver-suites noninterference lint tpcc bench bench-full bench-instructions bench-redis-instructions soak reloads storm money restarts fuzz clean
.DEFAULT_GOAL := help

PY := .venv/bin/python
# More test processes than cores only wait for each other; each may run eight database servers.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
TESTS ?=
SEED ?=
SPEEDUPS := $(wildcard _speedups/*.pyx _speedups/*.pxd _speedups/*.pxi _speedups/*.h)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1	\2/p' Makefile | expand -t 28

build: .venv/.built  ## set up .venv and compile what changed

.venv/.ready: tools/bootstrap.sh constraints.txt pyproject.toml
	@tools/bootstrap.sh
	@touch $@

.venv/.built: .venv/.ready $(SPEEDUPS)
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: build  ## a small world with two regions (ONCE=1: run the tour and leave, MYSQL=9.7: on MySQL)
	@$(PY) -m loadtest.demo

test: build  ## all tests, on MariaDB (TESTS=path or options for pytest)
	@$(PY) -m loadtest.world.mysql97
	@FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q -n $(JOBS) --dist loadfile --timeout 300 \
		-m "not slow and not mysql97" $(TESTS)

test-both: build  ## on MySQL 9.7 those tests for which it matters which server it is
	@$(PY) -m loadtest.world.mysql97
	@FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q -n $(JOBS) --dist loadfile --timeout 300 \
		-m "mysql97 and not slow" $(TESTS)

test-mysql: build  ## all tests that need servers, on MySQL 9.7 alone
	@$(PY) -m loadtest.world.mysql97
	@FAIRLEAD_SERVER=mysql FAIRLEAD_REQUIRE_SERVERS=mysql $(PY) -m pytest -q -n $(JOBS) --dist loadfile --timeout 300 \
		-m "servers and not slow" $(TESTS)

noninterference: build  ## what the policy keeps back changes no answer: 40,000 statements, planted leaks (SEED=7)
	@$(PY) -m loadtest.world.mysql97
	@FAIRLEAD_REQUIRE_SERVERS=mariadb SEED=$(SEED) $(PY) -m pytest -q -n $(JOBS) --dist loadgroup --timeout 1200 \
		tests/noninterference tests/router/policy $(TESTS)

differential: build  ## reads over several shards against one server, 500 of each kind, on both flavours
	@$(PY) -m loadtest.world.mysql97
	@for server in mariadb mysql; do FAIRLEAD_SERVER=$$server FAIRLEAD_REQUIRE_SERVERS=$$server \
		FAIRLEAD_DIFFERENTIAL_READS=500 $(PY) -m pytest -q --timeout 1800 tests/differential/test_features.py || exit 1; done

driver-suites: build  ## the own tests of drivers and frameworks, directly and through Fairlead, on both flavours (25 minutes)
	@$(PY) -m loadtest.world.mysql97
	@FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q -s --timeout 3600 tests/clients/suites $(TESTS)

lint: build  ## ruff, mypy, cython-lint, direction of imports
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/mypy --explicit-package-bases -p loadtest.world -p loadtest.demo -p loadtest.tpcc
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/cython-lint --max-line-length 120 _speedups
	@.venv/bin/lint-imports

bench: build  ## CPU per query against haproxy and twemproxy, the cells that are promised (20 minutes)
	@$(PY) -m loadtest.bench ratio --check
	@$(PY) -m loadtest.bench redis --check

bench-full: build  ## everything that can be measured (more than an hour)
	@$(PY) -m loadtest.bench ratio --full
	@$(PY) -m loadtest.bench idle
	@$(PY) -m loadtest.bench latency
	@$(PY) -m loadtest.bench coldplans
	@$(PY) -m loadtest.bench groups

bench-instructions: build  ## user instructions per query, by callgrind
	@$(PY) -m loadtest.bench instructions --check
	@$(PY) -m loadtest.bench policy-instructions --check

# Not in .ci/run: two counts of the same tree differed by up to 9 %.
bench-redis-instructions: build  ## the same per Redis request
	@$(PY) -m loadtest.bench redis-instructions --check

soak: build  ## 500 clients over 20 connections for a minute, with kills
	@$(PY) -m loadtest.soak

tpcc: build  ## TPC-C by warehouse over four shards, and its consistency conditions
	@$(PY) -m loadtest.tpcc

reloads: build  ## 200 reloads between two policies under 64 clients (5 minutes)
	@FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q --timeout 1800 -m slow tests/proxy/test_reloads_world.py

storm: build  ## a minute of Redis clients, cut connections and killed servers
	@FAIRLEAD_FAULT_SECONDS=60 FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q --timeout 300 tests/fault/test_redis.py \
		tests/fault/test_redis_failover.py

restarts: build  ## SIGUSR2 in quick succession, twenty times, and with kills in between (6 minutes)
	@FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q --timeout 300 -m slow \
		tests/proxy/test_restarts.py tests/proxy/test_moves.py tests/proxy/redis/test_restarts.py

money: build  ## a minute of transfers between shards while Fairleads and a shard are killed (SEED=7)
	@FAIRLEAD_FAULT_SECONDS=60 FAIRLEAD_REQUIRE_SERVERS=mariadb $(PY) -m pytest -q -s --timeout 300 tests/fault/test_money.py

fuzz: build  ## the longer property tests
	@$(PY) -m pytest -q --timeout 3600 -m slow --ignore tests/proxy/test_reloads_world.py \
		--ignore tests/proxy/test_restarts.py \
		--ignore tests/fault --ignore tests/noninterference --ignore tests/clients/suites $(TESTS)

clean:  ## remove .venv and everything built
	rm -rf .venv build *.egg-info _speedups/*.c _speedups/*.so
