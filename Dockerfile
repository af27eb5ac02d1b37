# Quorate's image: one static binary and an empty directory for its data.
#
#   docker build --tag quorate .
#
# For another architecture: `docker buildx build --platform linux/arm64 .`. The build stage is then an image of that
# architecture, and nothing below names one. Put `rust@sha256:...` into RUST where tags are not trusted.
ARG RUST=rust:1.95-slim-bookworm

FROM ${RUST} AS build
WORKDIR /src

# glibc is linked in, so that the last stage needs no library. Names are resolved by the resolvers of files and DNS that are part
# of it. `--target` keeps the flag away from what runs during the build, procedural macros, which must be loaded dynamically.
# The moment is what C code is told that wants to say when it was compiled.
ENV RUSTFLAGS="-C target-feature=+crt-static" \
    CARGO_PROFILE_RELEASE_STRIP=symbols \
    SOURCE_DATE_EPOCH=0

# The dependencies, a layer that lasts until Cargo.toml or Cargo.lock change: the package is compiled with nothing in it, and
# forgotten again. Cargo wants to see the benches that Cargo.toml lists.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && echo 'fn main() {}' | tee build.rs > src/main.rs \
    && touch src/lib.rs $(sed -n '/^\[\[bench\]\]/{n;s|^name = "\(.*\)"|benches/\1.rs|p}' Cargo.toml) \
    && target="$(rustc --print host-tuple)" \
    && cargo build --release --locked --target "$target" \
    && cargo clean --release --locked --target "$target" --package quorate

COPY . .
RUN target="$(rustc --print host-tuple)" \
    && cargo build --release --locked --target "$target" --bin quorate \
    && mkdir -p /image/data \
    && cp "target/$target/release/quorate" /image/quorate \
    && touch --date="@$SOURCE_DATE_EPOCH" /image/data /image/quorate

FROM scratch
COPY --from=build /image/quorate /quorate
# A volume that is empty takes over who owns the directory that it is mounted on.
COPY --from=build --chown=65532:65532 /image/data /var/lib/quorate
USER 65532:65532
EXPOSE 7400 7401 7402 7403
ENTRYPOINT ["/quorate"]
# A single node that a published port reaches. Whoever gives arguments replaces all of these.
CMD ["server", "--listen", "0.0.0.0:7400", "--data", "/var/lib/quorate"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="quorate" \
      org.opencontainers.image.description="A strongly consistent message queue on its own Raft, in one binary" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
