"""The common parts of all gRPC servers.

config      ServerSettings: the settings that every program has
errors      domain errors to gRPC statuses and wire items; the interceptor that every call passes
interceptor what every call passes on its way to its handler
compression answers compressed where the caller asks for it
histogram   durations by bucket, for every program's metrics; domains may use it
health      grpc.health.v1, per service and overall
identity    who makes a call, as far as that was proved
access      the interceptor that every call passes: who makes it, and whether they may
listening   binding a TCP port or a UNIX socket
tls         the certificate that a program serves with, read anew when its files change
upstream    a program's connection to another service
logging     structured logs, set up once
times       seconds and UNIX time to the wire's times, and back
page_token  sizes of pages, and tokens that name the next one
metrics     Prometheus metrics on a port of their own
server      run(): from start to graceful end
"""
