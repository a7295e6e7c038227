"""All that Dagster loads: assets, checks, jobs, sensors and resources."""

import dagster as dg

from assets import corpus, passage_vectors, report_page, search_index, statistics
from assets.dataset.pipeline import PIPELINE
from assets.dataset.shard_asset import shard_assets
from assets.documents import documents
from assets.evaluation import report, results, studies
from assets.training import finetuning, min_call_probability, training_set
from dagster_project.checks import CHECKS
from dagster_project.home import Home
from dagster_project.jobs import JOBS
from dagster_project.partitions import shards_per_run
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.launchpad import settings_of_launchpad
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.sensors import SENSORS

# Of what is not run shard by shard.
_MODULES = [
    search_index,
    passage_vectors,
    corpus,
    training_set,
    finetuning,
    min_call_probability,
    statistics,
    results,
    report,
    studies,
    report_page,
]


@dg.definitions
def definitions() -> dg.Definitions:
    """The definitions, with as many shards in a run as the home says now."""
    home = Home.find()
    return dg.Definitions(
        assets=[
            documents,
            *dg.load_assets_from_modules(_MODULES),
            *shard_assets(PIPELINE, shards_per_run=shards_per_run(home.settings_file)),
        ],
        asset_checks=CHECKS,
        jobs=JOBS,
        sensors=SENSORS,
        resources={
            "settings": settings_of_launchpad(),
            "warehouse": WarehouseResource(),
            "toolbox": ToolboxResource(),
            "language_model": LanguageModelResource(),
        },
        # One process per run: the model is loaded once for all stages and shards of a run.
        executor=dg.in_process_executor,
    )
