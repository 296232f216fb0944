"""What processes may ask of each other: one `.varlink` file and one typed module per interface."""
