"""HYDRA as published (arXiv 2406.02888): the yardstick.

One fine-tuned cross-encoder for each stage, shared by everybody, and one dense
head a user and stage on its first token. ``docs/design/yardsticks.md`` lists
what is as in the paper and every deviation.
"""
