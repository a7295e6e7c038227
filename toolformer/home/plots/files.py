"""Plots as files of the home, and the links that open them.

Dagster's UI hides images in Markdown but shows links. `make ui` serves them; another web server of
Dagster does not, so the folder is named too.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import dagster as dg

from toolformer.base.digests import digest_of_bytes
from toolformer.base.whole_files import replacing
from toolformer.home.home import Home
from toolformer.home.plots.style import png_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the folder of all plots, where `make ui` serves it.
ADDRESS = "/toolformer/plots"
# So many pictures of each plot of an asset or partition; older ones are removed.
KEPT = 20


def plot_links(
    home: Home, asset: str, figures: Mapping[str, "Figure"], *, partition: str | None = None
) -> dict[str, dg.MetadataValue]:
    """Write the plots of an asset, and link to them.

    A file is named after its content too: what an earlier run links to stays what that run drew.
    Of each plot the newest `KEPT` stay.

    Args:
        figures: by what each shows.

    Returns:
        A link to each, and the folder that they are in; nothing where there are no plots.
    """
    folder = "/".join(filter(None, (asset, partition)))
    links: dict[str, dg.MetadataValue] = {}
    for name, figure in figures.items():
        content = png_of(figure)
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        file = f"{words}-{digest_of_bytes(content, size=4).hex()}.png"
        with replacing(home.plots / folder / file) as temporary:
            temporary.write_bytes(content)
        same = (home.plots / folder).glob(f"{words}-{'[0-9a-f]' * 8}.png")
        # Another run may remove them too.
        with suppress(FileNotFoundError):
            for old in sorted(same, key=lambda each: each.stat().st_mtime_ns)[:-KEPT]:
                old.unlink()
        links[name] = dg.MetadataValue.url(f"{ADDRESS}/{folder}/{file}")
    if links:
        links["folder of the plots"] = dg.MetadataValue.path(str(home.plots / folder))
    return links
