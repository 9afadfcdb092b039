"""Commands about messages, durable subscriptions and dead letters."""
