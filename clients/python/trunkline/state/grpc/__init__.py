"""The store over gRPC."""
