"""watch: reads certificate logs, by timer, and compares with the page's own keys.

It holds nothing: captured, it can be silent or cry for nothing. What a box reads and what it leaves to monitors:
docs/decisions/certificate-watch.md.
"""
