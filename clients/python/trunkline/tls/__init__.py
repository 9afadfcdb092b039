"""TLS for both ends of a connection: what is read from files, what a client trusts, and why a handshake failed.

pem           certificates, keys and authorities from PEM, checked
options       Tls: what a client trusts, and shows of itself
handshake     the reason, in words, why a handshake failed
certificates  a development authority and what it signs
"""
