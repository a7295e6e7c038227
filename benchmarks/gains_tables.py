"""Prints the tables and draws the plot of docs/results.md from the figures of `benchmarks.gains`.

python -m benchmarks.gains_tables --work FOLDER [--plot docs/images/growth.png]
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gains import MATHS
from toolformer.evaluation.intervals import paired_difference, score_interval
from toolformer.home.plots.style import RUN_COLOURS, new_figure, style_axes

Figures = Mapping[str, Any]
_STEPS = "worked-steps"
_NOT_MEASURED = "not measured"
_SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="PNG file for the plot of the growth")
    options = parser.parse_args()
    presets = {
        file.parent.name.removeprefix("preset-"): _read(file)
        for file in sorted(options.work.glob("preset-*/figures.json"))
    }
    if presets:
        _print_presets(presets)
    growth = {
        (folder.name, int(file.stem.split("-")[1])): _read(file)
        for folder in options.work.glob("growth-*")
        for file in folder.glob("figures-[0-9]*.json")
    }
    if growth:
        _print_growth(growth)
        if options.plot is not None:
            _draw_growth(growth, options.plot)
    for file in sorted(options.work.glob("growth-*/figures-chained-*.json")):
        _print_chained(file.stem, _read(file))


def _read(file: Path) -> Figures:
    return json.loads(file.read_text("utf-8"))


def _print_presets(seeds: Mapping[str, Figures]) -> None:
    print("\n### Preset\n")
    _print_table(
        (
            *("seed", "set", "calls disabled", "calls enabled", "difference, points (95 %)"),
            *("better / worse", "p", "items with a call", "`plain`", "difference to it"),
            *("`shuffled`", "difference to it"),
        ),
        [
            (seed, name, *cells)
            for seed, figures in seeds.items()
            for name, cells in _word_problems(figures)
        ],
    )
    _print_table(
        ("seed", "set", "items", "calls disabled", "calls enabled", "difference", "better / worse"),
        [
            (seed, name, gain["items"], *_sum_of_gains([gain])[:4])
            for seed, figures in seeds.items()
            for name in (_STEPS, "dateset", "lama-squad", "triviaqa")
            if (gain := _gain(figures, name, _caller(figures), _caller(figures))) is not None
        ],
    )
    _print_calls(seeds)
    _print_table(
        ("seed", "texts", "windows", "`plain`", "with calls", "above `plain`"),
        [
            (seed, source, *cells)
            for seed, figures in seeds.items()
            for source, *cells in _perplexities(figures)
        ],
    )
    _print_table(
        ("seed", "kept out of training because", "held-out set", "texts"),
        [
            (seed, row["reason"], row["held_out_set"] or "–", row["texts"])
            for seed, figures in seeds.items()
            for row in figures["exclusions"]
        ],
    )


def _caller(figures: Figures) -> str:
    # Only a model with calls is compared with itself.
    return next(row["model"] for row in figures["gains"] if row["model"] == row["other_model"])


def _word_problems(figures: Figures) -> Iterable[tuple[str, tuple[Any, ...]]]:
    """Yield a row per set and one for all three: the calling model against each control."""
    model = _caller(figures)
    others = {row["other_model"] for row in figures["gains"] if row["model"] == model}
    for name, sets in (*((name, (name,)) for name in MATHS), ("all three", MATHS)):
        rows = [_score(figures, one, model, "enabled") for one in sets]
        called = sum(round(row["share_with_call"] * row["items"]) for row in rows)
        cells = [*_sum_of_gains(_gain(figures, one, model, model) for one in sets), called]
        for kind in ("plain", "shuffled"):
            control = next((other for other in others if other.startswith(kind)), None)
            if control is None:
                cells += [_NOT_MEASURED] * 2
                continue
            right, _, difference, *_ = _sum_of_gains(
                _gain(figures, one, model, control) for one in sets
            )
            cells += [right, difference]
        yield name, tuple(cells)


def _score(figures: Figures, benchmark: str, model: str, mode: str) -> Mapping[str, Any]:
    return next(
        row
        for row in figures["scores"]
        if (row["benchmark"], row["model"], row["mode"]) == (benchmark, model, mode)
    )


def _perplexities(figures: Figures) -> Iterable[tuple[Any, ...]]:
    """Yield per kind of text: windows, and the perplexity of `plain` and of the calling model."""
    rows = {(row["source"], row["model"]): row for row in figures.get("perplexity", ())}
    model = _caller(figures)
    for source in dict.fromkeys(source for source, _ in rows):
        own = rows[source, model]
        yield (
            source,
            own["windows"],
            f"{own['perplexity'] / (1 + own['increase_over_plain']):.2f}",
            f"{own['perplexity']:.2f}",
            _percent(own["increase_over_plain"]),
        )


def _print_growth(growth: Mapping[tuple[str, int], Figures]) -> None:
    print("\n### Growth\n")
    rows = []
    for (home, size), figures in sorted(growth.items()):
        model = f"problems-{size}"
        calls = next(row for row in figures["calls"] if row["round"] == 2)
        spent = figures["processor_seconds"]
        rows.append(
            (
                home.removeprefix("growth-"),
                size,
                calls["scored"],
                _percent(calls["kept"] / calls["scored"]),
                *_sum_of_gains(_gain(figures, name, model, model) for name in MATHS),
                *_gain_row(figures, _STEPS, model, model)[1:4],
                f"{spent[f'build {size}']:.0f} + {spent[f'train {size}']:.0f}",
            )
        )
    _print_table(
        (
            *("seed", "problems", "calls scored", "kept", "right without", "with calls"),
            *("difference, points (95 %)", "better / worse", "p"),
            *("several steps without", "with calls", "difference"),
            "processor seconds: annotating what is new + training",
        ),
        rows,
    )


def _print_chained(name: str, figures: Figures) -> None:
    print(f"\n### {name}\n")
    _print_calls({name: figures})
    models = sorted({row["model"] for row in figures["scores"] if "chained" in row["model"]})
    for model in models:
        rows = [_gain_row(figures, benchmark, model, model) for benchmark in (*MATHS, _STEPS)]
        header = (
            "set",
            "calls disabled",
            model,
            "difference, points (95 %)",
            "better / worse",
            "p",
        )
        _print_table(header, rows)


def _print_calls(homes: Mapping[str, Figures]) -> None:
    rows = []
    for home, figures in homes.items():
        chance = {
            (row["tool"], row["round"]): row
            for row in figures["thresholds"]
            if row["filtering_threshold"] == 0.1  # the preset's
        }
        for row in sorted(figures["calls"], key=lambda row: (row["round"], row["tool"])):
            if not row["scored"]:
                continue
            swapped = chance[row["tool"], row["round"]]
            by_chance = f"{_percent(swapped['chance_share'])} of {swapped['chance_calls']}"
            kept = _percent(row["kept"] / row["scored"])
            rows.append((home, row["round"], row["tool"], row["scored"], kept, by_chance))
    _print_table(
        ("home", "round", "tool", "calls scored", "kept", "kept with swapped results"), rows
    )


def _gain(figures: Figures, benchmark: str, model: str, other: str) -> Mapping[str, Any] | None:
    gains = (
        row
        for row in figures["gains"]
        if (row["benchmark"], row["model"], row["other_model"]) == (benchmark, model, other)
    )
    gain = next(gains, None)
    if gain is None:
        return None
    score = _score(figures, benchmark, model, "enabled")["score"]
    return {**gain, "right": round(score * gain["items"])}


def _gain_row(figures: Figures, benchmark: str, model: str, other: str) -> tuple[Any, ...]:
    gain = _gain(figures, benchmark, model, other)
    return (benchmark, *(_sum_of_gains([gain]) if gain else (_NOT_MEASURED,) * 5))


def _sum_of_gains(gains: Iterable[Mapping[str, Any] | None]) -> tuple[Any, ...]:
    """Return right answers without and with calls, and their difference over all sets."""
    known = [gain for gain in gains if gain is not None]
    items, better, worse, right = (
        sum(gain[name] for gain in known) for name in ("items", "better", "worse", "right")
    )
    # The interval and the test depend only on these counts.
    first = [1] * better + [0] * (items - better)
    other = [0] * better + [1] * worse + [0] * (items - better - worse)
    found = paired_difference(first, other, [1] * items, metric="accuracy", seed=_SEED)
    difference, low, high = (100 * value for value in (found.difference, found.low, found.high))
    return (
        right - better + worse,
        right,
        f"{difference:+.1f} ({low:.1f} to {high:.1f})",
        f"{better} / {worse}",
        f"{found.p_value:.1g}",
    )


def _draw_growth(growth: Mapping[tuple[str, int], Figures], file: Path) -> None:
    figure = new_figure(6.2, 3.6)
    figure.suptitle("Word problems answered right, by worked problems annotated")
    axes = figure.add_subplot()
    style_axes(axes, has_grid=True)
    for seed in sorted({home for home, _ in growth}):
        sizes = sorted(size for home, size in growth if home == seed)
        for mode, colour in (("enabled", RUN_COLOURS[1]), ("disabled", RUN_COLOURS[0])):
            points = [_share_right(growth[seed, size], f"problems-{size}", mode) for size in sizes]
            axes.errorbar(
                sizes,
                [100 * point.score for point in points],
                yerr=[
                    [100 * (point.score - point.low) for point in points],
                    [100 * (point.high - point.score) for point in points],
                ],
                marker="o",
                capsize=3,
                color=colour,
                label=f"calls {mode}" if seed == min(home for home, _ in growth) else None,
            )
    axes.set_xscale("log")
    ticks = sorted({size for _, size in growth})
    axes.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axes.minorticks_off()
    axes.set_xlabel("worked problems annotated in round 2")
    axes.set_ylabel("right, % of 600 (95 % interval)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(file, format="png", dpi=110)


def _share_right(figures: Figures, model: str, mode: str) -> Any:
    rows = [
        row
        for row in figures["scores"]
        if row["benchmark"] in MATHS and (row["model"], row["mode"]) == (model, mode)
    ]
    items = sum(row["items"] for row in rows)
    right = sum(round(row["score"] * row["items"]) for row in rows)
    scores = [1.0] * right + [0.0] * (items - right)
    return score_interval(scores, [1.0] * items, metric="accuracy", seed=_SEED)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(map(str, cells))} |")
    print()


if __name__ == "__main__":
    main()
