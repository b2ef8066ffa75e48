"""Real clients of other people, each in an environment of its own, against a running server."""
