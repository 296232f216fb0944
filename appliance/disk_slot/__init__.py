"""disk-slot: one slot in the disk's LUKS2 header that the practice's recovery kit opens. Root, on demand."""
