"""Answers from a causal language model, many at once.

Every distinct prompt is read once; its key-value cache is then copied to as
many rows as answers were asked for, and all rows of all requests are decoded
together. Each request draws from its own generator, so that what it gets
depends on its seed and not on its neighbours in the batch (up to rounding,
which padding can change in the last bits).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hydra_cli.core.protocols import Sampling

_NUCLEUS = 1024  # tokens looked at before the whole vocabulary is sorted
_COMPACT_BELOW = 0.75  # of the rows still unfinished: then the finished leave the cache


class Cancelled(Exception):
    """Decoding was told to stop."""


@dataclass(frozen=True, slots=True)
class Part:
    """What has come of a prompt's answer number ``place``, with the tokens that it is of."""

    place: int
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of a prompt, how it is to be answered, and to whom.

    ``opening`` is what the chat template has begun the answer with. ``said`` hears each part
    of an answer as it comes, in the thread that decodes; ``gone`` tells whether nobody waits
    any more, which ends its answers at the next token.
    """

    ids: tuple[int, ...]
    sampling: Sampling
    opening: str = ""
    said: Callable[[Part], None] | None = None
    gone: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer. ``logprobs`` are its tokens' log-probabilities at temperature 1.

    ``finish`` is "stop" (end of turn or a stop string) or "length". The tokens
    may hold a stop string that ``text`` leaves out.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str

    @property
    def mean_logprob(self) -> float | None:
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None


@dataclass(slots=True)
class _Row:
    """One answer in the making; it stands at each of ``places`` of its request."""

    request: int
    sampling: Sampling
    places: Sequence[int] = (0,)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""
    text: str | None = None
    told: tuple[int, int] = (0, 0)
    """Characters and tokens that were said already."""


class Decoder:
    """A model with its tokenizer, turning prompts into answers."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        ends = getattr(model.generation_config, "eos_token_id", None)
        ends = [ends] if isinstance(ends, int) else list(ends or ())
        own = tokenizer.eos_token_id
        self._ends = {*ends, own} if isinstance(own, int) else set(ends)
        self._pieces: dict[int, str] = {}

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Prompt], *, cancelled: Callable[[], bool] = lambda: False
    ) -> list[list[Generated]]:
        """``sampling.n`` answers to each prompt, in order. Cancelled when told to stop."""
        rows = [
            _Row(request, prompt.sampling, places)
            for request, prompt in enumerate(prompts)
            for places in _places(prompt.sampling)
        ]
        state = _State.start(self.model, prompts, rows)
        alive = rows
        while alive:
            if cancelled():
                raise Cancelled
            chosen, logprobs = state.draw()
            for row, token, logprob in zip(
                state.rows, chosen.tolist(), logprobs.tolist(), strict=True
            ):
                if not row.finish:
                    self._take(row, token, logprob)
                    self._tell(row, prompts[row.request])
            alive = [row for row in state.rows if not row.finish]
            if alive:
                if len(alive) < _COMPACT_BELOW * len(state.rows):
                    chosen = state.keep(
                        [i for i, r in enumerate(state.rows) if not r.finish], chosen
                    )
                state.step(self.model, chosen)
        answers: list[list[Generated]] = [[] for _ in prompts]
        for row in rows:
            answers[row.request].append(self._finished(row, prompts[row.request]))
        return [
            made * (prompt.sampling.n // len(made))
            for made, prompt in zip(answers, prompts, strict=True)
        ]

    def _take(self, row: _Row, token: int, logprob: float) -> None:
        if token in self._ends:
            row.finish = "stop"
            return
        row.ids.append(token)
        row.logprobs.append(logprob)
        for stop in row.sampling.stop:
            if self._may_end(token, stop):
                text = self._decode(row.ids)
                if stop in text:
                    row.text = text[: min(text.index(s) for s in row.sampling.stop if s in text)]
                    row.finish = "stop"
                    return
        if len(row.ids) >= row.sampling.max_tokens:
            row.finish = "length"

    def _tell(self, row: _Row, prompt: Prompt) -> None:
        """Say what has come of the answer, and end it where nobody listens any more."""
        if prompt.gone():
            row.finish = row.finish or "stop"
        if prompt.said is None:
            return
        text = self._text(row, prompt)
        if not row.finish:
            text = _settled(text, row.sampling.stop)
        shown, tokens = row.told
        if len(text) > shown:
            ids, logprobs = tuple(row.ids[tokens:]), tuple(row.logprobs[tokens:])
            for place in row.places:
                prompt.said(Part(place, text[shown:], ids, logprobs))
            row.told = len(text), len(row.ids)

    def _text(self, row: _Row, prompt: Prompt) -> str:
        return prompt.opening + (self._decode(row.ids) if row.text is None else row.text)

    def _finished(self, row: _Row, prompt: Prompt) -> Generated:
        text = self._text(row, prompt)
        return Generated(text, tuple(row.ids), tuple(row.logprobs), row.finish)

    def _may_end(self, token: int, stop: str) -> bool:
        """Whether the token holds the stop string's last character: else there is none yet."""
        if token not in self._pieces:
            self._pieces[token] = self._decode([token])
        piece = self._pieces[token]
        # A part of a character can't be told from others yet.
        return stop[-1] in piece or "\N{REPLACEMENT CHARACTER}" in piece

    def _decode(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text if isinstance(text, str) else text[0]


def _settled(text: str, stop: Sequence[str]) -> str:
    """The part that later tokens won't change: no half character, no half stop string."""
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    longest = max(map(len, stop), default=0)
    for place in range(max(0, len(text) - longest + 1), len(text)):
        if any(mark.startswith(text[place:]) for mark in stop):
            return text[:place]
    return text


def _places(sampling: Sampling) -> list[Sequence[int]]:
    """Where each distinct answer stands among the ``n``."""
    distinct = _distinct_answers(sampling)
    return [range(place, sampling.n, distinct) for place in range(distinct)]


def _distinct_answers(sampling: Sampling) -> int:
    """Greedy answers are all the same: one is decoded and copied."""
    return sampling.n if sampling.temperature > 0 else 1


@dataclass(slots=True)
class _State:
    """What a batch of R rows carries from step to step."""

    rows: list[_Row]
    cache: Any  # a transformers Cache
    logits: torch.Tensor  # (R, V)
    mask: torch.Tensor | None  # (R, t) of the tokens in the cache; None: nothing is padded
    positions: torch.Tensor  # (R, 1) of the next token
    uniforms: torch.Tensor  # (R, steps)
    temperature: torch.Tensor  # (R, 1); 0 is greedy
    top_p: torch.Tensor  # (R, 1)
    taken: int = 0

    @classmethod
    def start(cls, model: PreTrainedModel, prompts: Sequence[Prompt], rows: list[_Row]) -> _State:
        """Read each distinct prompt once, then give every row its copy."""
        from transformers import DynamicCache

        device = model.device
        distinct = {ids: place for place, ids in enumerate({prompt.ids: 0 for prompt in prompts})}
        longest = max(len(ids) for ids in distinct)
        padded = torch.zeros(len(distinct), longest, dtype=torch.long)  # (P, t)
        mask = torch.zeros_like(padded)
        for ids, place in distinct.items():
            padded[place, longest - len(ids) :] = torch.tensor(ids)
            mask[place, longest - len(ids) :] = 1
        positions = (mask.cumsum(1) - 1).clamp_min(0).to(device)
        even = bool(mask.all())
        mask = mask.to(device)
        cache: Any = DynamicCache(config=model.config)
        logits = model(
            input_ids=padded.to(device),
            attention_mask=None if even else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # (P, V)
        copies = torch.tensor([distinct[prompts[row.request].ids] for row in rows], device=device)
        if len(rows) > 1 or len(distinct) > 1:
            cache.reorder_cache(copies)
        column = [row.sampling for row in rows]
        return cls(
            rows=rows,
            cache=cache,
            logits=logits[copies],
            mask=None if even else mask[copies],
            positions=positions[copies, -1:] + 1,
            uniforms=_uniforms(prompts, rows).to(device),
            temperature=torch.tensor([[s.temperature] for s in column], device=device),
            top_p=torch.tensor([[s.top_p] for s in column], device=device),
        )

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each row (R,), and its log-probability at temperature 1 (R,)."""
        logits = self.logits.float()
        chosen = logits.argmax(-1)
        hot = (self.temperature[:, 0] > 0).nonzero()[:, 0]
        if len(hot):
            chosen[hot] = draw_tokens(
                logits[hot] / self.temperature[hot].clamp_min(1e-4),
                self.top_p[hot],
                self.uniforms[hot, self.taken : self.taken + 1],
            )
        self.taken += 1
        picked = logits.gather(1, chosen[:, None])[:, 0]
        return chosen, picked - logits.logsumexp(-1)

    def keep(self, alive: list[int], chosen: torch.Tensor) -> torch.Tensor:
        """Drop the finished rows; gives ``chosen`` of the others."""
        index = torch.tensor(alive, device=chosen.device)
        self.cache.reorder_cache(index)
        self.rows = [self.rows[i] for i in alive]
        self.mask = None if self.mask is None else self.mask[index]
        self.positions, self.uniforms = self.positions[index], self.uniforms[index]
        self.temperature, self.top_p = self.temperature[index], self.top_p[index]
        return chosen[index]

    def step(self, model: PreTrainedModel, chosen: torch.Tensor) -> None:
        """Feed the chosen tokens; the logits are then those of the tokens after them."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self.logits = model(
            input_ids=chosen[:, None],
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        self.positions = self.positions + 1


def draw_tokens(logits: torch.Tensor, top_p: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Tokens (R,) of logits (R, V) by inverting the cumulated probabilities at ``uniforms`` (R, 1).

    ``top_p`` (R, 1) keeps the smallest set of most likely tokens that reaches
    that probability (nucleus sampling, arXiv 1904.09751).
    """
    probabilities = torch.softmax(logits, dim=-1)
    if bool((top_p < 1).any()):
        ordered, places = _likeliest(probabilities, top_p)
        beyond = ordered.cumsum(-1) - ordered >= top_p  # never the first
        ordered = ordered.masked_fill(beyond, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(1, places, ordered)
    cumulated = probabilities.cumsum(-1)
    # A point in (0, total]: it never falls on a token of probability 0.
    points = (1 - uniforms) * cumulated[:, -1:]
    drawn = torch.searchsorted(cumulated, points)[:, 0]
    return drawn.clamp_max(logits.shape[-1] - 1)


def _likeliest(
    probabilities: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely tokens and their places, each (R, m), descending, ``top_p`` reached.

    A nucleus rarely holds more than some hundred of the vocabulary's tokens:
    sorting all of it would cost more than anything else a step does besides the model.
    """
    if probabilities.shape[-1] > _NUCLEUS:
        ordered, places = probabilities.topk(_NUCLEUS, dim=-1)
        if bool((ordered.sum(-1, keepdim=True) >= top_p).all()):
            return ordered, places
    return probabilities.sort(dim=-1, descending=True)


def _stream(seed: int, ids: Sequence[int]) -> int:
    """A seed of its own for every prompt: answers to different prompts are independent."""
    digest = hashlib.blake2b(repr((seed, tuple(ids))).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _uniforms(prompts: Sequence[Prompt], rows: Sequence[_Row]) -> torch.Tensor:
    """Numbers in [0, 1) for every row and step, (R, steps), drawn per request.

    The first m answers are the same whatever n is asked for.
    """
    steps = max(prompt.sampling.max_tokens for prompt in prompts)
    table = torch.zeros(len(rows), steps)
    first = 0
    for prompt in prompts:
        sampling = prompt.sampling
        count = _distinct_answers(sampling)
        generator = torch.Generator()
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(_stream(sampling.seed, prompt.ids))
        for row in range(first, first + count):
            table[row, : sampling.max_tokens] = torch.rand(sampling.max_tokens, generator=generator)
        first += count
    return table
