"""The audit process: append an entry, read entries. Nothing can be changed or removed."""
