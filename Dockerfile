# syntax=docker/dockerfile:1
# An image with the daemon and wal-tools: docs/operations.md#containers.
#
#   docker build --tag forebay --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" .

FROM rust:1.95-slim-bookworm AS build
# librdkafka and OpenSSL are built from source.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make perl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# `forebay_build_info` shows the commit. It is an argument because the build has no access to the git history.
ARG COMMIT=unknown
# The caches keep downloads and build results for the next build. `install` copies the programs out of them, without debug symbols.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    FOREBAY_COMMIT="$COMMIT" cargo build --release --locked --package forebay --package wal-tools \
    && install --strip -D --target-directory=/programs target/release/forebay target/release/wal-tools

FROM debian:bookworm-slim
# The ids are fixed, because the owner of a log in a volume must not depend on the image.
RUN groupadd --system --gid 10001 forebay \
    && useradd --system --uid 10001 --gid forebay --home-dir /var/lib/forebay --shell /usr/sbin/nologin forebay \
    && install --directory --owner=forebay --group=forebay --mode=0700 /var/lib/forebay
COPY --from=build /programs/ /usr/bin/
COPY --chmod=755 packaging/docker/healthcheck /usr/lib/forebay/healthcheck
COPY config/production.toml /etc/forebay/forebay.toml
COPY LICENSE /usr/share/doc/forebay/LICENSE
USER 10001:10001
WORKDIR /var/lib/forebay
# The log must outlive the container: mount a volume of a local disk here.
VOLUME /var/lib/forebay
EXPOSE 8088
# Recovery precedes the start of the listeners, and may take minutes on a slow disk.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --start-interval=1s --retries=3 \
    CMD ["/usr/lib/forebay/healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/forebay"]
CMD ["serve", "--config", "/etc/forebay/forebay.toml"]
