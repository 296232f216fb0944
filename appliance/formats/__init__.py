"""Formats: bytes in, meaning out. No I/O, no clock, no randomness of their own; only core/errors below them.

Every format has a page with byte offsets in docs/formats/ and vectors in tests/vectors/.
"""
