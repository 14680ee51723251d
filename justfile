# Daily commands. `just` lists them; each only calls a script of tests/ or cargo.

_default:
    @just --list --unsorted

# Run the daemon: no configuration, an in-process Kafka, loopback only
serve:
    cargo run --release -- serve

# Format, lints and documentation: before every commit
check:
    tests/run fmt clippy docs

# One test program, such as `just test users login::`
test program *filter:
    scripts/cargo test --test {{program}} -- {{filter}}

# Unit tests of one module, such as `just unit drain::`
unit filter:
    scripts/cargo test --lib -- {{filter}}

# Everything CI runs
ci:
    tests/run

# The Debian packages, in target/debian
package:
    scripts/package

# Links and tables of the documentation
docs:
    scripts/docs
