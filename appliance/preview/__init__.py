"""The preview process: one document in, a picture or a text out, then it ends."""
