"""vault: the keys, the tries, the staff. All rests on it; it speaks to its local socket, to audit and to the TPM."""
