# The image of Vestibule: the program, the CA roots, and nothing to run besides. docs/image.md; deploy/image makes the same
# without a container tool.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#     --build-arg REVISION=$(git rev-parse HEAD) --output type=oci,dest=vestibule.oci.tar,rewrite-timestamp=true .

# Any image with Debian 12 or later, the compiler of rust-toolchain.toml and a C compiler.
ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG FINAL_IMAGE=scratch

# On the builder's own architecture, whatever the image is for.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETARCH
ARG BUILDARCH
# What Debian has of these today: of them the CA roots and the static C library get into the image.
# hadolint ignore=DL3008
RUN set -eu; \
    case $BUILDARCH-$TARGETARCH in \
      amd64-arm64) set -- gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;; \
      arm64-amd64) set -- gcc-x86-64-linux-gnu libc6-dev-amd64-cross ;; \
    esac; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates python3 "$@"; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ARG SOURCE_DATE_EPOCH=0
ARG REVISION=unknown
ENV SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH VESTIBULE_REVISION=$REVISION
RUN deploy/binary "$TARGETARCH" /vestibule && \
    deploy/image --program "$TARGETARCH=/vestibule" --rootfs /image

FROM ${FINAL_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Vestibule" \
      org.opencontainers.image.description="A TLS and bearer-token sidecar for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
USER 65532:65532
EXPOSE 10443 10444
ENTRYPOINT ["/vestibule"]
CMD ["serve"]
