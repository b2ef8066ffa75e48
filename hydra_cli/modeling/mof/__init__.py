"""Routing over shared facets, after MoF (arXiv 2610.08330): the second yardstick.

Seven facet heads on a shared cross-encoder, mixed by a router that reads only
the user's history; a new user needs no fit.

Simplified against the paper, as far as its summary tells:

- the encoder is the store's own, not bge-base-en-v1.5, and one copy is tuned
  for each stage;
- the router reads the newest 32 records, each as its cached input vector
  beside the vector of its output, instead of encoding histories anew;
- sizes (router of 64 dimensions and one layer, sparse code of 128, facets of
  128 hidden units, K = 3), the weights of the losses, and a learning rate of
  1e-3 for router and facets are our choice; the encoder is trained with the
  settings of the recipe ``hydra``;
- an answer of a generation task is labelled 1 where its grade is above the
  mean of the LLM's answers to that query.
"""
