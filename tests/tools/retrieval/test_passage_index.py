"""Indexes of dense vectors: built, appearing whole, and searched."""

from pathlib import Path

import numpy as np
import pytest

from tools.errors import ToolUnavailableError
from tools.retrieval.hybrid_ranking import PassageVectors
from tools.retrieval.index_folder import IndexBuildError, index_information
from tools.retrieval.passage_index import build_passage_index, searched_text
from tools.retrieval.passages import Passage
from tools.retrieval.word_vectors import WordVectors

WORDS = (
    *("otter", "river", "fish", "canal", "ship", "money"),
    *("bank", "music", "violin", "star", "planet", "bread"),
)
ENCODER = WordVectors()
# Enough to train every kind of index, of which the largest has codebooks of 256 vectors.
MANY = 500


def passages(count: int) -> list[Passage]:
    """Passages of five words each, drawn by a seed."""
    generator = np.random.default_rng(1)
    return [
        Passage(str(number), "", "", " ".join(generator.choice(WORDS, 5)), "")
        for number in range(count)
    ]


def build(directory: Path, count: int = 50, fingerprint: str = "x", kind: str = "Flat") -> Path:
    build_passage_index(
        passages(count),
        directory,
        ENCODER,
        fingerprint=fingerprint,
        wikipedia_index="w",
        index_factory=kind,
    )
    return directory


def vectors_of(directory: Path) -> PassageVectors:
    return PassageVectors(directory, device=lambda: "cpu")


def near(directory: Path, question: str, depth: int = 5, further: tuple[str, ...] = ()):
    return vectors_of(directory).nearest(question, depth, further, wikipedia_index="w")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("dense") / "index")


def test_an_index_says_what_it_is(built):
    information = index_information(built)
    assert information is not None
    expected = {"fingerprint": "x", "wikipedia_index": "w", "passages": 50, "index": "Flat"}
    assert information.items() >= {**expected, "encoder_identity": ENCODER.identity}.items()
    assert {entry.name for entry in built.parent.iterdir()} <= {"index", "index.lock"}
    assert {entry.name for entry in built.iterdir()} == {"vectors.faiss", "index.json"}


def test_a_flat_index_finds_the_largest_inner_products(built):
    question, found = near(built, "a ship on the river")
    vectors = ENCODER.encode([searched_text(each) for each in passages(50)])
    products = vectors @ ENCODER.encode(["a ship on the river"])[0]
    assert [*found] == [str(row) for row in np.argsort(-products)[:5]]
    assert np.array_equal(question, ENCODER.encode(["a ship on the river"])[0])
    for name, vector in found.items():
        assert np.array_equal(vector, vectors[int(name)])


def test_vectors_of_further_passages_are_given_too(built):
    assert len(near(built, "violin", depth=500)[1]) == 50
    _, found = near(built, "violin", depth=1, further=("7", "49"))
    assert len(found) in (2, 3)
    assert np.array_equal(found["49"], ENCODER.encode([passages(50)[49].text])[0])


def test_an_index_built_anew_is_opened_again(tmp_path):
    vectors = vectors_of(tmp_path / "index")
    for fingerprint, count in (("old", 10), ("new", 20)):
        build(tmp_path / "index", count, fingerprint)
        assert vectors.fingerprint() == fingerprint
        assert len(vectors.nearest("otter", 100, (), wikipedia_index="w")[1]) == count


@pytest.fixture(scope="module")
def exact(tmp_path_factory) -> PassageVectors:
    return vectors_of(build(tmp_path_factory.mktemp("exact") / "index", MANY))


@pytest.mark.parametrize(
    "kind", ["IVF38,PQ64np", "OPQ8,IVF38,PQ8np", "HNSW16", "SQ8", "IVF38,Flat"]
)
def test_the_index_is_of_the_kind_that_is_named_and_finds_most_passages(tmp_path, exact, kind):
    directory = build(tmp_path / "index", MANY, kind=kind)
    information = index_information(directory)
    assert information is not None
    assert information["index"] == kind
    built, third = vectors_of(directory), ENCODER.encode([passages(MANY)[3].text])[0]
    shares = []
    for word in WORDS:
        _, expected = exact.nearest(f"the {word}", 100, (), wikipedia_index="w")
        _, vectors = built.nearest(f"the {word}", 100, ("3",), wikipedia_index="w")
        shares.append(len(vectors.keys() & expected.keys()) / 100)
        # A vector that is read by its number is that of the passage, perhaps a little blurred.
        assert vectors["3"] @ third > 0.8
    assert np.mean(shares) > 0.6


@pytest.mark.parametrize("kind", ["Flatt", "IVF64,Flat", "PQ7", "LSH", ""])
def test_a_kind_that_cannot_be_made_is_named_and_leaves_nothing(tmp_path, kind):
    build(tmp_path / "index", 10)
    with pytest.raises(IndexBuildError, match=rf"'{kind}' \(passage_index.index_factory\)"):
        build(tmp_path / "index", 20, kind=kind)
    assert vectors_of(tmp_path / "index").fingerprint() == "x"
    assert {entry.name for entry in tmp_path.iterdir()} <= {"index", "index.lock"}


def test_a_wrong_kind_is_refused_before_passages_are_encoded(tmp_path):
    with pytest.raises(IndexBuildError, match="could not parse"):
        build_passage_index(
            iter(lambda: pytest.fail("passages were read"), None),
            tmp_path / "index",
            ENCODER,
            fingerprint="x",
            wikipedia_index="w",
            index_factory="Flatt",
        )


def test_a_missing_or_damaged_index_is_unavailable(tmp_path):
    vectors = vectors_of(tmp_path / "none")
    assert vectors.fingerprint() == "none"
    for use in (vectors.check_available, lambda: near(tmp_path / "none", "x")):
        with pytest.raises(ToolUnavailableError, match="passage_index"):
            use()
    directory = build(tmp_path / "index", 10)
    vectors = directory / "vectors.faiss"
    for content in (vectors.read_bytes()[:-10], b""):
        vectors.write_bytes(content)
        with pytest.raises(ToolUnavailableError, match=r"cannot be opened.*Remove .*index"):
            near(directory, "otter")
