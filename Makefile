# UKL: the tools, the kernel archive, and the tests. `make` builds everything in
# place; `make run` boots an example.

PREFIX ?= /usr/local
DESTDIR ?=

bin := target/release
lib := target/lib/ukl
documents := target/documents
tools := ukl-cc ukl-ld ukl-run ukl-pack symbol-rewriter
# The tools, and the other name of ukl-cc.
commands := $(tools) ukl-c++
host := x86_64-unknown-linux-gnu
# The names under which compilers run a linker, by default and with -fuse-ld=.
lds := ld ld.bfd ld.gold ld.lld ld.mold

# These variables are for what a user builds with UKL, not for building UKL.
unexport RUSTFLAGS CARGO_TARGET_DIR CARGO_BUILD_TARGET UKL_LIBDIR UKL_FLAGS UKL_IMAGE
export CARGO_TARGET_DIR := $(CURDIR)/target
cargo := cargo

.PHONY: all documents uninstall deps test-deps tools init kernel layout shortcuts run test lint test-debug-kernel bench-tools bench-syscalls bench-redis install clean distclean \
	kernel-loc kernel-off-check kernel-checkpatch kernel-bisect
.DEFAULT_GOAL := all

all: tools layout shortcuts documents

# Installs missing Debian packages. Quick if none is missing.
deps:
	@scripts/deps
	@command -v $(cargo) >/dev/null || { \
		echo "error: cargo is missing: install Rust 1.88 or later, https://rustup.rs" >&2; exit 1; }

tools: deps
	$(cargo) build --release
	@ln -sfn ukl-cc $(bin)/ukl-c++

# The guest's init is static, because the image contains no shared libc.
init: deps
	CARGO_TARGET_DIR=$(CURDIR)/target/init \
	RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
	$(cargo) build --release -p ukl-init --target $(host)

# Builds the kernel archive in ~/.cache/ukl, or finds it there.
kernel: deps
	@mkdir -p $(lib)
	@archive=$$(kernel/build) && ln -sfn "$$archive" $(lib)/kernel && kernel/prune "$$archive"

# The kernel code that comes with UKL, ukl.h and libukl.a.
shortcuts: tools layout
	@$(MAKE) --no-print-directory -C shortcuts LIB=$(CURDIR)/$(lib) UKL_CC=$(CURDIR)/$(bin)/ukl-cc

# The man pages and shell completions, as they are installed below PREFIX/share.
documents: tools
	@rm -rf $(documents)
	@$(bin)/ukl-docgen $(documents)

layout: init kernel
	@mkdir -p $(lib)/libexec
	@for ld in $(lds); do ln -sfn ../../../release/ukl-ld $(lib)/libexec/$$ld; done
	@cmp -s target/init/$(host)/release/ukl-init $(lib)/init || \
		install -m 755 target/init/$(host)/release/ukl-init $(lib)/init

run: all
	@mkdir -p target/examples
	@cp -ru examples/hello target/examples/
	@# -B, because the tools may have changed since the last build.
	$(MAKE) --no-print-directory -B -C target/examples/hello CC=$(CURDIR)/$(bin)/ukl-cc
	$(bin)/ukl-run $(RUN_FLAGS) target/examples/hello/hello

# Packages that only the tests need: other compilers and build systems,
# debuggers, clients of servers.
test-deps:
	@scripts/deps --tests

# Runs every suite, even if one fails, and ends with a summary. All dependencies
# are installed, so no test may be skipped. SUITES=... runs only these suites
# (testsuite/run --list).
test: export UKL_TEST_NO_SKIPS := 1
test: all test-deps
	@CARGO=$(cargo) testsuite/run $(SUITES)

# Static checks.
lint: deps test-deps kernel-loc kernel-checkpatch
	$(cargo) fmt --check
	$(cargo) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(cargo) doc --release --workspace --no-deps
	scripts/check-links
	shellcheck $(shell git ls-files | xargs grep -lE '^#!(/usr)?/bin/(env )?(ba)?sh') kernel/lib.sh

