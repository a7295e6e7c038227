"""Finds the user's own files that a file imports, directly or indirectly.

Nothing is imported to find them, so the result does not depend on what other tools have imported.
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
# The folder of Python is often a symbolic link.
_FOLDERS = (Path(__file__).resolve().parents[1], _PYTHON, _PYTHON.resolve())
NON_USER_FOLDERS = tuple(f"{folder}/" for folder in _FOLDERS)
"""Folders of this project's tools and of Python itself, each with a trailing slash."""

_FOLDERS_OF_PACKAGES = frozenset({"site-packages", "dist-packages"})


def is_user_code(file: str) -> bool:
    """Return whether a file belongs to neither this project, Python itself nor a package."""
    return not file.startswith(NON_USER_FOLDERS) and _FOLDERS_OF_PACKAGES.isdisjoint(
        Path(file).parts
    )


def digests_of_user_files(roots: Mapping[Path, str | None]) -> list[str]:
    """Return digests of files and of the user's modules that they import, directly or indirectly.

    `roots` maps each file to its package, whose other modules also count as the user's.
    """
    packages = {package.partition(".")[0] for package in roots.values() if package}
    pending = [("", file, package or "") for file, package in roots.items()]
    digests = dict[Path, str]()
    while pending:
        name, file, package = pending.pop(0)
        source = file.resolve()
        # Virtual environments, and packages in them, may be symbolic links.
        is_own = is_user_code(str(file)) and is_user_code(str(source))
        if source in digests or (name and not is_own and name.partition(".")[0] not in packages):
            continue
        content = source.read_bytes()
        digests[source] = f"{name} {digest_of_bytes(content).hex()}"
        pending += imported_modules(content, package)
    return sorted(digests.values())


def imported_modules(content: bytes, package: str) -> Iterator[tuple[str, Path, str]]:
    """Yield name, file and package of each imported module with a file, also inside functions."""
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = [*ast.walk(ast.parse(content))]
    # The module is compiled, or is not valid Python.
    except (SyntaxError, ValueError):
        return
    imported = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            with suppress(ImportError):
                module = resolve_name("." * node.level + (node.module or ""), package)
                # A name imported from a package may be a module.
                imported |= {f"{module}.{alias.name}" for alias in node.names}
    for dotted in sorted(imported):
        folders: Iterable[str] = ()
        for name in accumulate(dotted.split("."), "{}.{}".format):
            spec, last = None, name.rpartition(".")[2]
            # `find_spec` raises ValueError if `__main__` has no spec.
            with suppress(ValueError):
                spec = find_spec(name) if name == last else PathFinder.find_spec(last, [*folders])
            if spec is None:
                break
            folders = spec.submodule_search_locations or ()
            if spec.has_location and spec.origin:
                yield name, Path(spec.origin), name if folders else name.rpartition(".")[0]
