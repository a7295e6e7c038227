"""The contract on layers names every module of the engine's package."""

from configparser import ConfigParser

from tests.conftest import REPOSITORY


def test_every_module_of_toolformer_has_a_layer():
    contracts = ConfigParser()
    contracts.read(REPOSITORY / ".importlinter")
    named = set(contracts["importlinter:contract:layers"]["layers"].replace("|", " ").split())
    package = REPOSITORY / "toolformer"
    modules = {file.stem for file in package.glob("*.py")} - {"__init__"}
    packages = {file.parent.name for file in package.glob("*/__init__.py")}
    assert named >= {f"toolformer.{name}" for name in modules | packages}
