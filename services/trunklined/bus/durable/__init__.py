"""Durable subscriptions: what each has to deliver, who takes it, and what becomes of it. Knows no disk and no wire."""
