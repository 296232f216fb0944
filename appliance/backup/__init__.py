"""backup: carries sealed generations to a store by restic, tests that they come back, and brings them back.

Sees of the practice nothing but sealed bytes: records lays them out, vault seals the keys to the kit's paper. Holds
the store's credentials and the repository's password, which opens sealed generations only. docs/formats/backup.md.
"""
