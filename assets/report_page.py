"""The report as an asset: one page about all that was built."""

import dagster as dg

from assets.code_versions import code_version_tags
from assets.failures import expected_errors
from assets.run import FOLLOWS, WITHOUT_MODEL, Run
from assets.stage import Stage
from toolformer_home.report import ADDRESS
from toolformer_home.report.page import write_report
from toolformer_home.report.verdicts import verdicts_markdown

REPORT = Stage(name="report", version="1", settings=("costs.price_per_hour",))


@dg.asset(
    group_name="evaluate",
    kinds={"html", "matplotlib"},
    deps=["call_statistics", "evaluation_report"],
    automation_condition=FOLLOWS,
    required_resource_keys=WITHOUT_MODEL,
)
def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One HTML page for everybody: kept calls against chance, gains, costs, texts with their calls.

    **[Open the report](/toolformer/report)**, where this UI is the one that `make ui` starts. The
    file needs no network and can be passed on; `toolformer report` writes it wherever you say.
    """
    with expected_errors():
        run = Run(context)
        file = run.home.report
        contents = write_report(file, run.warehouse, run.settings)
    above_chance = [
        verdict for verdict in contents.verdicts if verdict.against_chance.is_above_chance
    ]
    return dg.MaterializeResult(
        tags=code_version_tags(context, REPORT),
        metadata={
            "report": dg.MetadataValue.url(ADDRESS),
            "file": dg.MetadataValue.path(str(file)),
            "tools above chance": len(above_chance),
            "tools": len(contents.verdicts),
            "verdicts": dg.MetadataValue.md(verdicts_markdown(contents.verdicts)),
            "texts shown": contents.texts.texts,
            "bytes": file.stat().st_size,
        },
    )
