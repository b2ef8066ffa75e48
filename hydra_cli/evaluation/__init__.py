"""Methods, the engine that runs them over the same queries, and what came out."""
