"""Users' records, vectors, heads and answers on disk."""
