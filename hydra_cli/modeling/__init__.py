"""Features, heads and training. May import torch; never looks at the CLI or the store."""
