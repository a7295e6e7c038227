"""Everything Dagster knows of, assets to sensors. Assembles and does nothing else."""

import dagster as dg

from assets import (
    augmentation,
    corpus,
    execution,
    filtering,
    passage_vectors,
    report_page,
    sampling,
    scoring,
    search_index,
    statistics,
)
from assets.evaluation import report, results, studies
from assets.training import call_threshold, finetuning, training_set
from dagster_project.checks import CHECKS
from dagster_project.home import Home
from dagster_project.jobs import JOBS
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.launchpad import settings_of_launchpad
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.sensors import SENSORS

STAGES = [
    search_index,
    passage_vectors,
    corpus,
    sampling,
    execution,
    scoring,
    filtering,
    augmentation,
    training_set,
    finetuning,
    call_threshold,
    statistics,
    results,
    report,
    studies,
    report_page,
]

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(STAGES),
    asset_checks=CHECKS,
    jobs=JOBS,
    sensors=SENSORS,
    resources={
        "settings": settings_of_launchpad(Home.find()),
        "warehouse": WarehouseResource(),
        "toolbox": ToolboxResource(),
        "language_model": LanguageModelResource(),
    },
    # One process per run: the model is loaded once for all stages and shards of a run.
    executor=dg.in_process_executor,
)
