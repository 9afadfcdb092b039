"""Commands about agents and their orchestrators."""
