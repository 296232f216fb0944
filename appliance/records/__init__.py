"""The records process: patients, documents and shares. It sees everything of the practice and has no network."""
