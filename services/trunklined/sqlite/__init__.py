"""SQLite files of the services: created whole or not at all, locked by one program, checked, migrated.

file         the lock, connections, the meaning of errors
format       a kind of file: creation, checks, migration
synced_file  a file that a program owns: lock, connections, synced commits
work_thread  the thread that waits for the disk
copying      copies of a file, made while others write it
tail         the note beside a file of how far answered commits go
"""
