# The box on one machine. As root on Debian 12 or 13: `make run`.

PYTHON := /usr/bin/python3
VENV := .venv
SCAN := .venv-scan
BENCH_TUNNEL := build/bench-tunnel/venv
PAGE := appliance/gateway/page
BROWSER_TESTS := tests/browser
YAMUX_PEER := tests/tunnel/yamux_npm
STATE := .demo
PORT_BASE := 8443

# What the box, its software TPM and its container need; `make test` needs the browser and the second opinions too.
PACKAGES := cryptsetup-bin dbus gcc libseccomp2 libsystemd-dev libtss2-dev openssh-client pebble pkg-config python3-dev python3-venv restic swtpm swtpm-tools systemd-container tzdata util-linux
TEST_PACKAGES := chromium curl fonts-dejavu-core golang-go golang-github-hashicorp-yamux-dev golang-golang-x-mod-dev haproxy libnss3-tools \
	e2fsprogs openssh-server openssl patch poppler-utils rclone redis-server strace testssl.sh tpm2-tools
# These tests run the whole box; `make check` leaves them out.
BOX_TESTS := tests/attacks tests/bench/test_bench.py tests/browser tests/drill/test_drill.py tests/fuzz/test_bad_requests.py tests/kills tests/soak tests/walks tests/scale/test_large_document.py

.DEFAULT_GOAL := help
.PHONY: help setup run test bench bench-tunnel check cuts drill fuzz kills lint lock scale scan soak system-packages test-packages

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: system-packages $(VENV)/.runtime $(PAGE)/node_modules ## install what the box needs; starts nothing
	@$(VENV)/bin/python -m compileall -q -j 2 appliance provisioning

run: ## start the whole box and say where to go (as root; Ctrl-C ends it)
	@test "$$(id -u)" = 0 || { echo 'make run starts a container, so it has to be run as root: sudo make run' >&2; exit 1; }
	@$(MAKE) --no-print-directory setup
	@$(VENV)/bin/python -m appliance.demo --state $(STATE) --port-base $(PORT_BASE)

test: setup test-packages $(VENV)/.development $(SCAN)/.installed $(BENCH_TUNNEL)/made-from $(BROWSER_TESTS)/node_modules $(YAMUX_PEER)/node_modules ## every check and every test, the running box included (as root)
	@$(MAKE) --no-print-directory lint
	$(VENV)/bin/python -m pytest tests --numprocesses 2 --dist loadfile

bench: setup test-packages $(VENV)/.development ## measure the figures of docs/figures.md and draw them anew (as root, some minutes)
	@$(VENV)/bin/python -m tests.bench && $(VENV)/bin/python -m tests.bench.plots

bench-tunnel: setup test-packages $(VENV)/.development $(BENCH_TUNNEL)/made-from ## the tunnel against direct TLS and snitun: rate, CPU, memory, recovery (as root, some 15 minutes)
	@$(VENV)/bin/python -m tests.bench.tunnel && $(VENV)/bin/python -m tests.bench.plots

check: setup $(VENV)/.development ## format, lint, types, architecture and unit tests
	@$(MAKE) --no-print-directory lint
	$(VENV)/bin/python -m pytest tests $(addprefix --ignore=,$(BOX_TESTS))

scale: setup test-packages $(VENV)/.development ## 20,000 patients, 100,000 documents: every page's time; 512 MiB (as root)
	$(VENV)/bin/python -m tests.scale.box
	$(VENV)/bin/python -m tests.scale.large_document

drill: setup test-packages $(VENV)/.development ## a box dies and a new one brings 20,000 documents back from the copies (as root, some minutes)
	$(VENV)/bin/python -m tests.drill $(addprefix --beside ,$(BESIDE))

kills: setup $(VENV)/.development ## kill processes of a running box while people work: SEED=, COUNT= (as root)
	$(VENV)/bin/python -m tests.kills $(addprefix --seed ,$(SEED)) $(addprefix --count ,$(COUNT))

soak: setup test-packages $(VENV)/.development ## half an hour of 200 patients while everything is cut now and then: SECONDS=, SEED= (as root)
	$(VENV)/bin/python -m tests.soak $(addprefix --seconds ,$(SECONDS)) $(addprefix --seed ,$(SEED))

