"""Opens the benchmarks that the settings name, and the texts whose perplexity is measured."""

from collections.abc import Sequence
from pathlib import Path

from toolformer.base.digests import hex_digest, hex_digest_of_file
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks import question_file
from toolformer.evaluation.benchmarks.benchmark import Benchmark, BenchmarkItem
from toolformer.evaluation.benchmarks.dateset import Dateset
from toolformer.evaluation.benchmarks.question_file import QuestionFile
from toolformer.settings.evaluation_sections import DATESET, FACTS, SHIPPED_QUESTIONS, SUMS
from toolformer.settings.sections import Settings


def configured_benchmark(name: str, settings: Settings) -> Benchmark:
    """Return the benchmark of this name; raise a ToolformerError if the settings name no file."""
    evaluation = settings.evaluation
    if name == DATESET:
        return Dateset(seed=evaluation.seed, count=evaluation.dateset_items)
    if name in (SUMS, FACTS):
        file = Path(question_file.__file__).with_name(f"{name}.jsonl")
        return QuestionFile(name, file, SHIPPED_QUESTIONS[name])
    if name in evaluation.questions:
        described = evaluation.questions[name]
        return QuestionFile(name, Path(described.path), described)
    if name not in evaluation.files:
        raise ToolformerError(
            f"The questions of {name!r} are not part of this project. Get them from where they "
            f"were published and name the file as evaluation.files.{name} in toolformer.yaml."
        )
    return QuestionFile(name, Path(evaluation.files[name]), SHIPPED_QUESTIONS[name])


def text_file(name: str, settings: Settings) -> Path:
    """Return the file of a text for perplexity; raise a ToolformerError if there is none."""
    path = Path(settings.evaluation.texts[name])
    if not path.is_file():
        raise ToolformerError(
            f"evaluation.texts.{name}: there is no file {str(path)!r}. Expected a text in UTF-8, "
            "plain or compressed. Correct the path."
        )
    return path


def read_text(name: str, settings: Settings) -> str:
    """Return the text of this name; raise a ToolformerError if it is damaged or no UTF-8."""
    import fsspec

    path = text_file(name, settings)
    try:
        with fsspec.open(str(path), "rt", encoding="utf-8", compression="infer") as file:
            return file.read()  # type: ignore[attr-defined]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ToolformerError(
            f"evaluation.texts.{name}: {str(path)!r} cannot be read: {error}. Expected a text in "
            "UTF-8, plain or compressed. Fetch it again."
        ) from error


def identity_of(benchmark: Benchmark) -> str:
    """Return a digest of all that the items, prompts and scores of a benchmark depend on."""
    files = [hex_digest_of_file(file) for file in benchmark.files()]
    return hex_digest(benchmark.name, benchmark.version, benchmark.stop_rule, *files)


def items_of(benchmark: Benchmark) -> tuple[list[BenchmarkItem], list[str]]:
    """Return the items of a benchmark, and the location and reason per row that is left out.

    Raises:
        ToolformerError: a file cannot be read, or has no item.
    """
    items: list[BenchmarkItem] = []
    left_out: list[str] = []
    for entry in benchmark.items():
        if isinstance(entry, BenchmarkItem):
            items.append(entry)
        else:
            left_out.append(f"{entry.location}: {entry.reason}")
    if not items:
        first = f" The first row: {left_out[0]}." if left_out else ""
        raise ToolformerError(
            f"The benchmark {benchmark.name!r} has no items.{first} Expected at least one row "
            "with a question and an answer; correct the file or its description."
        )
    return items, left_out


def remarks_on(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> list[str]:
    """Return what a user should know of the answers of a benchmark's items, with counts."""
    counts = dict(benchmark.remarks())
    if never := [item for item in items if not benchmark.is_answerable(item)]:
        first = f"{never[0].item_id}: {never[0].gold[0]!r:.80}"
        counts[
            "can never be given: they have several lines, no word, or more words than are looked "
            f"at or written. The first: {first}"
        ] = len(never)
    return [
        f"{benchmark.name}: {count} of {len(items)} answers {remark}."
        for remark, count in counts.items()
    ]
