"""`make ui`: prepares a new home before the UI opens."""

from dagster_project.commands import console
from dagster_project.commands.building import prepare
from dagster_project.commands.errors import explained_errors
from dagster_project.commands.options import RunOptions
from dagster_project.runs.run_job import dagster_instance
from toolformer.home.home import Home
from toolformer.home.partitions import register_evaluations, register_shards
from toolformer.sources.manifest import Manifest


def main() -> None:
    """Prepare the home, or only its Dagster folder where it has shards."""
    home = Home.find()
    options = RunOptions()
    with explained_errors():
        settings = options.load_settings(home)
        # Opening it makes the Dagster folder and closes runs that were killed.
        with dagster_instance(home) as instance:
            manifest = Manifest.load(home.sources)
            if manifest.active_shards:
                # A copy of a home has none of its own yet.
                with home.shards_lock():
                    register_shards(instance, manifest)
                register_evaluations(instance, settings.evaluation)
            else:
                console.say("This home is empty: cutting the corpus and building the search index.")
                prepare(options, home, settings, instance)


if __name__ == "__main__":
    main()
