"""The licence of each source's texts, as the cards of models and datasets say it.

Does not write cards.
"""

from pathlib import Path

from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings
from toolformer.sources.source import STARTER_TEXTS, WIKIPEDIA_EXCERPT

APACHE = "apache-2.0"
_OF_BUILT_IN = {STARTER_TEXTS: APACHE, WIKIPEDIA_EXCERPT: "cc-by-sa, of the English Wikipedia"}
_NOT_STATED = "not stated (`license` of the source in toolformer.yaml); see where they come from"


def source_licences(settings: Settings) -> list[tuple[str, str]]:
    """The name of each source of the settings, and its licence or that none is stated."""
    return [
        (Path(source.path).name, source.license or _OF_BUILT_IN.get(source.path, _NOT_STATED))
        for source in settings.corpus.sources or EMBEDDED_SOURCES
    ]
