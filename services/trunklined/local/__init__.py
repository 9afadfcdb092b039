"""The bus and the store of one process: the services' domain and the clients' own code, without a network between them.

`trunkline.InMemoryMessageBus` and `trunkline.InMemoryStateManager` live here.
"""
