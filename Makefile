# Two commands do everything on a fresh machine: `make demo` and `make test`. The rest are their parts.

# The interpreter the virtual environment is made from: make PYTHON=python3.12 test
PYTHON ?= python3
export PYTHON
# Set-up, builds and tests all look for the artefacts here.
export CARGO_TARGET_DIR := $(CURDIR)/target
# make's own g++ is not everywhere
ifeq ($(origin CXX),default)
CXX := c++
endif

venv := target/venv/bin
warnings := -Wall -Wextra -Wpedantic -Werror
link := -Ltarget/debug -ltakings -Wl,-rpath,$(CURDIR)/target/debug

.PHONY: help setup setup-rust setup-wheel setup-demo build rust wheel lua lua-dist examples library install uninstall dist test-dist test check demo docs bench bench-contenders bench-ledger bench-fleet fuzz fmt bless clean soak soak-ledger soak-fleet
.DEFAULT_GOAL := help

help:
	@echo 'takings captures Klarna orders from Rust, C, C++, Python and Lua.'
	@echo
	@echo '  make demo    set up, build, then capture from every language against the sandbox'
	@echo '               (against the Klarna that KLARNA_* names: make demo ORDER_ID=... FILE=...)'
	@echo '  make test    set up, build, then every check there is'
	@echo '  make check   did I break it: what finds most faults, in 90 seconds once everything is built'
	@echo '  make soak    100,000 captures in 64 threads, with faults: outcomes, ledger, memory'
	@echo '  make soak-ledger  the ledger: 1,000 kills, a file of 50,000, broken disks, wrong clocks'
	@echo '  make soak-fleet   workers over PostgreSQL: 1,000 kills, 20 crashes of the server, cuts, freezes'
	@echo
	@echo '  make bench   takings beside other ways to send a capture: processor time, memory; then the two below'
	@echo '  make bench-ledger what the ledger and its worker reach: rows and captures a second, recovery, memory'
	@echo '  make bench-fleet  the same of two workers over PostgreSQL; twenty that share a rate; an old snapshot'
	@echo
	@echo '  make setup   what make test needs: interpreters, Python packages'
	@echo '  make build   libraries, sandbox, wheel, Lua modules, examples; into target/'
	@echo '  make wheel   the Python wheel alone, and the environment target/python that has it'
	@echo '  make lua     the Lua modules alone, into target/lua/; for one Lua: make lua LUA=5.4 (or the path of a Lua)'
	@echo '  make install the C and C++ library, optimised, into PREFIX (/usr/local); make uninstall takes it away'
	@echo '  make dist    all that is given away, for this platform, with checksums; into dist/ (make test-dist: its tests)'
	@echo '  make lua-dist the Lua module, optimised, into target/lua-dist/LUA/takings.so for each Lua'
	@echo '  make docs    the site of the documents, into target/docs/index.html'
	@echo '  make fuzz    looks for inputs that break a promise, an hour long'
	@echo '  make fmt     formats the sources'
	@echo '  make bless   writes the generated files again'
	@echo '  make clean   removes all that was built'

setup:
	@scripts/setup.sh

# A single surface needs no more than its part of the set-up.
setup-rust setup-wheel setup-demo:
	@scripts/setup.sh $(@:setup-%=%)

build: rust wheel lua examples

# The default members, always all of them: another choice of packages would choose other features of the crates
# they share, and build those again.
rust: setup-rust
	cargo build --locked --lib --bins --examples
	@# Cargo leaves the ABI's number out of the file's name; programs look for it there.
	@ln -sf libtakings.so target/debug/libtakings.so.1

wheel: setup-wheel
	scripts/wheel.sh

lua: setup-rust
	lua/build.sh $(LUA)

# The module, optimised, for each Lua; for systems like this one. `make dist` packs it for older ones.
lua-dist:
	for lua in 5.1 5.2 5.3 5.4 jit; do lua/build.sh --release --into target/lua-dist/$$lua $$lua || exit; done
	cp lua/takings.d.lua lua/README.md target/lua-dist/

examples: $(foreach program,capture order,target/examples/$(program)-c target/examples/$(program)-cpp)

target/examples/%-c: examples/%.c include/takings.h | rust
	@mkdir -p $(@D)
	$(CC) -std=c99 $(warnings) -Iinclude $< -o $@ $(link)

target/examples/%-cpp: examples/%.cpp include/takings.h include/takings.hpp | rust
	@mkdir -p $(@D)
	$(CXX) -std=c++17 $(warnings) -Iinclude $< -o $@ $(link)

# The optimised C and C++ library as it is installed, and the libraries that the static one needs: only rustc's run that
# makes it prints them. No set-up is needed: a Rust toolchain and a C compiler suffice.
library:
	cargo rustc --release --locked --package takings-c --lib -- --print native-static-libs=$(CARGO_TARGET_DIR)/release/native-static-libs

# Makes all packages of the committed sources, in five to ten minutes from empty. They run on older systems than this
# one.
dist: setup
	@$(venv)/python scripts/dist.py

# Tests the packages of `make dist`; `make test` runs the same tests over unoptimised packages.
test-dist: setup
	TAKINGS_DIST=dist $(venv)/python -m pytest tests/dist

installed := DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' ffi-c/install.sh

# make install PREFIX=~/.local; DESTDIR and LIBDIR as usual: ffi-c/install.sh
install: library
	@$(installed) install

uninstall:
	@$(installed) uninstall

test:
	@scripts/test.sh

check:
	@scripts/test.sh check

soak: build
	TAKINGS_SOAK=100000 target/python/bin/python -m pytest -s -k flat tests/process/test_threads.py

soak-ledger: build
	TAKINGS_SOAK_LEDGER=1 target/python/bin/python -m pytest -s -n 4 --dist loadfile tests/ledger

soak-fleet: build
	TAKINGS_SOAK_FLEET=1 target/python/bin/python -m pytest -s -n 4 --dist worksteal tests/fleet

demo: setup-demo rust wheel examples
	lua/build.sh "$$(lua/find.sh)"
	@target/python/bin/python scripts/demo.py

# The flags are those of the tests, which then find the Rust documentation built.
docs: setup
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps
	$(venv)/python docs/build.py

# BENCH, LEDGER: see bench/README.md
bench: bench-contenders bench-ledger bench-fleet

bench-contenders: setup
	@bench/setup.sh
	target/bench/venv/bin/python bench/run.py $(BENCH)

# The ledger in an SQLite file. Any Python can run it.
bench-ledger:
	CARGO_TARGET_DIR=$(CURDIR)/target/bench cargo build --locked --release --package takings-cli --package takings-bench --bin takings --bin bench-server
	$(PYTHON) bench/run_ledger.py $(LEDGER)

# The ledger in PostgreSQL, whose server and driver are those of the tests.
bench-fleet: setup
	CARGO_TARGET_DIR=$(CURDIR)/target/bench cargo build --locked --release --package takings-cli --package takings-bench --bin takings --bin bench-server
	$(venv)/python bench/run_fleet.py $(FLEET)

# Runs each target for ten minutes; new inputs join fuzz/corpus/.
fuzz:
	fuzz/run.sh 600

fmt: setup
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	$(venv)/ruff format

# The faces are written first: the header is made from one of them.
bless: setup
	$(venv)/python scripts/generate.py
	TAKINGS_BLESS=1 cargo test --locked --package takings-c --test header

clean:
	rm -rf target dist python/LICENSE-THIRD-PARTY
