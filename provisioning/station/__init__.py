"""The technician's bench: has a box make its keys, registers it with the portal, prints the handover sheet."""
