"""What annotating many texts costs: machine-hours by model and machine, as a Markdown table.

Computed from what docs/measurements.md says, never run: tokens that the engine feeds for a text do
not depend on the model, and tokens a second are measured for the embedded model on two cores, else
scaled by multiplications. Every input is named below and can be given on the command line. Put in
your own: `stage_costs` and the view `call_costs` of a first shard have them.

    python -m benchmarks.million_texts [--texts 1e6] [--machines 100] [--rate "8 GPUs"=120000]
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# docs/measurements.md, "Real web documents, `laptop` preset": tokens fed in both stages over the
# first 20 documents, divided by the windows of those, times the windows a document of the first
# 200 has (1,023, 562 and 707 of 200).
_TOKENS_PER_TEXT = {
    "WikiSearch": (707 * 105.1 + 561 * 99.5) / 136 * 1023 / 200,
    "Calculator": (1168 * 55.4 + 787 * 94.3) / 106 * 562 / 200,
    "Calendar": (240 * 159.6 + 240 * 33.1) / 80 * 707 / 200,
}
_CANDIDATES_PER_TEXT = {
    "WikiSearch": 707 / 136 * 1023 / 200,
    "Calculator": 1168 / 106 * 562 / 200,
    "Calendar": 240 / 80 * 707 / 200,
}
# "Statistics": 1.1 GB for ten million drawn candidates, with what became of them.
_BYTES_PER_CANDIDATE = 110
# Weights that each token is multiplied with, of the body: 106 million as "Question answering" says;
# of the others the layers of their published shapes.
_BODY_PARAMETERS = {
    "SmolLM2-135M (embedded)": 106e6,
    "1.3 billion": 1.21e9,
    "GPT-J, 6 billion (the paper's)": 5.64e9,
}
_MEASURED_MODEL = "SmolLM2-135M (embedded)"


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes.

    Attributes:
        name: for the table.
        peak: of bfloat16 matrix products, in operations a second.
        share: of the peak that the engine's multiplications with weights reach.
        is_measured: whether both were measured here, with the embedded model.
    """

    name: str
    peak: float
    share: float
    is_measured: bool

    def rate(self, body_parameters: float) -> float:
        """Tokens a second."""
        return self.peak * self.share / (2 * body_parameters)


def _of_rate(name: str, tokens_a_second: float, peak: float) -> Machine:
    """A machine by its measured tokens a second with the embedded model."""
    share = tokens_a_second * 2 * _BODY_PARAMETERS[_MEASURED_MODEL] / peak
    return Machine(name, peak, share, is_measured=True)


# "Cost against size", 64 documents: 80,282 tokens in 97.1 s and 80,587 in 39.3 s; the peaks stand
# with the machines. A GPU's peak is its maker's, dense, and its share is assumed to be that of
# machine B, whose matrix unit is as far ahead of the rest of its processor.
_A = _of_rate("A: 2 cores, AVX-512", 80282 / 97.1, 430e9)
_B = _of_rate("B: 2 cores, AMX", 80587 / 39.3, 2208e9)
_MACHINES = (
    _A,
    _B,
    Machine("one A100", 312e12, _B.share, is_measured=False),
    Machine("one H100", 989e12, _B.share, is_measured=False),
)


def tokens_per_text() -> float:
    """Token positions fed for a text, all tools together."""
    return sum(_TOKENS_PER_TEXT.values())


def table(
    texts: float, machines: int, tokens: float, rates: Iterable[tuple[str, float]] = ()
) -> Iterator[str]:
    """The lines of the table.

    Args:
        texts: how many are annotated.
        machines: that share the work.
        tokens: fed for a text.
        rates: machines of the reader's own, with tokens a second.
    """
    yield f"| model | machine | tokens a second | machine-hours | hours with {machines} | money |"
    yield "|---|---|---|---|---|---|"
    for model, parameters in _BODY_PARAMETERS.items():
        for machine in _MACHINES:
            is_measured = machine.is_measured and model == _MEASURED_MODEL
            if model == _MEASURED_MODEL and not is_measured:
                # So small a model does not keep a GPU busy, and nobody knows how far.
                continue
            kind = "measured" if is_measured else "scaled"
            yield _line(
                model, machine.name, machine.rate(parameters), kind, texts, machines, tokens
            )
    for name, rate in rates:
        yield _line("yours", name, rate, "given", texts, machines, tokens)


def _line(
    model: str, machine: str, rate: float, kind: str, texts: float, machines: int, tokens: float
) -> str:
    hours = texts * tokens / rate / 3600
    cells = [
        model,
        machine,
        f"{_rounded(rate)}, {kind}",
        _rounded(hours),
        _rounded(hours / machines),
        f"{_rounded(hours)} · p",
    ]
    return f"| {' | '.join(cells)} |"


def _rounded(number: float) -> str:
    """Two digits, as no input has more."""
    if number < 1:
        return f"{number:.2f}"
    return f"{float(f'{number:.2g}'):,.{1 if number < 10 else 0}f}"


def _given_rate(text: str) -> tuple[str, float]:
    name, _, rate = text.rpartition("=")
    return name or "given", float(rate)


def main() -> None:
    """Print the inputs and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=float, default=1e6)
    parser.add_argument("--machines", type=int, default=100, help="that share the work")
    parser.add_argument("--tokens-per-text", type=float, default=tokens_per_text())
    parser.add_argument(
        "--rate",
        type=_given_rate,
        action="append",
        default=[],
        metavar="NAME=TOKENS",
        help="tokens a second of a machine of yours",
    )
    options = parser.parse_args()
    for name, tokens in _TOKENS_PER_TEXT.items():
        print(
            f"{name}: {tokens:,.0f} tokens and {_CANDIDATES_PER_TEXT[name]:.1f} candidates a text"
        )
    candidates = sum(_CANDIDATES_PER_TEXT.values()) * options.texts
    print(
        f"All: {options.tokens_per_text:,.0f} tokens a text; {candidates:,.2g} candidates in about "
        f"{candidates * _BYTES_PER_CANDIDATE / 1e9:,.0f} GB\n"
    )
    for line in table(options.texts, options.machines, options.tokens_per_text, options.rate):
        print(line)


if __name__ == "__main__":
    main()
