"""Encoders and LLM weights: names, downloads, loading."""
