# The server, alone in an image: no shell, no package manager, not root.
#
#   docker build -t patchbay --build-arg VERSION=v1.2.3 .
#   docker run -d --name patchbay -p 7443:7443 -v patchbay:/data patchbay
#   docker exec patchbay /patchbay resource list

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=devel
ARG COMMIT=
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X patchbay.dev/patchbay/internal/version.version=$VERSION -X patchbay.dev/patchbay/internal/version.commit=$COMMIT" \
      -o /out/patchbay ./cmd/patchbay \
 && mkdir /out/data /out/tmp \
 && echo 'patchbay:x:65532:65532:Patchbay:/data:/sbin/nologin' >/out/passwd \
 && echo 'patchbay:x:65532:' >/out/group

FROM scratch
COPY --from=build /out/passwd /out/group /etc/
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/patchbay /patchbay
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
COPY --from=build --chown=65532:65532 --chmod=0700 /out/tmp /tmp
COPY LICENSE NOTICE /
USER 65532:65532
ENV PATCHBAY_DATA=/data HOME=/data
VOLUME /data
EXPOSE 7443
STOPSIGNAL SIGTERM
# Asks the server as its administrator would: it answers, its records are read.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["/patchbay", "operation", "list", "--active", "--output", "none"]
ENTRYPOINT ["/patchbay"]
CMD ["serve", "--listen", "0.0.0.0:7443"]