# The battery on a debug kernel, which checks locks, contexts, memory and entry
# code (kernel/config/debug.config). It needs more memory and more time.
debug := target/debug-kernel/ukl
test-debug-kernel: export UKL_LIBDIR := $(CURDIR)/$(debug)
test-debug-kernel: export UKL_TEST_PATIENCE ?= 10
test-debug-kernel: export UKL_TEST_MEMORY ?= 1024
test-debug-kernel: export UKL_TEST_NO_SKIPS := 1
test-debug-kernel: all test-deps
	@mkdir -p $(debug)
	@cp -r $(lib)/libexec $(lib)/init $(debug)/
	@archive=$$(UKL_KERNEL_CONFIG=debug kernel/build) && ln -sfn "$$archive" $(debug)/kernel && kernel/prune "$$archive"
	@$(MAKE) --no-print-directory -C shortcuts LIB=$(CURDIR)/$(debug) UKL_CC=$(CURDIR)/$(bin)/ukl-cc
	@CARGO=$(cargo) CARGO_TARGET_DIR=$(CURDIR)/target UKL_TEST_RUN=$(CURDIR)/target/testsuite/run/debug \
		testsuite/run testsuite/battery

# The time and memory that the tools use, compared to the host's tools.
bench-tools: all
	$(cargo) bench -p testsuite --bench tools

bench-syscalls: all
	@testsuite/benches/syscalls

# The cost of redis requests: unmodified, and with the shortcuts called by name.
bench-redis: all
	$(cargo) bench -p testsuite --bench redis

kernel-loc:
	@kernel/loc

kernel-checkpatch: deps
	@kernel/checkpatch

kernel-off-check: deps
	@kernel/off-check

kernel-bisect: deps
	@kernel/bisect

# `sudo make install` after `make` must not build everything again with root's
# cache.
install:
	@[ -x $(bin)/ukl-run ] && [ -e $(lib)/kernel/vmlinux ] && [ -e $(lib)/init ] && \
		[ -e $(documents)/man ] || $(MAKE) all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/ukl/libexec
	install -m 755 $(addprefix $(bin)/,$(tools)) $(DESTDIR)$(PREFIX)/bin
	ln -sfn ukl-cc $(DESTDIR)$(PREFIX)/bin/ukl-c++
	for ld in $(lds); do ln -sfn ../../../bin/ukl-ld $(DESTDIR)$(PREFIX)/lib/ukl/libexec/$$ld; done
	install -m 755 $(lib)/init $(DESTDIR)$(PREFIX)/lib/ukl/init
	rm -rf $(DESTDIR)$(PREFIX)/lib/ukl/kernel
	rm -rf $(DESTDIR)$(PREFIX)/lib/ukl/shortcuts
	cp -r --no-preserve=ownership $(lib)/shortcuts $(lib)/include $(lib)/libukl.a \
		$(DESTDIR)$(PREFIX)/lib/ukl
	cp -rL --no-preserve=ownership $(lib)/kernel $(DESTDIR)$(PREFIX)/lib/ukl/kernel
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/ukl/rust/ukl/,src c)
	install -m 644 $(wildcard share/*) $(DESTDIR)$(PREFIX)/share/ukl
	install -m 644 ukl/Cargo.toml ukl/build.rs $(DESTDIR)$(PREFIX)/share/ukl/rust/ukl
	install -m 644 ukl/c/* $(DESTDIR)$(PREFIX)/share/ukl/rust/ukl/c
	install -m 644 ukl/src/*.rs $(DESTDIR)$(PREFIX)/share/ukl/rust/ukl/src
	for file in $$(cd $(documents) && find . -type f); do \
		install -D -m 644 $(documents)/$$file $(DESTDIR)$(PREFIX)/share/$$file || exit 1; done

# Removes what `make install` with the same PREFIX and DESTDIR installed.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(commands))
	rm -rf $(DESTDIR)$(PREFIX)/lib/ukl $(DESTDIR)$(PREFIX)/share/ukl
	rm -f $(foreach command,$(commands),$(addprefix $(DESTDIR)$(PREFIX)/share/, \
		man/man1/$(command).1 bash-completion/completions/$(command) \
		zsh/site-functions/_$(command) fish/vendor_completions.d/$(command).fish))

clean:
	rm -rf target

# Also removes the cache, with kernel archives, kernel sources and rewritten
# libraries.
distclean: clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/ukl"
