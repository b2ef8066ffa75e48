"""What a user's feedback does to their adapter's weights.

Each answer with feedback is a list for the conditional logit: an edit grades all
of its candidates, a choice names one, and so does acceptance, which weighs less,
as nobody looked at the others. A rejected answer loses to each of the others (a
logit of pairs; Bradley and Terry, 1952). The move of the weights has a Gaussian
prior around zero or, for people who edit, around what saves them words. Which of
the two, and how wide it is, nobody knows: each centre with each of a few
precisions, and infinite, counts by its evidence (Laplace's approximation; MacKay,
Neural Computation 4, 1992). Feedback that contradicts itself is evidence for no
move; a bound on the move's length holds whatever is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hydra_cli.core.feedback import Feedback, Heard
from hydra_cli.modeling.factorized import listwise
from hydra_cli.modeling.factorized.lists import soft_targets
from hydra_cli.modeling.factorized.listwise import Floats, ItemList

PRECISIONS = (100.0, 400.0)
"""Prior precisions of the move, per feature of unit scale; infinite stands beside them.

Smaller ones save training users no more words, and hostile feedback costs more.
"""
EDITING_ODDS = 4.0
"""How much likelier than not it is, before any evidence, that who edits wants words saved."""
CHOSEN, ACCEPTED, REJECTED = 0.5, 0.3, 0.5
"""What other words weigh beside an edit, which ranks all candidates."""


@lru_cache(maxsize=256)
def moved_by(
    heard: Heard,
    feature_set: str,
    weights: tuple[float, ...],
    editing: tuple[float, ...] | None = None,
) -> tuple[float, ...] | None:
    """The weights (f,) after the feedback; None where there is nothing to learn from it.

    ``editing`` (f,) is the move that saves words, for people who edit; None: there is none.
    """
    lists = [
        one
        for said in heard.feedback
        if said.feature_set == feature_set
        for one in lists_of(said, len(weights))
    ]
    if not lists:
        return None
    fitted = np.array(weights)
    edits = any(said.kind == "edit" for said in heard.feedback)
    centre = np.array(editing) if editing is not None and edits else None
    return tuple((fitted + move(lists, fitted, centre)).tolist())


def lists_of(said: Feedback, width: int) -> list[ItemList]:
    """What one feedback says of its candidates; nothing where there is no choice among them."""
    features = np.array(said.features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2 or features.shape[1] < width:
        return []
    features = features[:, :width]
    place = None if said.choice is None else said.choice - 1
    if said.kind == "edit":
        if len(said.grades) != len(features) or max(said.grades) == min(said.grades):
            return []
        return [ItemList(features, soft_targets(said.grades))]
    if place is None or not 0 <= place < len(features):
        return []
    if said.kind == "reject":
        others = [i for i in range(len(features)) if i != place]
        won = np.array([1.0, 0.0])
        weight = REJECTED / len(others)
        return [ItemList(features[[other, place]], won, weight) for other in others]
    named = np.zeros(len(features))
    named[place] = 1.0
    return [ItemList(features, named, ACCEPTED if said.kind == "accept" else CHOSEN)]


def move(lists: Sequence[ItemList], weights: Floats, editing: Floats | None = None) -> Floats:
    """How far the lists move the weights (f,): at most by the weights' own length."""
    packed = listwise.pack([lists])
    nothing = np.zeros_like(weights)
    centres = [(nothing, 0.0)]
    if editing is not None:
        centres.append((editing, math.log(EDITING_ODDS)))
    moves, evidence = [], []
    for centre, odds in centres:
        prior = (weights + centre)[None]
        moves.append(centre)
        evidence.append(odds - float(listwise.loss(packed, prior, prior, nothing)[0]))
        for value in PRECISIONS:
            precision = np.full_like(weights, value)
            found = listwise.fit(packed, prior, precision)
            _, hessian = listwise.derivatives(packed, found, prior, precision)
            spread = float(np.linalg.slogdet(hessian[0] / value)[1])
            loss = float(listwise.loss(packed, found, prior, precision)[0])
            moves.append(found[0] - weights)
            evidence.append(odds - loss - spread / 2)
    share = np.exp(np.array(evidence) - max(evidence))
    mean: Floats = (share / share.sum()) @ np.stack(moves)
    length, most = float(np.linalg.norm(mean)), float(np.linalg.norm(weights))
    return mean if length <= most else mean * (most / length)
