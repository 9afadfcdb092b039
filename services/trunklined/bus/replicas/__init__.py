"""What the replicas of one bus tell each other, so that live messages and requests pass between clients of different
ones. To the broker another replica is a subscriber with many patterns.

peers              what the broker asks of the others; and that it is alone
replicas           the others: who there is, what each hears of
peer               one other replica: what it wants, what waits for it
forwarded_request  a request that was asked at another replica
interest           who listens here, as the others are told
items              what is sent, and how it is written
exchange           what they find each other and speak through
redis              that, over Redis
"""
