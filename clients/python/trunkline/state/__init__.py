"""The contract of every store, and the parts that all stores share."""
