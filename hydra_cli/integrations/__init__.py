"""Doors in other people's programs: a provider for litellm, a plugin for ``llm``."""
