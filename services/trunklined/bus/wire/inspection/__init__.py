"""What people ask of the bus who look for the reason of something; of several replicas each answers for itself.

questions    puts a question to all replicas
lists        subscriptions, page by page, and figures
explaining   who would get a message
stuck        what does not move
tracing      what happened to a message
tailing      live traffic, as far as somebody can read it
"""
