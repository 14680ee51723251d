# Short names for frequent commands. `just` lists them. Each calls cargo, or a script in scripts/ or tests/.

_default:
    @just --list --unsorted

# Run the daemon: no configuration, an embedded broker, loopback only
serve:
    cargo run --release -- serve

# Check format, lints and documentation: run it before every commit
check:
    tests/run fmt clippy docs

# Run one test program, for example `just test users login::`
test program *filter:
    scripts/cargo test --test {{program}} -- {{filter}}

# Run the unit tests of one module, for example `just unit drain::`
unit filter:
    scripts/cargo test --lib -- {{filter}}

# Run everything that CI runs
ci:
    tests/run

# Build the Debian packages in target/debian
package:
    scripts/package

# Check links and tables of the documentation
docs:
    scripts/docs
