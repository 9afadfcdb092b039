"""Durable subscriptions: who has seen what, who holds what, and what comes next. No clocks, no disk: see `Desk`."""
