# make run      a running bridge with a demo conference; Ctrl-C ends it
# make test     everything a change must pass; installs what it needs (system packages only as root)
# make lint     formatting, lint and types only
# make web      the list of its modules in each page, after a change of imports
# make lock     both lock files anew, from the newest versions that pyproject.toml allows
# make sbom     build/hoichan.cdx.json: what runs, with licences and what rides in the wheels (CycloneDX)
# make bench    the short benchmarks, one JSON line each
# make scorecard  how good bandwidth estimation is, in virtual time and with Chromium behind shaped lines; hours;
#               as root; CASES="5.1;GEO" chooses, RUNS=1 is quicker than the medians of three
# make torture  1,000 kills of a recording server, and damaged files; an hour; goes on where it was ended
# make soak     an hour of conference under load, then two hours of recording composed; prints loss and memory;
#               then films of sites in trouble, a day of recordings, and a minute of hostile input

PYTHON ?= python3
VENV ?= .venv
RUN_ARGS ?=
PYTEST_ARGS ?=
BENCH_SECONDS ?= 10
SOAK_SECONDS ?= 3600
CASES ?=
RUNS ?= 3
TORTURE_KILLS ?= 1000
TORTURE_ARGS ?= --folder build/torture

BIN := $(VENV)/bin

# What `make test` drives from outside: two real browsers, a real Prometheus, a WHIP encoder that is not ours,
# a firewall to break networks with, a proxy, a medical archive (Orthanc) and a judge of DICOM files (dciodvfy),
# a compiler for the bad disk (tests/faults.c).
TEST_PACKAGES := ca-certificates chromium firefox-esr prometheus nodejs npm nftables iproute2 \
	orthanc orthanc-dicomweb dicom3tools openssl nginx-light gcc libc6-dev \
	gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
	gstreamer1.0-plugins-ugly gstreamer1.0-nice python3-gi gir1.2-gst-plugins-bad-1.0

# Files in their order, and not those of many tests first: the few tests of some files take a minute.
SHARED := --numprocesses 3 --dist loadfile --no-loadscope-reorder

# Files of tests that leave the processor to others for most of their time, and those whose pages, calls and
# kills would be late beside others. Never many pages at once: their order keeps them apart.
PAGES := tests/browser/test_every_page.py tests/browser/test_library.py tests/browser/test_library_archive.py
CASE_PANEL := tests/browser/test_case_panel.py
MODERATION := tests/browser/test_moderation.py
# Films of minutes, a day of recordings, and a minute of hostile input in place of seconds: `make soak` has them.
LONG := tests/browser/test_film.py tests/browser/test_mutes.py tests/system/test_long_session.py \
	tests/system/test_recording_soak.py
HOSTILE := tests/hostile/test_blast.py tests/hostile/test_recorded_beside.py
SIDE_BY_SIDE := $(PAGES) tests/system $(CASE_PANEL) tests/peers $(MODERATION) tests/unit $(SHARED) \
	$(foreach file,$(LONG),--ignore $(file))
ONE_BY_ONE := tests/browser tests/hostile \
	$(foreach file,$(PAGES) $(CASE_PANEL) $(MODERATION) $(LONG),--ignore $(file))
# What takes the time is told at the end of each run.
SLOWEST := --durations 10 --durations-min 1

.PHONY: run test lint python-lint web-lint web web-unit unit bench scorecard soak torture lock sbom clean

run: $(VENV)/.run-installed
	@exec $(BIN)/hoichan serve --demo --state-dir state $(RUN_ARGS)

test: $(VENV)/.system-packages $(VENV)/.test-installed lint web-unit
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(SLOWEST) $(PYTEST_ARGS)
	$(BIN)/python -m pytest $(ONE_BY_ONE) $(SLOWEST) $(PYTEST_ARGS)

lint: python-lint web-lint

python-lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

web-lint: web/node_modules/.package-lock.json
	cd web && npx --no-install tsc --checkJs --noEmit -p .

web: | $(BIN)/python
	$(BIN)/python web/preload.py

web-unit:
	cd web && node --test $$(find tests -name '*.test.*js')

# What needs no process, browser, server or encoder of its own.
unit: $(VENV)/.test-installed web-unit
	$(BIN)/python -m pytest tests/unit $(SHARED) $(SLOWEST) $(PYTEST_ARGS)

