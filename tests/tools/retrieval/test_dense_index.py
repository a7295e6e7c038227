"""Indexes of dense vectors: built in chunks, gone on with after a kill, and searched."""

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from toolformer.ground.kept_digests import DIGESTS_FILE, damaged_files
from tools.errors import ToolUnavailableError
from tools.retrieval.dense_index import (
    DenseBuild,
    build_dense_index,
    dense_index_information,
    load_encoder,
    searched_text,
)
from tools.retrieval.dense_ranking import DenseRetriever
from tools.retrieval.dense_vectors import DenseIndexKind
from tools.retrieval.index_folder import IndexBuildError
from tools.retrieval.latent_vectors import LatentVectors, unit_rows
from tools.retrieval.passages import Passage

WORDS = [f"word{number}" for number in range(40)]


def passages(count: int) -> list[Passage]:
    """Passages of ten words each, drawn so that some of them always go together."""
    generator = np.random.default_rng(1)
    made = []
    for number in range(count):
        first = int(generator.integers(0, 30))
        words = [WORDS[first + int(step)] for step in generator.integers(0, 10, size=10)]
        made.append(Passage(f"p{number:05d}", f"Title {number}", "", " ".join(words) + " é😀", "u"))
    return made


def how(fingerprint: str = "x", *, make_encoder=None, **changes) -> DenseBuild:
    settings = {
        "sample_passages": 10_000,
        "chunk_passages": 7,
        "kind": DenseIndexKind(flat_limit=1_000, code_bytes=4),
        "seed": 0,
        **changes,
    }
    return DenseBuild(fingerprint, make_encoder or latent, **settings)


def latent(texts) -> LatentVectors:
    return LatentVectors.fit(texts, dimension=8, most_terms=100, seed=0)


def contents(directory: Path) -> dict[str, bytes]:
    """All files of an index but the times in its description, and hence its digest."""
    found = {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file() and file.name not in ("index.json", DIGESTS_FILE)
    }
    information = json.loads((directory / "index.json").read_text())
    for name in ("seconds", "encoded_per_second"):
        information.pop(name, None)
    return {**found, "index.json": json.dumps(information).encode()}


def ids(retriever: DenseRetriever, query: str, depth: int = 5) -> list[str]:
    (ranking,) = retriever.rank([query], depth)
    return [hit.passage.passage_id for hit in ranking]


def retriever_of(directory: Path, probes: int = 8) -> DenseRetriever:
    return DenseRetriever(directory, probes=probes, temperature=1.0)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("dense") / "index"
    build_dense_index(passages(50), directory, how())
    return directory


def test_an_index_says_what_it_is(built):
    information = dense_index_information(built)
    assert information is not None
    assert information["fingerprint"] == "x"
    assert (information["passages"], information["dimension"]) == (50, 8)
    assert (information["index"], information["kind"]) == ("flat", "latent")
    assert 0 < information["explained_variance"] <= 1
    assert information["encoded_per_second"] > 0
    assert {entry.name for entry in built.parent.iterdir()} <= {"index", "index.lock"}


def test_a_flat_index_ranks_by_the_inner_product(built):
    encoder = load_encoder(built / "encoder")
    query = "word3 word5 word9"
    scores = encoder.encode([searched_text(each) for each in passages(50)]) @ encoder.encode(
        [query]
    ).reshape(-1)
    expected = sorted(range(50), key=lambda place: (-scores[place], place))[:5]
    (ranking,) = retriever_of(built).rank([query], 5)
    assert [hit.passage for hit in ranking] == [passages(50)[place] for place in expected]
    for hit, place in zip(ranking, expected, strict=True):
        assert hit.score == pytest.approx(scores[place], abs=1e-5)


def test_scores_are_divided_by_the_temperature(built):
    warm = DenseRetriever(built, probes=1, temperature=0.5)
    (ranking,), (doubled,) = retriever_of(built).rank(["word3"], 3), warm.rank(["word3"], 3)
    assert [hit.score for hit in doubled] == [2 * hit.score for hit in ranking]


