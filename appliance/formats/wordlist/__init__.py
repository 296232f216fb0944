"""Words that stand for numbers: data of others, with its licence."""
