"""HYDRA as published (arXiv 2406.02888): the yardstick.

``hydra`` takes enough steps for a small store, ``hydra-paper`` the paper's own
settings. One fine-tuned cross-encoder for each stage, shared by everybody, and one dense
head a user and stage on its first token. ``docs/design/yardsticks.md`` lists
what is as in the paper and every deviation.
"""
