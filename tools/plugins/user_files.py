"""The user's own files: which they are, and which of them a file reaches by its imports.

Nothing is imported to find out, so what other tools have imported makes no difference.
"""

import ast
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import find_spec, resolve_name
from itertools import accumulate
from pathlib import Path

from toolformer.base.digests import digest_of_bytes

_PYTHON = Path(sysconfig.get_path("stdlib"))
# The folder of Python is often a link.
_FOLDERS = (Path(__file__).resolve().parents[1], _PYTHON, _PYTHON.resolve())
NON_USER_FOLDERS = tuple(f"{folder}/" for folder in _FOLDERS)
"""Folders of this project's tools and of Python itself, as prefixes of their files."""

_FOLDERS_OF_PACKAGES = frozenset({"site-packages", "dist-packages"})


def is_user_code(file: str) -> bool:
    """Return whether a file is the user's own: not of this project, Python itself or a package."""
    return not file.startswith(NON_USER_FOLDERS) and _FOLDERS_OF_PACKAGES.isdisjoint(
        Path(file).parts
    )


def digests_of_user_files(roots: Mapping[Path, str | None]) -> list[str]:
    """Return digests of files, and of the user's own modules that they import, and these in turn.

    Args:
        roots: The files, and the package of each, whose other modules count as the user's own.
    """
    packages = {package.partition(".")[0] for package in roots.values() if package}
    waiting = [("", file, package or "") for file, package in roots.items()]
    digests = dict[Path, str]()
    while waiting:
        name, file, package = waiting.pop(0)
        source = file.resolve()
        # Environments may be links, and packages be linked into them.
        is_own = is_user_code(str(file)) and is_user_code(str(source))
        if source in digests or (name and not is_own and name.partition(".")[0] not in packages):
            continue
        content = source.read_bytes()
        digests[source] = f"{name} {digest_of_bytes(content).hex()}"
        waiting += imported_modules(content, package)
    return sorted(digests.values())


def imported_modules(content: bytes, package: str) -> Iterator[tuple[str, Path, str]]:
    """Find the modules that a source of a package imports, also in functions, and their packages.

    Yields:
        Name, file and package of each that has a file.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = [*ast.walk(ast.parse(content))]
    # A compiled module, or one that cannot be imported.
    except (SyntaxError, ValueError):
        return
    imported = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            with suppress(ImportError):
                module = resolve_name("." * node.level + (node.module or ""), package)
                # What is imported from a package may be a module.
                imported |= {f"{module}.{alias.name}" for alias in node.names}
    for dotted in sorted(imported):
        folders: Iterable[str] = ()
        for name in accumulate(dotted.split("."), "{}.{}".format):
            spec, last = None, name.rpartition(".")[2]
            # `__main__` may have none.
            with suppress(ValueError):
                spec = find_spec(name) if name == last else PathFinder.find_spec(last, [*folders])
            if spec is None:
                break
            folders = spec.submodule_search_locations or ()
            if spec.has_location and spec.origin:
                yield name, Path(spec.origin), name if folders else name.rpartition(".")[0]