bench: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.packet_path --json
	$(BIN)/python -m benchmarks.conference --scenario lecture --points 30 --seconds $(BENCH_SECONDS) --json
	$(BIN)/python -m benchmarks.conference --scenario full --points 30 --seconds $(BENCH_SECONDS) --json
	$(BIN)/python -m benchmarks.recording --points 12 --seconds $(BENCH_SECONDS) --json
	$(BIN)/python -m benchmarks.compose --sites 6 --minutes 2 --json
	$(BIN)/python -m benchmarks.beside --seconds $(BENCH_SECONDS) --json
	$(BIN)/python -m benchmarks.conference --scenario ceremony --points 300 --seconds $(BENCH_SECONDS) --json

# What is measured replaces these cases in the committed scorecard; `git diff` shows what has changed.
scorecard: $(VENV)/.system-packages $(VENV)/.test-installed
	mkdir -p build/networks && rm -f build/networks/*.jsonl
	$(BIN)/python -m benchmarks.networks --json --only "$(CASES)" > build/networks/virtual.jsonl
	-PYTHONPATH=tests:tests/browser $(BIN)/python -m benchmarks.networks.chromium --only "$(CASES)" --runs $(RUNS) \
		--out build/networks/live.jsonl --plots benchmarks/networks/plots
	$(BIN)/python -m benchmarks.networks.card --virtual build/networks/virtual.jsonl --live build/networks/live.jsonl

soak: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.conference --scenario full --points 30 --seconds $(SOAK_SECONDS) --json
	$(BIN)/python -m benchmarks.compose --soak-hours 2 --json
	HOSTILE_S=60 $(BIN)/python -m pytest $(LONG) $(HOSTILE) $(SLOWEST)

torture: $(VENV)/.test-installed
	PYTHONPATH=tests $(BIN)/python -m torture --kills $(TORTURE_KILLS) $(TORTURE_ARGS)

# Writes both lock files anew from the newest versions that pyproject.toml allows, with the checksums of the
# index that pip asks. setuptools is in them because it installs the bridge itself. What runs is a part of
# what is tested, to the version.
UV = $(VENV)/lock/bin/uv pip compile --quiet pyproject.toml $(VENV)/lock/build.in --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command "make lock" --upgrade \
	--default-index "$$($(VENV)/lock/bin/pip config get global.index-url 2>/dev/null || echo https://pypi.org/simple)"

lock:
	rm -rf $(VENV)/lock
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	echo "setuptools>=80" > $(VENV)/lock/build.in
	$(UV) --extra test --output-file requirements-test.lock
	$(UV) --extra s3 --constraint requirements-test.lock --output-file requirements.lock
	rm -rf $(VENV)/lock

# In environments of their own: one that has what runs and nothing else, and one with the tool that lists it.
sbom:
	rm -rf $(VENV)/bill $(VENV)/cyclonedx && mkdir -p build
	$(PYTHON) -m venv $(VENV)/bill && $(PYTHON) -m venv $(VENV)/cyclonedx
	$(VENV)/bill/bin/pip install --quiet --require-hashes --requirement requirements.lock
	$(VENV)/bill/bin/pip install --quiet --no-deps --no-build-isolation .
	$(VENV)/cyclonedx/bin/pip install --quiet cyclonedx-bom
	$(VENV)/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		--output-file build/hoichan.cdx.json $(VENV)/bill/bin/python
	$(VENV)/bill/bin/python -m release.wheels build/hoichan.cdx.json
	rm -rf $(VENV)/bill $(VENV)/cyclonedx

clean:
	rm -rf $(VENV) web/node_modules build hoichan.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv; \
		else \
			echo "Python's venv module is missing. Install it, e.g.: sudo apt install python3-venv" >&2; exit 1; \
		fi; }
	$(PYTHON) -m venv $(VENV)

# Exactly the files whose checksums are locked, then the bridge itself: one call of pip cannot do both.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
INSTALL_BRIDGE := $(INSTALL) --no-deps --no-build-isolation --editable .

$(VENV)/.run-installed: pyproject.toml requirements.lock | $(BIN)/python
	$(INSTALL) --require-hashes --requirement requirements.lock
	$(INSTALL_BRIDGE)
	@touch $@

$(VENV)/.test-installed: pyproject.toml requirements-test.lock | $(BIN)/python
	$(INSTALL) --require-hashes --requirement requirements-test.lock
	$(INSTALL_BRIDGE)
	@touch $@ $(VENV)/.run-installed

$(VENV)/.system-packages: Makefile | $(BIN)/python
	@missing=""; \
	for package in $(TEST_PACKAGES); do \
		case $$package in \
			nodejs) command -v node >/dev/null && continue ;; \
			npm) command -v npm >/dev/null && continue ;; \
		esac; \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -q --no-install-recommends $$missing; \
		else \
			echo "Missing for the tests:$$missing. Install them, e.g.: sudo apt install$$missing" >&2; exit 1; \
		fi; \
	fi
	@touch $@

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@
