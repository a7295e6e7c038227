"""Halves of the real sets, counted against the manifest that comes with them."""

import json

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import shipped
from toolformer.evaluation.benchmarks.benchmark import SkippedItem

FILES = {
    "lama-squad": "lama/lama_squad.jsonl",
    "lama-google-re": "lama/lama_google_re.jsonl.gz",
    "lama-trex": "lama/lama_trex.jsonl.gz",
    "asdiv": "math/asdiv.jsonl.gz",
    "svamp": "math/svamp.jsonl.gz",
    "mawps": "math/mawps.jsonl.gz",
    "webquestions": "qa/webquestions_test.jsonl",
    "nq": "qa/nq_open_dev.jsonl",
    "triviaqa": "qa/triviaqa_dev.jsonl.gz",
    "templama": "temporal/templama_test.jsonl.gz",
    **{
        f"mlqa-{language}": f"mlqa_standin_xquad/xquad_{language}_q_en_ctx.jsonl.gz"
        for language in ("es", "de", "hi", "vi", "zh", "ar")
    },
}
CLOZE = [name for name in FILES if "lama" in name]


@pytest.fixture(scope="module")
def manifest(test_data):
    listed = json.loads((test_data / "manifest.json").read_text(encoding="utf-8"))
    return {file["file"]: file for file in listed["files"]}


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_asked_or_left_out_as_the_manifest_counts(test_data, manifest, name):
    entries = list(shipped(name, test_data / FILES[name]).items())
    reasons = [entry.reason for entry in entries if isinstance(entry, SkippedItem)]
    assert len(entries) == manifest[FILES[name]]["rows"]
    assert set(reasons) <= ({"mask_not_last"} if name in CLOZE else set())
    if name in CLOZE and name != "templama":
        assert len(entries) - len(reasons) == manifest[FILES[name]]["mask_final_rows"]
