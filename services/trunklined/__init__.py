"""The programs of Trunkline: the bus, the state store and the sidecar."""
