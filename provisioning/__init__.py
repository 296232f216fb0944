"""The vendor's side: what stands outside the practice. It imports contracts, formats and core/errors only."""
