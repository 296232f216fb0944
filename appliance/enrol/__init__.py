"""enrol: the technician's door, only while the box is unprovisioned. Holds nothing; gone afterwards."""
