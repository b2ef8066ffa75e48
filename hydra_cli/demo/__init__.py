"""A small sample: six made-up editors, the same fourteen stories and twelve tickets.

``histories.jsonl`` holds what each of them made of it, ``config.toml`` declares
the two tasks. Everything in it is invented for this project.
"""
