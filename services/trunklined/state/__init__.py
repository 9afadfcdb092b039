"""StateService: keeps what agents must find again.

config        the settings
app           puts the program together; the one place that names engines
wire          gRPC: `servicer`, `connection` (the stream of client libraries), `operations` and `batch` (translation),
              `validation` (of records)
store         the domain: gathers writes into commits, reads, and feeds `watch`
batch         many operations of one call, over the store
planning      decides what a commit does, before an engine writes it
records       the words: operations, entries, changes
engines       where records are kept: memory, sqlite
"""
