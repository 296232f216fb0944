"""The software of the box: one folder a process, and three that they share (core, contracts, formats)."""
