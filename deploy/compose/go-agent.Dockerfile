# clients/go/examples/measure, alone in its image. The context is clients/go. BUILD is the stage below, or an image of
# yours that has /measure.
ARG GO=golang:1.26
ARG BUILD=build

FROM ${GO} AS build
WORKDIR /src
COPY go.mod go.sum ./
# GOPROXY and an authority of a mirror, where there is one.
RUN --mount=type=secret,id=go.env --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    GOENV=/run/secrets/go.env go mod download
COPY . .
RUN CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -ldflags=-s -o /measure ./examples/measure

FROM ${BUILD} AS built

FROM scratch
COPY --from=built /measure /measure
USER 10001:65532
STOPSIGNAL SIGINT
ENTRYPOINT ["/measure"]
CMD ["unix:/run/trunkline/sidecar.sock", "unix:/run/trunkline/sidecar.sock"]
