"""Items of the real sets, and those that are generated, are kept out of training."""

import pytest

from assets.training.benchmark_texts import benchmark_texts
from benchmarks.decontamination import WAYS, shares_found, texts_left_out
from tests.toolformer.evaluation.benchmarks.test_real_data import FILES
from toolformer.settings.sections import Settings


@pytest.mark.parametrize("name", [*FILES, "dateset"])
def test_every_item_is_kept_out_of_training_word_for_word(test_data, name):
    files = {name: str(test_data / FILES[name])} if name in FILES else {}
    settings = Settings.model_validate({"evaluation": {"benchmarks": [name], "files": files}})
    (benchmark,) = benchmark_texts(settings).values()
    assert shares_found(benchmark) == dict.fromkeys(WAYS, 1.0)


def test_another_text_with_words_of_the_task_prompt_stays():
    benchmarks = benchmark_texts(
        Settings.model_validate({"evaluation": {"benchmarks": ["dateset"]}})
    )
    text = "A tool tells the date. Answer the following question: who?"
    assert texts_left_out(benchmarks, [text]) == {}
