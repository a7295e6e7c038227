"""What is installed beside requirements.lock and in pods, and how documents and errors say it."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY
from toolformer.base.constants import INSTALL_EXTRA

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKED = {
    canonicalize_name(line.partition("==")[0])
    for line in (REPOSITORY / "requirements.lock").read_text("utf-8").splitlines()
    if "==" in line
}
UNRESOLVED = {
    canonicalize_name(Requirement(line).name)
    for line in PROJECT["dependency-groups"]["without-dependencies"]
}


def applies(marker: Marker | None, extras: set[str]) -> bool:
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


def test_what_the_project_declares_is_in_the_lock_with_all_that_it_declares():
    known: set[tuple[str, frozenset[str]]] = set()
    asked = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
    while asked:
        requirement = asked.pop()
        name, extras = canonicalize_name(requirement.name), set(requirement.extras)
        # torch is installed apart, in the build that fits the machine.
        if name == "torch" or (name, frozenset(extras)) in known:
            continue
        known.add((name, frozenset(extras)))
        assert name in LOCKED, f"{requirement} would be installed with every extra"
        try:
            declared = requires(name) or []
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed")
        asked += [
            each for each in map(Requirement, declared) if applies(each.marker, extras | {""})
        ]
    assert not UNRESOLVED & {name for name, _ in known}
    assert UNRESOLVED <= LOCKED


def test_documents_and_errors_install_extras_by_the_one_line_that_keeps_the_lock():
    line = re.compile(r"pip\S* install [^\n]*?\.\[([^\]\n]+)\]'?")
    others = ("tests", ".ci", "CHANGELOG.md", "deploy/Dockerfile")
    texts = subprocess.run(
        ["git", "grep", "-hI", "install.*[.]\\[", "--", *map(":!{}".format, others)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = [(match[0], match[1]) for match in line.finditer(texts)]
    assert len(found) >= 7
    for text, extra in found:
        assert text in INSTALL_EXTRA.format(extra)
        assert extra in {"{}", *EXTRAS}


def test_ci_installs_every_extra_by_that_line():
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    assert INSTALL_EXTRA.format("$extras").replace("'", '"') in script
    (names,) = re.findall(r"^all=(.*)$", script, re.MULTILINE)
    # What `dev` brings is in the lock.
    assert {*names.split(","), "dev"} == set(EXTRAS)


def test_every_pod_of_the_chart_has_an_image_that_the_schema_takes_and_a_home_on_its_volume():
    values = YAML(typ="safe").load(REPOSITORY / "deploy" / "kubernetes" / "values.yaml")
    (server,) = values["dagster-user-deployments"]["deployments"]
    # Required by the chart's schema, which merges no defaults into a deployment.
    assert {"name", "image", "port"} <= server.keys()
    assert {"repository", "pullPolicy"} <= server["image"].keys()
    assert server["image"]["pullPolicy"] in {"Always", "IfNotPresent", "Never"}
    assert all(isinstance(value, str) for value in server["env"].values())
    mounted = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    volumes = {volume["name"]: volume.keys() - {"name"} for volume in server["volumes"]}
    for name, kind in (("HOME", "persistentVolumeClaim"), ("CACHE", "emptyDir")):
        assert volumes[mounted[server["env"][f"TOOLFORMER_{name}"]]] == {kind}
    # So a run has them too; named a second time, the pod would have two volumes of one name.
    assert server["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert values["runLauncher"]["config"]["k8sRunLauncher"].keys() == {"resources", "runK8sConfig"}


# A folder on the Python path comes before what setuptools finds of an editable installation.
EDITABLE = """
import sys
from importlib.machinery import PathFinder

PACKAGES = ("warehouse", "toolformer", "tools")

class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        package = name.rpartition(".")[0]
        if name in PACKAGES or package in PACKAGES:
            return PathFinder.find_spec(name, ["{repository}/" + package])

sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Editable)

from toolformer.sources.files import built_in_path
from toolformer.settings.corpus_sections import STARTER_PEOPLE
from tools.prompting import load_prompt, load_short_prompt
from warehouse.schema import sql_texts

assert built_in_path(STARTER_PEOPLE).is_dir()
assert load_prompt("Calculator") and load_short_prompt("Calculator")
assert sql_texts()["schema"] and sql_texts("counts")
print(sys.modules["warehouse"].__file__)
"""


def test_a_home_on_the_python_path_hides_no_resource(tmp_path):
    for name in ("warehouse", "toolformer", "tools"):
        (tmp_path / name).mkdir()
    code = EDITABLE.replace("{repository}", str(REPOSITORY))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
