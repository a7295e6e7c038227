"""Writes the report as an asset: one HTML page about everything that was built."""

import dagster as dg

from assets.run import Run
from assets.stage import Stage
from assets.stage_asset import REFRESH_AFTER_DEPENDENCIES, asset_of
from toolformer.home.plots.style import markdown_image
from toolformer.home.report.page import write_report
from toolformer.home.report.verdicts import verdicts_markdown

REPORT = Stage(
    name="report",
    version="1",
    group="evaluate",
    kinds=("html", "matplotlib"),
    reads=("call_statistics", "evaluation_report"),
)


@asset_of(REPORT, automation_condition=REFRESH_AFTER_DEPENDENCIES)
def report(run: Run) -> dg.MaterializeResult:
    """One HTML page about everything: kept calls against chance, gains, costs, texts with calls.

    The metadata shows the path of the file, and its figures. The file works offline and can be
    passed on. `toolformer report` writes it to a path of your choice.
    """
    file = run.home.report
    contents = write_report(file, run.warehouse, run.settings)
    figures = {
        "gains": contents.gain_pictures,
        "kept calls by filtering threshold": contents.sweeps,
        "training": contents.training,
    }
    return dg.MaterializeResult(
        metadata={
            "file": dg.MetadataValue.path(str(file)),
            "verdicts": dg.MetadataValue.md(verdicts_markdown(contents.verdicts)),
            **{
                name: dg.MetadataValue.md("\n\n".join(markdown_image(*each) for each in pictures))
                for name, pictures in figures.items()
                if pictures
            },
            "texts shown": contents.texts.texts,
            "bytes": file.stat().st_size,
        }
    )
