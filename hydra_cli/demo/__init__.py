"""A small sample: six made-up editors and two agents of a made-up shop.

``histories.jsonl``: what each editor made of the same fourteen stories and
twelve tickets. ``replies.jsonl``: how each agent answered the same twenty
messages, in several lines. ``config.toml`` declares the three tasks.
Everything in it is invented for this project.
"""
