# A newcomer needs two of these: `make demo` and `make test`. `make help` lists the rest.
#
#   QEMU=10.0|11.1    use the QEMU of Debian's backports, fetched once into .cache/
#   PYTEST_ARGS=...   more arguments for pytest     BENCH_ARGS=...   for the benchmarks
#   LEAST=90          have `make coverage` fail where a folder has less, in percent
#   SECONDS=...       how long `make soak` and `make fuzz` take, instead of 600 and 3600
#   IMAGE=path        the disk image of the demo, instead of one built on the spot

QEMU ?= system
SETUP := sh scripts/setup.sh
PY := .venv/bin/python
TESTS := tests

# mke2fs lives in /usr/sbin, which is not on the PATH of every user.
export PATH := $(PATH):/usr/sbin:/sbin

ifneq ($(QEMU),system)
  ifeq ($(findstring |$(QEMU)|,|10.0|11.1|),)
    $(error QEMU='$(QEMU)' is not known here: leave it out for the system's QEMU, or say QEMU=10.0 or QEMU=11.1)
  endif
  export PATH := $(CURDIR)/.cache/qemu-$(QEMU)/bin:$(PATH)
  # What the scripts call does not hang on the QEMU, and to trace it takes a while.
  TESTS := tests/live --ignore=tests/live/test_iotests_surface.py
  FETCH := $(PY) -m scripts.fetch_qemu $(QEMU)
endif
# What the tests compare with the version of the QEMU that answers.
export BLOCKSDK_QEMU := $(QEMU)
# The version that pip chose: no look-up of a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.NOTPARALLEL:
.PHONY: help demo test coverage soak fuzz matrix bench lint style types generate check-generated \
        setup setup-test setup-coverage setup-dev

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

demo: setup  ## Full and incremental backup of a live image, restored and verified
	@$(PY) examples/incremental_backup.py $(IMAGE)

test: setup-test  ## All tests, and the example of a suite; with QEMU= the live ones only
	@$(PY) -m pytest -n auto $(TESTS) $(PYTEST_ARGS)
	$(if $(PYTEST_ARGS),,@$(PY) -m pytest -n 2 examples/testsuite)

# Each Python that a test starts is measured, so it takes half as long again.
coverage: setup-coverage  ## All tests, and how much of each folder of the package they run
	@rm -rf .cache/coverage && mkdir .cache/coverage
	@$(PY) -m coverage run -m pytest -n auto $(TESTS) $(PYTEST_ARGS)
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage json -q -o .cache/coverage/report
	@$(PY) -m scripts.coverage_rooms .cache/coverage/report $(LEAST)

soak: setup-test  ## The same work for ten minutes; memory and descriptors must not grow
	@$(PY) -m tests.soak $(SECONDS)

fuzz: setup-test  ## Damaged headers, descriptors and replies for an hour
	@$(PY) -m tests.fuzz $(SECONDS)

matrix: setup-test  ## What happens when something fails in the middle of an operation, as a table
	@$(PY) -m tests.live.fault_matrix

bench: setup  ## Benchmarks against the peers, as ratios
	@$(PY) -m benchmarks $(BENCH_ARGS)

lint: style types  ## Everything that reads the code without running it

style: setup-dev  ## ruff: lint and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# --verifytypes looks for packages where the first `python` of PATH does, and nowhere else.
types: export PATH := $(CURDIR)/.venv/bin:$(PATH)
types: setup-dev  ## mypy, pyright, and how much of the public face is typed
	$(PY) -m mypy
	$(PY) -m pyright --warnings
	$(PY) -m pyright --verifytypes qemu_blocksdk --ignoreexternal

generate: setup  ## Write the generated packages again
	$(PY) -m qemu_blocksdk.schema generate
	$(PY) -m qemu_blocksdk.blocking generate

check-generated: setup  ## Fail where a generated file is not what its generator writes
	$(PY) -m qemu_blocksdk.schema check
	$(PY) -m qemu_blocksdk.blocking check

setup:  ## Programs, .venv and the package (setup-test, setup-dev: their extras too)
	@$(SETUP) bare
	@$(FETCH)
setup-test:
	@$(SETUP) test
	@$(FETCH)
setup-coverage:
	@$(SETUP) coverage
setup-dev:
	@$(SETUP) dev
