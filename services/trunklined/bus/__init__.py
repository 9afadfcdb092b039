"""BusService: publish/subscribe and request/reply."""
