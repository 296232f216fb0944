"""The release key holders' side: which boots of a release may open a box's keys. Computes and signs; needs no TPM."""
