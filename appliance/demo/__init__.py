"""The whole box on one machine: systemd's own units in a systemd-nspawn container. No part of a shipped box."""
