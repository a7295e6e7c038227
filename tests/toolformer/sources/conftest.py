import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from toolformer.sources.source import Source


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes records, or lines as they are, below the test's folder."""

    def write(name: str, records: Iterable[object]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def source_of() -> Callable[..., Source]:
    def make(path: object, **settings) -> Source:
        return Source(str(path), **({"shard_size": 3} | settings))

    return make


DUMP_HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="fr">
<siteinfo><base>https://fr.wikipedia.org/wiki/Accueil</base><namespaces>
<namespace key="0" /><namespace key="6">Fichier</namespace><namespace key="14">Catégorie</namespace>
</namespaces></siteinfo>
"""


def page_xml(title: str, text: str, *, namespace: int = 0, redirect: str | None = None) -> str:
    mark = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>{len(title)}</id>{mark}"
        f"<revision><id>1</id><model>wikitext</model><text>{text}</text></revision></page>\n"
    )
