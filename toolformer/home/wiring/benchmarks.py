"""Opens the benchmarks and the perplexity texts that the settings name."""

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
    """Return a benchmark by name; raise a ToolformerError if the settings name no file for it."""
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
            f"The questions of the benchmark {name!r} do not come with this project. Download them "
            f"from their publisher, and set evaluation.files.{name} in toolformer.yaml to the file."
        )
    return QuestionFile(name, Path(evaluation.files[name]), SHIPPED_QUESTIONS[name])


def text_file(name: str, settings: Settings) -> Path:
    """Return the file of a perplexity text; raise a ToolformerError if it does not exist."""
    path = Path(settings.evaluation.texts[name])
    if not path.is_file():
        raise ToolformerError(
            f"evaluation.texts.{name}: there is no file {str(path)!r}. Expected a UTF-8 text, "
            "plain or compressed. Correct the path."
        )
    return path


def read_text(name: str, settings: Settings) -> str:
    """Return a perplexity text; raise a ToolformerError if it is damaged or not UTF-8."""
    import fsspec

    path = text_file(name, settings)
    try:
        with fsspec.open(str(path), "rt", encoding="utf-8", compression="infer") as file:
            return file.read()  # type: ignore[attr-defined]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ToolformerError(
            f"evaluation.texts.{name}: {str(path)!r} cannot be read: {error}. Expected a UTF-8 "
            "text, plain or compressed. Download or copy it again."
        ) from error


def identity_of(benchmark: Benchmark) -> str:
    """Return a digest of everything that items, prompts and scores depend on."""
    files = [hex_digest_of_file(file) for file in benchmark.files()]
    return hex_digest(benchmark.name, benchmark.version, benchmark.stop_rule, *files)


def items_of(benchmark: Benchmark) -> tuple[list[BenchmarkItem], list[str]]:
    """Return the items of a benchmark, and "location: reason" for each skipped row.

    Raises a ToolformerError if a file cannot be read or no row gives an item.
    """
    items: list[BenchmarkItem] = []
    skipped: list[str] = []
    for entry in benchmark.items():
        if isinstance(entry, BenchmarkItem):
            items.append(entry)
        else:
            skipped.append(f"{entry.location}: {entry.reason}")
    if not items:
        first = f" The first row: {skipped[0]}." if skipped else ""
        raise ToolformerError(
            f"The benchmark {benchmark.name!r} has no items.{first} Expected at least one row "
            "with a question and an answer. Correct the file, or the column names in the settings."
        )
    return items, skipped


def remarks_on(benchmark: Benchmark, items: Sequence[BenchmarkItem]) -> list[str]:
    """Return a sentence per problem with the answers of a benchmark's items."""
    counts = dict(benchmark.remarks())
    if never := [item for item in items if not benchmark.is_answerable(item)]:
        first = f"{never[0].item_id}: {never[0].gold[0]!r:.80}"
        counts[
            "can never be matched: they have several lines, no word, or more words than the model "
            f"may write or the scoring reads. The first: {first}"
        ] = len(never)
    return [
        f"{benchmark.name}: {count} of {len(items)} answers {remark}."
        for remark, count in counts.items()
    ]
