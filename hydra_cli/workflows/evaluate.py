"""Evaluations: of LaMP files, of a folder of tasks, of the store's own latest records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_cli.core.answer_shape import AnswerShape, lengthened
from hydra_cli.core.errors import (
    BudgetExceeded,
    DataError,
    HydraError,
    ModelError,
    NotAnswered,
    NotFound,
    ProviderError,
    UsageError,
)
from hydra_cli.core.files import write_json_lines
from hydra_cli.core.protocols import (
    ChatModel,
    ChatRequest,
    HistoryStore,
    Progress,
    Recipe,
    TextEncoder,
)
from hydra_cli.core.statistics import DRAWS
from hydra_cli.core.tasks import PRESETS, TaskSpec
from hydra_cli.evaluation.as_json import predictions_mapping
from hydra_cli.evaluation.asking import Price as TokenPrice
from hydra_cli.evaluation.engine import EvalPlan, run_task
from hydra_cli.evaluation.planned import first_requests, planned_requests
from hydra_cli.evaluation.questions import Questions, from_split, from_store
from hydra_cli.evaluation.results import TaskResult, summarize
from hydra_cli.readers.lamp_files import read_split
from hydra_cli.workflows.pricing import Price
from hydra_cli.workflows.pricing import price as price_stages

if TYPE_CHECKING:
    from hydra_cli.config import Settings


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """One task's LaMP files; training files may be missing."""

    questions: Path
    outputs: Path
    train_questions: Path | None = None
    train_outputs: Path | None = None


@dataclass(frozen=True, slots=True)
class SuiteFolder:
    """A folder of tasks, a subfolder each; ``names`` picks some, empty takes all.

    ``tasks.toml`` in it declares the tasks that the store doesn't know.
    """

    folder: Path
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreRecords:
    """Each user's latest records in the store, at most ``hold_out``; None: every task."""

    store: HistoryStore
    task: str | None = None
    hold_out: int = 5


Source = TaskFiles | SuiteFolder | StoreRecords
"""Where queries and references come from."""


@dataclass(frozen=True, slots=True)
class DataLimits:
    """How much of the data is evaluated."""

    users: int | None = None
    queries: int | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """A task's questions, and those of the training users where there are any."""

    questions: Questions
    train: Questions | None


def read_files(
    files: TaskFiles,
    tasks: Mapping[str, TaskSpec],
    limits: DataLimits,
    given: Mapping[str, Collection[str]] | None = None,
) -> Material:
    """The files' questions; DataError where training and evaluated users overlap.

    A task of texts that is no preset learns from its records whether answers have
    more than one line, as at ingest, unless that is among its ``given`` keys.
    """
    split = read_split(files.questions, files.outputs, tasks)
    questions = from_split(split)
    train = None
    if files.train_questions is not None and files.train_outputs is not None:
        train = from_split(read_split(files.train_questions, files.train_outputs, tasks))
        if train.task.name != questions.task.name:
            raise DataError(
                f"training files are of {train.task.name}, the questions of {questions.task.name}"
            )
        if both := sorted(set(train.users) & set(questions.users)):
            raise DataError(
                f"{len(both)} users are both trained on and evaluated, first {both[0]!r}",
                hint="users of the two splits must differ",
            )
    if questions.task.kind == "generation" and PRESETS.get(questions.task.name) != questions.task:
        task = as_long_as_its_records(
            train or questions, (given or {}).get(questions.task.name, ())
        )
        questions = replace(questions, task=task)
        train = train and replace(train, task=task)
    return Material(questions.limited(users=limits.users, queries=limits.queries), train)


def as_long_as_its_records(questions: Questions, fixed: Collection[str]) -> TaskSpec:
    """The task with answers of as many lines and tokens as its users' records have."""
    shape = AnswerShape()
    for records in questions.own_records().values():
        shape.add(record.output for record in records)
    return lengthened(questions.task, shape, fixed)


