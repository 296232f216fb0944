"""gateway: patients' connections, ciphertext, and nothing that opens it. Assume it captured (docs/processes.md)."""
