"""The report as an asset: one page about all that was built."""

import dagster as dg

from assets.run import Run
from assets.stage import Stage
from assets.stage_asset import FOLLOWS, asset_of
from toolformer.home.report import ADDRESS
from toolformer.home.report.page import write_report
from toolformer.home.report.verdicts import verdicts_markdown

REPORT = Stage(
    name="report",
    version="1",
    group="evaluate",
    kinds=("html", "matplotlib"),
    reads=("call_statistics", "evaluation_report"),
)


@asset_of(REPORT, automation_condition=FOLLOWS)
def report(run: Run) -> dg.MaterializeResult:
    """One HTML page for everybody: kept calls against chance, gains, costs, texts with their calls.

    **[Open the report](/toolformer/report)**, where this UI is the one that `make ui` starts. The
    file needs no network and can be passed on; `toolformer report` writes it wherever you say.
    """
    file = run.home.report
    contents = write_report(file, run.warehouse, run.settings)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(ADDRESS),
            "file": dg.MetadataValue.path(str(file)),
            "verdicts": dg.MetadataValue.md(verdicts_markdown(contents.verdicts)),
            "texts shown": contents.texts.texts,
            "bytes": file.stat().st_size,
        }
    )