scan: setup test-packages $(VENV)/.development $(SCAN)/.installed ## every check of testssl.sh, and sslyze, on a patient's way through the portal
	SCAN_EVERYTHING=1 $(VENV)/bin/python -m pytest tests/attacks/test_tls_scan.py

fuzz: setup $(VENV)/.development ## 10,000 bad requests to practice and gateway of a running box: SEED=, REQUESTS= (as root)
	$(VENV)/bin/python -m tests.fuzz.campaign $(addprefix --seed ,$(SEED)) $(addprefix --requests ,$(REQUESTS))

lint:
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

cuts: setup $(VENV)/.development ## cut the power 10,000 times in vault's writing (CUTS=, SEED=)
	CUTS=$(or $(CUTS),10000) SEED=$(or $(SEED),20) $(VENV)/bin/python -m pytest tests/vault/test_cuts.py --capture=no

lock: $(VENV)/.development ## choose versions anew and write their hashes (requirements/*.txt)
	@cd requirements && for name in build runtime provisioning development scan bench-tunnel; do \
	  ../$(VENV)/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	    --no-header --no-emit-index-url $$(case $$name in \
	      runtime) echo --constraint build.txt ;; \
	      provisioning) echo --constraint runtime.txt ;; \
	      bench-tunnel) echo --constraint build.txt --constraint runtime.txt --constraint provisioning.txt ;; \
	      development) echo --constraint build.txt --constraint runtime.txt ;; esac) \
	    $$name.in --output-file $$name.txt || exit 1; \
	done

# Debian's packages: asks apt only for what is missing.
define install
@missing=$$(for name in $(1); do \
	  dpkg-query --show --showformat='$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || echo $$name; done); \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	command -v systemd-cryptenroll >/dev/null || missing="$$missing systemd-cryptsetup"; \
	test -z "$$missing" || { \
	  test "$$(id -u)" = 0 || { echo "These Debian packages are missing, and only root may install them:" $$missing >&2; exit 1; }; \
	  echo "Installing" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends --yes $$missing >/dev/null; }
endef

system-packages:
	$(call install,$(PACKAGES))

test-packages:
	$(call install,$(TEST_PACKAGES))

$(VENV)/bin/python: | system-packages
	@echo 'Making $(VENV)'
	@umask 022 && $(PYTHON) -m venv $(VENV)

# Two steps: the tools that compile the source-only packages come from the lock too, so that their build
# downloads nothing by itself.
define hashed
@umask 022 && $(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps $(1)
endef

$(VENV)/.runtime: requirements/build.txt requirements/runtime.txt requirements/provisioning.txt | $(VENV)/bin/python
	@echo 'Installing the locked Python packages'
	$(call hashed,-r requirements/build.txt)
	$(call hashed,--no-build-isolation --use-pep517 -r requirements/runtime.txt -r requirements/provisioning.txt)
	@touch $@

$(VENV)/.development: requirements/development.txt $(VENV)/.runtime
	@echo 'Installing the locked development packages'
	$(call hashed,-r requirements/development.txt)
	@touch $@

# sslyze holds to an older cryptography than the box runs on: an environment of its own.
$(SCAN)/.installed: requirements/scan.txt | system-packages
	@echo 'Installing the locked TLS scanner'
	@umask 022 && $(PYTHON) -m venv $(SCAN)
	@umask 022 && $(SCAN)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/scan.txt
	@touch $@

# snitun is what only the tunnel is compared with, and its newest release needs a newer Python: another environment.
$(BENCH_TUNNEL)/made-from: requirements/bench-tunnel.txt $(VENV)/.development
	@$(VENV)/bin/python -m tests.bench.tunnel_python >/dev/null
	@touch $@

$(PAGE)/node_modules: $(PAGE)/package-lock.json | system-packages
	@echo "Installing the patient page's locked packages"
	@umask 022 && npm ci --prefix $(PAGE) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(BROWSER_TESTS)/node_modules: $(BROWSER_TESTS)/package-lock.json | system-packages
	@echo "Installing the browser tests' locked packages"
	@umask 022 && npm ci --prefix $(BROWSER_TESTS) --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(YAMUX_PEER)/node_modules: $(YAMUX_PEER)/package-lock.json | system-packages
	@echo "Installing the locked second opinion on yamux"
	@umask 022 && npm ci --prefix $(YAMUX_PEER) --ignore-scripts --no-audit --no-fund --silent
	@touch $@
