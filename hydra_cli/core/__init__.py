"""The domain: no torch, Typer, LanceDB or litellm is imported here."""
