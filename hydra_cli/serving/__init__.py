"""The OpenAI-compatible server over one warm ``Hydra``. Needs the extra ``[serve]``."""
