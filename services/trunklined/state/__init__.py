"""StateService: keeps what agents must find again.

config        the settings
app           puts the program together; the one place that names engines
servicer      gRPC: unary calls, watches, and `connection`, the multiplexed stream of client libraries
operations    between the wire's requests and the domain, with `validation` of what comes in
store         the domain: gathers writes into commits, reads, and feeds `watch`
engines       where records are kept: memory, sqlite
"""