def test_a_ranking_does_not_depend_on_what_else_is_asked(built):
    queries = [f"word{number} word{number + 3}" for number in range(30)]
    together = retriever_of(built).rank(queries, 10)
    for query, ranking in zip(queries, together, strict=True):
        assert retriever_of(built).rank([query], 10) == [ranking]


def test_a_question_without_a_known_word_finds_nothing(built):
    assert retriever_of(built).rank(["zebra", "", "😀😀"], 3) == [[], [], []]


def test_more_passages_than_there_are_can_be_asked_for(built):
    assert len(ids(retriever_of(built), "word3", depth=500)) == 50


def test_equal_passages_are_ordered_by_id(tmp_path):
    twins = [Passage(f"t{number}", "", "", "same words here", "") for number in (3, 1, 2, 0)]
    build_dense_index(twins, tmp_path / "index", how())
    assert ids(retriever_of(tmp_path / "index"), "same") == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("flat_limit", [1_000, 100])
def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(tmp_path, flat_limit):
    count = 600 if flat_limit == 100 else 60
    settings = {"kind": DenseIndexKind(flat_limit, 4), "chunk_passages": count // 6}
    whole = tmp_path / "whole"
    build_dense_index(passages(count), whole, how(**settings))
    cut = tmp_path / "cut"
    done: list[int] = []

    def stop(so_far: int, _: int) -> None:
        done.append(so_far)
        if so_far == 3 * (count // 6):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dense_index(passages(count), cut, how(**settings), progress=stop)
    assert dense_index_information(cut) is None

    def no_encoder(_texts):
        pytest.fail("the encoder was fitted again")

    encoded_before = {
        file.name: file.stat().st_mtime_ns for file in tmp_path.glob("cut.building/vectors-*.npy")
    }
    assert len(encoded_before) == 3

    def check(so_far: int, _: int) -> None:
        for name, time in encoded_before.items():
            assert (tmp_path / "cut.building" / name).stat().st_mtime_ns == time

    build_dense_index(
        passages(count), cut, how(make_encoder=no_encoder, **settings), progress=check
    )
    assert contents(cut) == contents(whole)
    assert not (tmp_path / "cut.building").exists()


def test_a_build_killed_while_passages_are_written_reads_on(tmp_path):
    directory = tmp_path / "index"
    code = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.tools.retrieval.test_dense_index import how, passages
        from tools.retrieval.dense_index import build_dense_index

        def killing():
            yield from passages(30)
            os.kill(os.getpid(), signal.SIGKILL)

        build_dense_index(killing(), Path({str(directory)!r}), how())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.glob("index.building/passages-*.jsonl"))) == 4
    build_dense_index(passages(50), directory, how())
    assert dense_index_information(directory)["passages"] == 50  # pyright: ignore
    whole = tmp_path / "whole"
    build_dense_index(passages(50), whole, how())
    assert contents(directory) == contents(whole)


def test_an_unfinished_build_with_other_settings_is_begun_anew(tmp_path):
    directory = tmp_path / "index"

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dense_index(passages(20), directory, how("old"), progress=stop)
    build_dense_index(passages(30), directory, how("new"))
    information = dense_index_information(directory)
    assert information is not None
    assert (information["fingerprint"], information["passages"]) == ("new", 30)


def test_a_second_builder_waits_and_finds_the_work_done(tmp_path):
    directory = tmp_path / "index"
    build_dense_index(passages(10), directory, how())

    def never():
        raise AssertionError("the passages were read")
        yield

    finished = threading.Event()

    def build() -> None:
        build_dense_index(never(), directory, how())
        finished.set()

    with FileLock(tmp_path / "index.lock"):
        second = threading.Thread(target=build)
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
    second.join(timeout=30)
    assert finished.is_set()


def test_an_index_built_anew_is_opened_again(tmp_path):
    directory = tmp_path / "index"
    build_dense_index(passages(10), directory, how("old"))
    retriever = retriever_of(directory)
    old = retriever.version()
    assert len(ids(retriever, "title", depth=100)) == 10
    build_dense_index(passages(20), directory, how("new"))
    assert retriever.version() != old
    assert len(ids(retriever, "title", depth=100)) == 20


