"""Standard-library programs that run inside the sandbox: the player, its client, the stubs of downstreams.

They import nothing of butfor, so that a reproduction can carry copies of them.
"""
