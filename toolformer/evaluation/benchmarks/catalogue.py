"""The benchmarks that come as files, by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from toolformer.evaluation.benchmarks.benchmark import Benchmark
from toolformer.evaluation.benchmarks.lama import (
    LamaGoogleRe,
    LamaSquad,
    LamaTrex,
    LmlmTrex,
    TempLama,
)
from toolformer.evaluation.benchmarks.mathematics import Asdiv, Mawps, Svamp
from toolformer.evaluation.benchmarks.mlqa import LANGUAGES, Mlqa
from toolformer.evaluation.benchmarks.question_answering import (
    NaturalQuestions,
    PopQa,
    TriviaQa,
    WebQuestions,
)

# In the order of the paper's tables; the last two are none of the paper's.
BENCHMARKS: Mapping[str, Callable[[Path], Benchmark]] = MappingProxyType(
    {
        "lama-squad": LamaSquad,
        "lama-google-re": LamaGoogleRe,
        "lama-trex": LamaTrex,
        "asdiv": Asdiv,
        "svamp": Svamp,
        "mawps": Mawps,
        "webquestions": WebQuestions,
        "nq": NaturalQuestions,
        "triviaqa": TriviaQa,
        **{f"mlqa-{language}": partial(Mlqa, language=language) for language in LANGUAGES},
        "templama": TempLama,
        "popqa": PopQa,
        "trex11k": LmlmTrex,
    }
)