def read_source(source: Source, settings: Settings, limits: DataLimits) -> list[Material]:
    """All of a source's tasks, read and checked before any call is made."""
    match source:
        case TaskFiles():
            return [read_files(source, settings.tasks, limits)]
        case SuiteFolder(folder, names):
            files, tasks = suite_files(folder, names), suite_tasks(folder, settings.tasks)
            return [read_files(each, tasks, limits, suite_keys(folder)) for each in files]
        case StoreRecords(store, task, hold_out):
            return read_store(store, settings, task, hold_out=hold_out, limits=limits)


def suite_tasks(folder: Path, known: Mapping[str, TaskSpec]) -> Mapping[str, TaskSpec]:
    """The known tasks, and those of the folder's ``tasks.toml``; DataError for a bad one."""
    from hydra_cli.config import read_tasks

    path = folder / "tasks.toml"
    if not path.is_file():
        return known
    try:
        return read_tasks(path, known)
    except UsageError as error:
        raise DataError(error.message, hint=error.hint) from error


def suite_keys(folder: Path) -> Mapping[str, Collection[str]]:
    """The keys that the folder's ``tasks.toml`` gives each of its tasks."""
    from hydra_cli.config import given_keys

    path = folder / "tasks.toml"
    return given_keys(path) if path.is_file() else {}


def suite_files(folder: Path, names: Sequence[str] = ()) -> list[TaskFiles]:
    """The tasks of a folder: a subfolder each with dev_questions.json and so on."""
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    found = []
    for part in sorted(folder.iterdir()):
        questions = part / "dev_questions.json"
        if not questions.is_file() or (names and part.name not in names):
            continue
        train = part / "train_questions.json"
        has_train = train.is_file()
        found.append(
            TaskFiles(
                questions,
                part / "dev_outputs.json",
                train if has_train else None,
                part / "train_outputs.json" if has_train else None,
            )
        )
    there = {files.questions.parent.name for files in found}
    if missing := [name for name in names if name not in there]:
        raise DataError(
            f"{folder} holds no task {missing[0]!r}",
            hint="it needs TASK/dev_questions.json and dev_outputs.json",
        )
    if not found:
        raise DataError(
            f"{folder} holds no tasks", hint="it needs TASK/dev_questions.json and dev_outputs.json"
        )
    return found


def read_store(
    store: HistoryStore, settings: Settings, task: str | None, *, hold_out: int, limits: DataLimits
) -> list[Material]:
    """The store's latest records as queries; the base is trained on what is older."""
    known = sorted({name for user in store.users() for name in user.tasks})
    if not known:
        raise NotFound("the store holds no records", hint="start with `hydra-pers ingest FILE`")
    if task is not None and task not in known:
        raise NotFound(f"no records of task {task!r}", hint=f"known: {', '.join(known)}")
    found = []
    for name in [task] if task else known:
        questions = from_store(store, settings.spec(name), hold_out=hold_out)
        found.append(Material(questions.limited(users=limits.users, queries=limits.queries), None))
    return found


def run(
    source: Source,
    plan: EvalPlan,
    settings: Settings,
    *,
    open_encoder: Callable[[], TextEncoder],
    open_chat: Callable[[], ChatModel],
    progress: Progress,
    limits: DataLimits | None = None,
    draws: int = DRAWS,
    ahead: bool = False,
) -> Iterator[TaskResult]:
    """Each task's results as it is done, so that a long run that is stopped leaves what it has.

    The source is read, and refused, before encoder and LLM are opened. ``ahead``
    asks for all labels that depend on no answer at once, for an LLM that writes
    its requests down.
    """
    from hydra_cli.modeling.recipes import recipe_named

    materials = read_source(source, settings, limits or DataLimits())
    encoder, chat, price = open_encoder(), open_chat(), price_of(settings.model)
    for material in materials:
        if ahead:
            ask_ahead(material, plan, encoder=encoder, chat=chat, open_recipe=recipe_named)
        yield evaluate(
            material,
            plan,
            encoder=encoder,
            chat=chat,
            open_recipe=recipe_named,
            progress=progress,
            price=price,
            draws=draws,
        )


