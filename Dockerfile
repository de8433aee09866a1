# What `cargo xtask images` builds, for those who build with a Dockerfile: one static binary each, nothing else.
#   docker build --target coppice-operator -t localhost/coppice-operator:0.1.0 .
#   docker build --target coppice-sidecar -t localhost/coppice-sidecar:0.1.0 .
#   docker build --target coppice-demo -t localhost/coppice-demo:0.1.0 .
# Only that command also guides the compiler by a profile of visits, for which a visit costs less.
FROM rust:1.95-bookworm AS build
WORKDIR /coppice
COPY . .
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile dist --target "$(uname -m)-unknown-linux-gnu" \
      --package coppice-operator --package coppice-sidecar --package coppice-demo --features coppice-sidecar/jemalloc \
    && mkdir /programs && cd "target/$(uname -m)-unknown-linux-gnu/dist" \
    && mv coppice-operator coppice-sidecar coppice-demo /programs/

FROM scratch AS program
LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532

FROM program AS coppice-operator
LABEL org.opencontainers.image.title="coppice-operator"
COPY --from=build /programs/coppice-operator /coppice-operator
ENTRYPOINT ["/coppice-operator"]

FROM program AS coppice-sidecar
LABEL org.opencontainers.image.title="coppice-sidecar"
COPY --from=build /programs/coppice-sidecar /coppice-sidecar
ENTRYPOINT ["/coppice-sidecar"]

FROM program AS coppice-demo
LABEL org.opencontainers.image.title="coppice-demo"
COPY --from=build /programs/coppice-demo /coppice-demo
ENTRYPOINT ["/coppice-demo"]
