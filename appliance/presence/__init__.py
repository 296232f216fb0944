"""Says to vault that somebody held the box's own button."""
