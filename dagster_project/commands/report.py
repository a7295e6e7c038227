"""`toolformer report`: write the HTML report."""

from pathlib import Path
from typing import Annotated

import typer

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.commands.stats import say_verdicts
from toolformer.home.home import Home
from toolformer.home.report.page import check_page, write_report
from toolformer.home.report.verdicts import verdicts_of
from toolformer.home.wiring.workspace import open_for_reading
from toolformer.settings.settings_file import load_settings

app = typer.Typer()


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: report.html in the home, which the UI links to.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write an HTML report: calls, gains, costs, and the texts with their calls."""
    home = Home.find()
    if output is None:
        from dagster_project.runs.run_job import dagster_instance, run_job

        with dagster_instance(home) as instance:
            run_job(instance, "evaluate", assets=["report"], resources=RunOptions().resources())
        verdicts = verdicts_of(open_for_reading(home))
    else:
        check_page(output)
        settings = load_settings(home.settings_file)
        verdicts = write_report(output, open_for_reading(home), settings).verdicts
    say_verdicts(verdicts)
    console.say(f"Report: {output or home.report}")