def ask_ahead(
    material: Material,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    chat: ChatModel,
    open_recipe: Callable[[str], Recipe],
) -> None:
    """Have an LLM that writes requests down note what can be known before any answer."""
    for requests in first_requests(
        material.questions, material.train, plan, encoder=encoder, open_recipe=open_recipe
    ):
        with suppress(NotAnswered):
            for _ in chat.complete_many(requests):
                pass


def evaluate(
    material: Material,
    plan: EvalPlan,
    *,
    encoder: TextEncoder,
    chat: ChatModel,
    open_recipe: Callable[[str], Recipe],
    progress: Progress,
    price: TokenPrice | None = None,
    draws: int = DRAWS,
) -> TaskResult:
    """All methods on one task, with figures."""
    run = run_task(
        material.questions,
        material.train,
        plan,
        encoder=encoder,
        chat=chat,
        open_recipe=open_recipe,
        progress=progress,
        price=price,
    )
    return summarize(
        run, model=chat.name, seeds=plan.seeds, draws=draws, settings=settings_of(plan, encoder)
    )


def settings_of(plan: EvalPlan, encoder: TextEncoder) -> dict[str, object]:
    """What has to be known to make the run again."""
    return {
        **{key: value for key, value in asdict(plan.answering).items() if key != "seed"},
        "n": plan.answering.answers,
        "encoder": encoder.name,
        "training": asdict(plan.training),
        "seeds": list(plan.seeds),
    }


def price_of(model: str) -> TokenPrice:
    """What a model's tokens cost, whoever made the call."""
    from hydra_cli.llm.pricing import cost
    from hydra_cli.llm.providers import resolve

    endpoint = resolve(model)
    return lambda prompt, completion: cost(endpoint, prompt, completion)


def price_of_run(
    source: Source,
    plan: EvalPlan,
    settings: Settings,
    *,
    open_encoder: Callable[[], TextEncoder],
    progress: Progress,
    limits: DataLimits | None = None,
) -> Price:
    """What the run would use, by stage, from its real prompts, nothing being sent."""
    from hydra_cli.modeling.recipes import recipe_named

    materials = read_source(source, settings, limits or DataLimits())
    encoder = open_encoder()

    def stages() -> Iterator[tuple[str, Sequence[ChatRequest]]]:
        for material in materials:
            for stage, requests in planned_requests(
                material.questions,
                material.train,
                plan,
                encoder=encoder,
                open_recipe=recipe_named,
                progress=progress,
            ):
                yield f"{material.questions.task.name}: {stage}", requests

    return price_stages(stages(), settings)


def write_predictions(results: Sequence[TaskResult], path: Path) -> None:
    """Every scored answer as a JSON line."""
    write_json_lines(path, (line for result in results for line in predictions_mapping(result)))


def incomplete(results: Sequence[TaskResult], *, cache: Path) -> HydraError | None:
    """The error a run ends with where answers are missing: what, why, and how to go on."""
    missing = sum(method.missing for r in results for method in r.methods.values())
    if not missing:
        return None
    return unfinished(
        f"{missing} answers are missing", [result.error for result in results], cache=cache
    )


def unfinished(what: str, errors: Sequence[HydraError | None], *, cache: Path) -> HydraError:
    """What is missing, the first cause that is known, and how to go on; of that cause's kind."""
    cause = next((error for error in errors if error is not None), None)
    kind = type(cause) if isinstance(cause, (BudgetExceeded, ModelError)) else ProviderError
    reason = f": {cause.message}" if cause is not None else ""
    return kind(
        f"{what}, the table is incomplete{reason}",
        hint=f"run the same command again: the answers so far are kept in {cache}",
    )
