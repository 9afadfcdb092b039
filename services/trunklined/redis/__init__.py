"""What every engine over Redis needs: how its server is found, called, checked and trusted. Valkey counts as Redis.

target       where Redis is: one URL, and what belongs to it
tls          what is trusted of it by TLS, and shown to it
settings     the settings that name it
connections  connections to the master that has some keys: standalone, Sentinel or Cluster
link         calls that are bounded, retried where nothing was done, and whose errors are translated
errors       what the errors of Redis mean
script       scripts that are loaded where they are not
lease        a lease with a rising number, held by one of several replicas
checks       what is looked at before anything is written
durability   what Redis keeps of what it answered
"""
