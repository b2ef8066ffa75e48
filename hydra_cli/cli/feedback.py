"""``hydra-pers feedback``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hydra_cli.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra_cli.core.feedback import Feedback, Given


def feedback(
    answer: Annotated[
        str | None,
        typer.Argument(help="The answer's id, or 'last' for the newest.", show_default=False),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="It is fine as it is.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Nothing of it is right.")] = False,
    choose: Annotated[
        int | None,
        typer.Option(
            "--choose", metavar="N", help="This candidate is better; 1 is the one that was shown."
        ),
    ] = None,
    edit: Annotated[
        Path | None,
        typer.Option(
            "--edit", metavar="FILE", help="A file with the text as it should be; - is stdin."
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the last word on the answer.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="List the feedback in effect, newest first.")
    ] = False,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="Only this user's answers.")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Say what you think of an answer; the next ones heed it.

    Example: hydra-pers feedback last --edit corrected.txt
    """
    from hydra_cli.cli.progress import opened
    from hydra_cli.cli.render import print_json
    from hydra_cli.core.errors import UsageError

    said = {"accept": accept, "reject": reject, "choose": choose is not None}
    words = [name for name, given in {**said, "edit": edit, "undo": undo, "list": list_}.items()
             if given]  # fmt: skip
    if list_ and len(words) == 1 and answer is None:
        with opened(store) as hydra:
            found = hydra.feedbacks(user)
        show_list(found, as_json=json)
        return
    if answer is None or len(words) != 1 or list_:
        raise UsageError(
            "name one answer and say one thing about it",
            hint="`hydra-pers feedback last --accept`, --reject, --choose N, --edit FILE or "
            "--undo; `hydra-pers feedback --list`",
        )
    text = None if edit is None else read_edit(edit)
    with opened(store) as hydra:
        if undo:
            given = hydra.undo_feedback(answer, user=user)
        else:
            given = hydra.feedback(
                answer, accept=accept, reject=reject, choose=choose, edit=text, user=user
            )
    if json:
        print_json(as_mapping(given))
    else:
        show(given, undone=undo)


def read_edit(path: Path) -> str:
    """The text of a file, or of stdin; UsageError where it can't be read."""
    from hydra_cli.core.errors import UsageError

    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8") from error
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error


def as_mapping(given: Given) -> dict[str, Any]:
    """Both words and whether anything was learned, for machines."""
    replaced = given.replaced
    return {
        "feedback": given.feedback.as_mapping(),
        "replaced": replaced and replaced.as_mapping(),
        "learned": given.learned,
    }


def show(given: Given, *, undone: bool) -> None:
    """What was written down, and what comes of it."""
    from hydra_cli.cli.render import say

    said, before = given.feedback, given.replaced
    if undone:
        say(f"taken back: {described(said)}")
        say(f"in effect again: {described(before)}" if before else "nothing is said of it now")
    else:
        say(f"{said.user}, {said.task}: {described(said)}")
        if before:
            say(f"in place of: {described(before)}")
    if not undone and said.record:
        say(f"it is a record now: {said.record}")
    if given.learned:
        say("answers are ordered as before" if undone else "the order of the next answers heeds it")
    elif not undone and not said.record:
        say("it is counted; there was no other candidate to learn an order from")


def described(said: Feedback) -> str:
    """One word in a few: ``edited, 4 of 12 words changed``."""
    if said.kind == "edit":
        from hydra_cli.core.counting import counted

        return f"edited, {counted(said.distance or 0, 'word')} changed of {said.words}"
    if said.kind == "choose":
        return f"candidate {said.choice} chosen"
    return {"accept": "accepted", "reject": "rejected"}[said.kind]


def show_list(found: Sequence[Feedback], *, as_json: bool) -> None:
    """A table, or everything for machines."""
    from hydra_cli.cli.render import print_json, print_table, say
    from hydra_cli.core.counting import counted

    if as_json:
        print_json([said.as_mapping() for said in found])
        return
    rows = [
        (f"{said.time.astimezone():%Y-%m-%d %H:%M}", said.user, said.task, described(said),
         said.answer)
        for said in found
    ]  # fmt: skip
    print_table(None, ("time", "user", "task", "feedback", "answer"), rows)
    say(f"feedback on {counted(len(found), 'answer')}")
