"""Times our engine alone, to compare two states of the code: processor time of the data side.

Runs what lies beside this file, or at PYTHONPATH; so two checkouts are compared in turns by

    PYTHONPATH=CHECKOUT OMP_NUM_THREADS=1 python benchmarks/states.py [--precision float32]

Each tool of `benchmarks.engine` in a first round and in a later one, on the same documents.
"""

import argparse
import time

from benchmarks import ours
from benchmarks.workload import (
    calls_to_score,
    default_documents_file,
    later_round,
    paper_workloads,
    read_documents,
)
from toolformer.forward.embedded_model import ensure_embedded_model
from toolformer.forward.language_model import LanguageModel
from toolformer_home.home import Home


def main() -> None:
    """Sample and score, and print the seconds and tokens of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=192, help="most of a document")
    parser.add_argument("--calls", type=int, default=60, help="most that are scored, by tool")
    options = parser.parse_args()
    path = ensure_embedded_model(Home.find().converted_models)
    model = LanguageModel.load(path, precision=options.precision)
    documents = read_documents(
        default_documents_file(),
        model.tokenizer,
        count=options.documents,
        document_tokens=options.tokens,
    )
    totals = [0.0, 0.0]
    for first in paper_workloads():
        for tool in (first, later_round(first)):
            began, fed = time.process_time(), model.tokens_fed
            samples = ours.sample(model, tool, documents)
            sampled = time.process_time()
            calls = calls_to_score(tool, samples, model.tokenizer)[: options.calls]
            ready, sampling_tokens = time.process_time(), model.tokens_fed - fed
            ours.score(model, tool, documents, calls)
            seconds = [sampled - began, time.process_time() - ready]
            totals = [total + spent for total, spent in zip(totals, seconds, strict=True)]
            print(
                f"{tool.title}: sampling {seconds[0]:.2f} s, {sampling_tokens} tokens; scoring "
                f"{seconds[1]:.2f} s, {model.tokens_fed - fed - sampling_tokens} tokens"
            )
    print(f"sampling {totals[0]:.2f} s, scoring {totals[1]:.2f} s, both {sum(totals):.2f} s")


if __name__ == "__main__":
    main()
