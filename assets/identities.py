"""Identifies models, tools and files for code versions, as far as a code location can.

A code location must load in seconds, so it loads no model, asks no server and starts no tool. Code
versions therefore ignore the weights of the embedded model and what a server or a third-party tool
reports. They also ignore indexes: these are assets, whose data versions Dagster compares.
"""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from toolformer.base.digests import file_digest, hex_digest
from toolformer.home.expected_errors import EXPECTED_ERRORS
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox, open_tool, options_of, prompt_of
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.sections import Settings
from tools.model_identity import chat_template_identity, model_identity, tokenizer_files
from tools.plugins.mcp_tool import MCP_TOOL, programs_of
from tools.plugins.user_files import digests_of_user_files, imported_modules
from tools.prompting import SHORT
from tools.registry import is_plugin

_QUOTED = re.compile(r"""(['"])(.+?)\1""")


def identity_or_none(identify: Callable[..., Any], *arguments: object) -> Any:
    """Return an identity; None if a file is missing or unreadable, so that only its stage fails."""
    try:
        return identify(*arguments)
    except EXPECTED_ERRORS:
        return None


def base_identity(settings: Settings) -> object:
    """Identify the base model: embedded by name, served by id and tokenizer, else by its files."""
    section = settings.language_model
    if section.server.url:
        files = tokenizer_files(Path(section.path))
        return [section.server.model, *(identity_or_none(file_digest, file) for file in files)]
    return (
        section.path
        if section.path == "embedded"
        else identity_or_none(model_identity, Path(section.path))
    )


def base_template(settings: Settings) -> str | None:
    return identity_or_none(chat_template_identity, Path(settings.language_model.path))


def annotator_identity(settings: Settings, home: Home) -> str:
    sampling = settings.sampling
    if sampling.annotator == BASE:
        return hex_digest(base_identity(settings))
    is_finetuned = sampling.annotator == FINETUNED
    directory = home.finetuned_model(sampling.round - 1) if is_finetuned else sampling.annotator
    return hex_digest(identity_or_none(model_identity, Path(directory)))


def described_toolbox(settings: Settings, home: Home) -> Toolbox:
    """Return stand-ins for the enabled tools, with the versions and prompts that are known."""
    tools = {name: _described_tool(settings, home, name) for name in settings.tools.enabled_names}
    prompts = {
        name: _prompt(settings, tool) if settings.sampling.uses_prompt else None
        for name, tool in tools.items()
    }
    return Toolbox(tools, prompts, {})


def tool_versions(settings: Settings, home: Home) -> Mapping[str, str]:
    return {name: tool.version for name, tool in described_toolbox(settings, home).tools.items()}


def _described_tool(settings: Settings, home: Home, name: str) -> Any:
    options = settings.tools.of(name).options
    # A home without files, so that no version depends on an index.
    without_indexes = replace(home, root=home.root / "none")
    tool = (
        None
        if is_plugin(name)
        else identity_or_none(open_tool, Workspace(settings, without_indexes), name)
    )
    version: Any = tool and tool.sampling_version
    if tool is None:
        version = hex_digest(options, *_own_files(settings, home, name))
    # Without a model directory MT uses Apertium, a program that would have to be started.
    elif name != "MT" or options.get("model_directory"):
        if name == "QA":
            section = settings.language_model
            precision = None if section.server.url else section.precision
            reader_version = hex_digest(base_identity(settings), precision, section.bos_token)
            tool.reader = SimpleNamespace(version=lambda: reader_version)
        version = identity_or_none(getattr, tool, "version")
    return SimpleNamespace(
        name=name,
        version=version,
        sampling_version=getattr(tool, "sampling_version", None),
        proposals_version=getattr(tool, "proposals_version", None),
        makes_proposals=getattr(tool, "makes_proposals", True),
        prompt=None,
    )


def _own_files(settings: Settings, home: Home, name: str) -> Iterator[object]:
    """Yield the class of a third-party tool, and digests of its code and of files in its options.

    Folders and data files in a server's command count only by name, as the tool may write to them.
    """
    target = settings.tools.targets.get(name, "")
    yield target
    module = target.partition(":")[0]
    modules = imported_modules(f"import {module}".encode(), package="")
    yield identity_or_none(digests_of_user_files, {file: package for _, file, package in modules})
    options = options_of(Workspace(settings, home), name)
    if target == MCP_TOOL:
        files = programs_of(options.get("command") or [], str(home.root))
    else:
        lists = (value if isinstance(value, list) else [value] for value in options.values())
        texts = [text for values in lists for text in values if isinstance(text, str)]
        files = [home.root / os.path.expanduser(text) for text in texts]  # noqa: PTH111
        # An option may be a query, which names files in quotation marks.
        for _, pattern in (found for text in texts for found in _QUOTED.findall(text)):
            named = sorted(glob.glob(pattern, root_dir=home.root, recursive=True))  # noqa: PTH207
            files += [home.root / name for name in named]
    # An option may be too long for a path, for which `isfile` returns False.
    yield [identity_or_none(file_digest, file) for file in files if os.path.isfile(file)]  # noqa: PTH113


def _prompt(settings: Settings, tool: Any) -> str | None:
    """Identify the prompt of a tool; None if a third-party tool brings its own."""
    file = settings.tools.of(tool.name).prompt
    if file and file != SHORT:
        return identity_or_none(file_digest, Path(file).expanduser())
    return identity_or_none(prompt_of, settings, tool)
