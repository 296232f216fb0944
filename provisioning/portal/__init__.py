"""The portal: a blind relay between patients and boxes, and the register of the boxes it relays for."""
