"""The edge: LanceDB, litellm, transformers and files, each behind a protocol of the core."""
