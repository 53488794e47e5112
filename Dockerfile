# tapline as an image: one program, no shell, no root, nothing to write but /data. docs/docker.md says how it is run.
#
#   docker build -t tapline .
#   docker run --rm tapline --help
#
# What it is made of can be said: FEATURES (see Cargo.toml), PROFILE (of cargo), and the two images below.
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# Kafka's client is C and C++, built by make; its TLS (FEATURES=kafka-tls) is the system's OpenSSL.
RUN apt-get update \
    && apt-get install -qy --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
ARG FEATURES=kafka
ARG PROFILE=release
# Nobody debugs in the image, and everybody waits for it.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_INCREMENTAL=0

# First the dependencies, under an empty program: this layer stays until Cargo.toml, Cargo.lock or an argument changes.
# Tests and benchmarks are the last sections of Cargo.toml, and name files that are not here.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[/,$d' Cargo.toml \
    && mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --locked --profile "$PROFILE" --features "$FEATURES" \
    && rm -r src

# Then the program. Cargo goes by times, and the files' are older than the empty program's.
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --features "$FEATURES" \
    && mkdir -p /out/data && cp target/*/tapline /out/ && strip /out/tapline && rm -r target

# Glibc, libgcc, OpenSSL, the certificates of the public authorities, and no shell. Time zones are in the program.
FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="tapline" \
    org.opencontainers.image.description="Collects live data: one YAML file per source in, timestamped JSON lines out, every gap accounted for" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/tapline /usr/local/bin/tapline
# A volume takes its owner from here.
COPY --from=build --chown=65532:65532 /out/data /data
COPY LICENSE-APACHE LICENSE-MIT /licenses/
USER 65532:65532
# So that config/tapline.yaml is /config/tapline.yaml, if it is there.
WORKDIR /
# What runs in a container is read by programs; whoever reads it himself says TAPLINE_LOG_FORMAT=text.
ENV TAPLINE_SOURCES=/sources TAPLINE_DATA=/data TAPLINE_LOG_FORMAT=json
# The live page, for whom the port is published. It wants a token, which is made: `tapline page` prints the address with it.
ENV TAPLINE_HTTP=0.0.0.0:8080 TAPLINE_HTTP_TOKEN_FILE=/data/.tapline/http-token
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=2 CMD ["/usr/local/bin/tapline", "health"]
ENTRYPOINT ["/usr/local/bin/tapline"]
CMD ["run"]
