"""The command line: each command parses, calls a workflow and renders."""
