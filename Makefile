# Everything a newcomer or CI needs. Needs Debian 12 (or the like), Rust and root.

CARGO ?= cargo
LAB_DIR ?= /var/lib/drover-lab
KEEP ?=
SCHEDULES ?= 100000
SEED ?= 1

.PHONY: demo demo-power test test-all check fast lab lab-stories lab-others crashes soundness sim \
  bench setup programs root-trixie roots checks

## demo: install what is missing, build, and show the main job on real guests.
## KEEP=1 leaves the cluster running.
demo: setup
	$(MAKE) -j2 programs root-trixie
	target/debug/drover-lab --dir $(LAB_DIR) demo $(if $(KEEP),--keep)

## demo-power: a host sleeps, a rule on watts fires, a magic packet wakes it, a guest moves there
## live and back, and it sleeps again; what it took in kWh.
demo-power: setup
	$(MAKE) -j2 programs root-trixie
	target/debug/drover-lab --dir $(LAB_DIR) demo --power $(if $(KEEP),--keep)

## test: everything that CI runs.
test: setup
	$(MAKE) -j2 checks roots
	$(MAKE) lab

## test-all: the same, and what takes longer: every row of the crash table on either release,
## and a thousand moves that lose no memory.
test-all: test crashes soundness

checks:
	$(MAKE) check
	$(MAKE) fast

programs: setup
	$(CARGO) build --workspace --bins

# The Debian releases that the lab's hosts run: made once, then kept.
root-trixie: setup
	@crates/lab/root/make-root.sh trixie
roots: root-trixie
	@crates/lab/root/make-root.sh bookworm

## check: format, lints, layers and limits.
check: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test lab -- -D warnings
	$(CARGO) run -q -p xtask -- ci

# Always with all of the workspace: each other choice of packages has other features of what
# they depend on, and builds that anew.

## fast: every test that needs no hypervisor.
fast: setup
	$(CARGO) test --workspace

## lab: tests on real libvirt and QEMU.
lab: setup
	$(CARGO) build --workspace --bins --tests
	$(MAKE) -j2 lab-stories lab-others

# Beside each other: most of both is waiting.
lab-stories:
	$(CARGO) test --workspace --test lab
lab-others:
	$(CARGO) test --workspace --test soak --test own_bmc -- --ignored

## sim: migrations under random faults, against a modelled libvirt; SCHEDULES of them from
## SEED on. The last line says what came of it; a seed that fails is shown with its trace.
sim: setup
	$(CARGO) run --release -q -p drover-crash -- --schedules $(SCHEDULES) --seed $(SEED)

## crashes: every row of the crash table on real hypervisors; `make lab` proves some of them.
crashes: setup
	$(CARGO) build --workspace --bins --tests
	DROVER_LAB_ROWS=all $(CARGO) test --workspace --test lab -- double_nothing

## soundness: a thousand moves of several passes each, on either release; no guest may lose memory.
## `make lab` makes some of them. An hour and a half for each thousand.
soundness: setup roots
	$(CARGO) build --workspace --bins --tests
	DROVER_LAB_MOVES=1000 $(CARGO) test --workspace --test lab -- --exact moves_lose_no_memory
	DROVER_LAB_MOVES=1000 $(CARGO) test --workspace --test lab -- --exact older_moves_lose_no_memory

## bench: figures of docs/benchmarks.md. ROADEF_DIR and PLANETLAB_DIR name folders with
## files of public planning problems; without them those rows are left out.
bench: setup
	$(CARGO) build --release --workspace --bins
	$(CARGO) run --release -q -p drover-bench

setup:
	@scripts/setup.sh
