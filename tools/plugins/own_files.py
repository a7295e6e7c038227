"""The user's own files that a file reaches by its imports, without importing any of them.

So what was imported before, by other tools say, makes no difference.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import find_spec, resolve_name
from itertools import accumulate
from pathlib import Path

from toolformer.base.digests import digest_of_bytes
from tools.plugins.plugins import is_own_code


def digests_of_own_files(roots: Mapping[Path, str | None]) -> list[str]:
    """Digests of files, and of the user's own modules that they import, and these in turn.

    Args:
        roots: The files, and the package of each. Its other modules are the user's own, too.
    """
    packages = {package.partition(".")[0] for package in roots.values() if package}
    waiting = [("", file.resolve(), package or "") for file, package in roots.items()]
    digests, seen = dict[Path, str](), set[str]()
    while waiting:
        name, file, package = waiting.pop(0)
        if file in digests:
            continue
        content = file.read_bytes()
        digests[file] = f"{name} {digest_of_bytes(content).hex()}"
        for name, place, within in imported_modules(content, package):
            if name in seen:
                continue
            seen.add(name)
            source = place.resolve()
            # Environments may be links, and packages be linked into them.
            is_own = is_own_code(str(place)) and is_own_code(str(source))
            if is_own or name.partition(".")[0] in packages:
                waiting.append((name, source, within))
    return sorted(digests.values())


def imported_modules(content: bytes, package: str) -> Iterator[tuple[str, Path, str]]:
    """The modules that a source of a package imports, also within functions, and those around them.

    Yields:
        Name, file and package of each that has a file.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            nodes = [*ast.walk(ast.parse(content))]
    # A compiled module, or one that cannot be imported.
    except (SyntaxError, ValueError):
        return
    imported = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
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
            if spec.has_location and spec.origin:
                is_package = spec.submodule_search_locations is not None
                yield name, Path(spec.origin), name if is_package else name.rpartition(".")[0]
            folders = spec.submodule_search_locations or ()
