"""The bus over gRPC."""
