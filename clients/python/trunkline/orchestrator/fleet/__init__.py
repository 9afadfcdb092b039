"""Several orchestrators as one: members, claims, placement."""
