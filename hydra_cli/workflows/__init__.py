"""Use cases as plain functions; store, encoder and LLM are passed in."""
