"""Personalize any black-box LLM for one user at a time.

Nothing heavy is imported here: torch, transformers, lancedb and litellm load
only inside the commands that need them.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
