"""What every gRPC server of Trunkline needs, whatever it serves.

config      ServerSettings: the settings that every program has
errors      domain errors to gRPC statuses and wire items
calls       the interceptor that every call passes: errors, counts, latency
histogram   durations by bucket, for every program's metrics; domains may use it
health      grpc.health.v1, per service and overall
listening   taking a TCP port or a UNIX socket, or saying clearly why not
logging     structured logs, set up once
metrics     Prometheus metrics on a port of their own
server      run(): from start to graceful end
"""
