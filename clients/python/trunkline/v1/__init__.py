"""The wire: code generated from protos/trunkline/v1 by `make protos`. Never edited by hand."""
