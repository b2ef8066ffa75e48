"""The order of the rooms: an import goes down or stays at home, type-only ones included."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from hydra_cli.store.folder import StoreFolder

ROOT = Path(__file__).parents[1]
LAYERS = (
    *("core", "modeling", "config", "models", "readers", "llm", "store", "pipeline", "evaluation"),
    *(
        "reports",
        "wiring",
        "workflows",
        "warm",
        "recorded",
        "answered",
        "api",
        "shown",
        "serving",
        "integrations",
        "cli",
        "__main__",
    ),
)


def imports() -> dict[str, set[str]]:
    """Each file and the files that it imports, names without ``hydra_cli.``."""
    files = {
        ".".join(path.relative_to(ROOT / "hydra_cli").with_suffix("").parts): path
        for path in (ROOT / "hydra_cli").rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hydra_cli"):
                base = (node.module or "").removeprefix("hydra_cli").removeprefix(".")
                each = {f"{base}.{alias.name}".strip(".") for alias in node.names}
                targets |= {module if module in files else base for module in each}
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names if a.name.startswith("hydra_cli.")]
                targets |= {name.removeprefix("hydra_cli.") for name in names}
        found[name] = targets - {name, ""}  # "" is the package itself: its version
    del found["__init__"]  # the public names, whatever room they come from
    return found


def upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Imports of a room above the importing one."""

    def rank(name: str) -> int:
        return LAYERS.index(name.split(".")[0])

    return {(a, b) for a, targets in graph.items() for b in targets if rank(b) > rank(a)}


def test_no_import_goes_up() -> None:
    graph = {name: found for name, found in imports().items() if not name.startswith("demo")}
    assert not upward(graph), "upward imports"
    assert upward({"core.records": {"store.rows"}}), "the check itself"


EXTRA = {"starlette", "uvicorn", "sse_starlette", "mcp"}
"""What the extra ``[serve]`` installs, and nothing but the server may need."""


def test_the_server_alone_needs_its_extra() -> None:
    found = set()
    for path in (ROOT / "hydra_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if EXTRA & {name.partition(".")[0] for name in names}:
                found.add(path.relative_to(ROOT / "hydra_cli").as_posix())
    # The command that opens the port.
    allowed = {"cli/serve.py"}
    assert {path for path in found if not path.startswith("serving/")} <= allowed


def test_no_circle_of_files() -> None:
    graph = imports()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"files import each other in a circle: {error.args[1]}") from None


LAYOUT = {path.name for path in vars(StoreFolder(Path("root"))).values()} - {"root"}
"""The names of the store's files and folders."""


def spelled(source: str) -> set[str]:
    """The names of the store's layout that a source takes a path from, or a text shows."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if isinstance(node.right, ast.Constant):
                found.add(str(node.right.value))
        elif isinstance(node, ast.Constant) and str(node.value).rsplit(".")[-1] != "md":
            found |= {str(node.value)} & {name for name in LAYOUT if "." in name}
    return found & LAYOUT


def test_the_store_alone_knows_its_folder() -> None:
    for path in (ROOT / "hydra_cli").rglob("*.py"):
        room = path.relative_to(ROOT / "hydra_cli").parts[0]
        if room not in ("store", "models"):  # models/ has a cache folder of its own
            own = {"config.toml"} if path.name == "demo.py" else set()  # the sample's
            assert not spelled(path.read_text("utf-8")) - own, path
    assert spelled("a / 'heads'; b = 'answers.sqlite'; c = 'heads'") == {"heads", "answers.sqlite"}


def test_the_store_alone_takes_its_lock() -> None:
    inner = {f"store.{name}" for name in ("lock", "journal", "tables", "open_tables", "upkeep")}
    for name, targets in imports().items():
        assert name.startswith("store.") or not targets & inner, name


def test_the_architecture_page_names_the_rooms_that_there_are() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE))
    files = {path.stem for path in (ROOT / "hydra_cli").glob("*.py")}
    rooms = {path.parent.name for path in (ROOT / "hydra_cli").glob("*/*.py")}
    assert named == (files | rooms) - {"__init__", "__main__"}
