"""What is said where an LLM's answers are made elsewhere."""

from __future__ import annotations

from hydra_cli.cli.render import print_json, print_line, say
from hydra_cli.llm.offline import Written


def show_written(written: Written, *, as_json: bool) -> None:
    """The file of requests that has to be answered elsewhere, and how to go on."""
    if as_json:
        print_json({"requests": written.requests, "kept": written.kept, "file": str(written.path)})
        return
    print_line(f"{written.requests:,} requests to the LLM are in {written.path}")
    if written.kept:
        print_line(f"{written.kept:,} others are answered already")
    say("have them answered, then run the same command with --answers RESULTS.jsonl as well")