def test_many_vectors_are_compressed_and_mostly_found(tmp_path):
    directory = tmp_path / "index"
    build_dense_index(
        passages(2_000),
        directory,
        how(
            kind=DenseIndexKind(flat_limit=500, code_bytes=5),
            sample_passages=1_500,
            chunk_passages=300,
        ),
    )
    information = dense_index_information(directory)
    assert information is not None
    assert information["index"] == "ivf-pq"
    # 5 does not divide the 8 dimensions.
    assert (information["code_bytes"], information["trained_on"]) == (4, 1_500)
    assert information["cells"] == 38
    exact = tmp_path / "exact"
    build_dense_index(
        passages(2_000), exact, how(kind=DenseIndexKind(5_000, 4), chunk_passages=300)
    )
    shares = []
    for number in range(20):
        query = f"word{number} word{number + 4}"
        found = set(ids(retriever_of(directory, probes=38), query, depth=100))
        shares.append(len(found & set(ids(retriever_of(exact), query, depth=100))) / 100)
    assert np.mean(shares) > 0.6


def test_too_few_vectors_to_train_on_are_an_error_with_a_remedy(tmp_path):
    with pytest.raises(IndexBuildError, match=r"raise passage_index\.flat_limit"):
        build_dense_index(
            passages(50), tmp_path / "index", how(kind=DenseIndexKind(flat_limit=10, code_bytes=4))
        )


def test_no_passages_are_an_error(tmp_path):
    with pytest.raises(IndexBuildError, match="no passages"):
        build_dense_index([], tmp_path / "index", how())


def test_passages_without_a_common_word_are_an_error(tmp_path):
    lonely = [Passage("a", "", "", "one", ""), Passage("b", "", "", "two", "")]
    with pytest.raises(IndexBuildError, match="No term occurs"):
        build_dense_index(lonely, tmp_path / "index", how())


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "letter.txt").touch()
    with pytest.raises(IndexBuildError, match="is not replaced"):
        build_dense_index(passages(10), tmp_path / "index", how())


def test_a_missing_index_is_unavailable_with_a_remedy(tmp_path):
    retriever = retriever_of(tmp_path / "none")
    assert "index=none" in retriever.version()
    for use in (retriever.check_available, lambda: retriever.rank(["x"], 1)):
        with pytest.raises(ToolUnavailableError, match="Materialise passage_index"):
            use()


@pytest.mark.parametrize("name", ["vectors.faiss", "offsets.npy", "encoder/encoder.json"])
def test_a_damaged_index_is_unavailable(tmp_path, name):
    build_dense_index(passages(10), tmp_path / "index", how())
    (tmp_path / "index" / name).write_bytes(b"")
    with pytest.raises(ToolUnavailableError, match=f"{name} has 0 bytes .*doctor --repair"):
        retriever_of(tmp_path / "index").rank(["word3"], 1)
    # As an index of earlier code is, which has no digests.
    (tmp_path / "index" / DIGESTS_FILE).unlink()
    with pytest.raises(ToolUnavailableError, match="cannot be opened"):
        retriever_of(tmp_path / "index").rank(["word3"], 1)


def test_an_index_is_built_with_the_digests_of_its_files(built):
    assert damaged_files(built) == {}
    names = json.loads((built / DIGESTS_FILE).read_text())["files"]
    assert {"index.json", "vectors.faiss", "passages.jsonl", "encoder/encoder.json"} < set(names)


def test_importing_imports_neither_faiss_nor_gensim():
    code = (
        "import sys, tools.retrieval.dense_ranking, tools.question_answering\n"
        "import tools.retrieval.hybrid_ranking\n"
        "print([m for m in ('faiss', 'gensim', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unit_rows_of_the_index_have_length_one(built):
    encoder = load_encoder(built / "encoder")
    vectors = encoder.encode([searched_text(each) for each in passages(50)])
    assert np.allclose(unit_rows(vectors), vectors, atol=1e-6)
