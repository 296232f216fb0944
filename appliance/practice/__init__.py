"""practice: staff's pages and the intake of practice software, on the practice network.

Faces people in `routes` and asks vault, records and tunnel by their contracts. Holds the LAN certificate, and a link
between making a share and its printing; no other secret.
"""
