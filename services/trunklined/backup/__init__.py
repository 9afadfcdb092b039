"""`trunkline backup`: copies what services keep in files, while they run, and puts it back.

stores     the stores of a data directory, and their state at one moment
manifest   what a backup says of itself
checks     whether a backup can be trusted
making     a data directory into a backup
restoring  a backup into an empty data directory
command    the command line
"""
