"""`trunkline migrate`: copies what a service keeps from a SQLite file into Redis, and back.

rows     what is copied, and how both sides show it
copying  the copy itself, and the comparison at its end
files    the file's side: the source under its lock, the target that is no store until it is whole
rooms    Redis's side: the same, and the lease that keeps others away meanwhile
bus      the rows of a journal
state    the rows of a store
command  the command line
"""
