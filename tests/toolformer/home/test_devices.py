"""Which device a run takes, and what it does while all are taken."""

import os
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from filelock import Timeout

from toolformer.forward import devices
from toolformer.forward.devices import device_identity, devices_of
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.toolbox import open_retriever, open_tool
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.machine_translation import MachineTranslation
from tools.retrieval.hybrid_ranking import HybridRetriever
from tools.translation.nllb import NllbTranslator


@pytest.fixture
def holders():
    made = [ModelHolder() for _ in range(3)]
    yield made
    for holder in made:
        holder.release()


@pytest.fixture
def two_gpus(monkeypatch) -> None:
    monkeypatch.setattr(devices, "devices_of", lambda device: ["cuda:0", "cuda:1"])
    monkeypatch.setattr(devices, "resolve_device", lambda device: "cuda")


def waits_until(action, free) -> object:
    """What an action returns that goes on only after another."""
    got = []
    waiting = threading.Thread(target=lambda: got.append(action()))
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()
    free()
    waiting.join(timeout=10)
    return got[0]


def test_all_gpus_are_there_to_choose_from_unless_one_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of("auto") == ["cuda:0", "cuda:1"]
    assert devices_of("cuda:1") == ["cuda:1"]
    assert devices_of("cpu") == ["cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices_of("auto") == ["cuda"]


def test_threads_of_one_run_hold_one_device_together(home, holders, two_gpus):
    got, meeting = [], threading.Barrier(4, timeout=10)

    def hold():
        meeting.wait()
        got.append(holders[0].hold_device("auto", home))

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert got == ["cuda:0"] * 4


def test_runs_share_out_the_gpus_and_the_third_waits_for_a_free_one(
    home, holders, two_gpus, caplog
):
    first, second, third = holders
    assert first.hold_device("auto", home) == "cuda:0"
    assert second.hold_device("auto", home) == "cuda:1"
    # Asked again, a run keeps what it has.
    assert first.hold_device("auto", home) == "cuda:0"
    assert waits_until(lambda: third.hold_device("auto", home), second.release) == "cuda:1"
    (line,) = caplog.messages
    assert line.count(f"(process {os.getpid()}) to release cuda:") == 2


def test_processes_that_train_together_take_the_gpus_from_the_first_on(home, holders, two_gpus):
    first, second, _ = holders
    assert first.hold_device("auto", home) == "cuda:0"
    assert second.hold_device("auto", home) == "cuda:1"
    # What it holds itself is given back: else two such runs would wait for each other.
    hold_both = partial(second.hold_devices, 2, "auto", home)
    assert waits_until(hold_both, first.release) == "cuda:0"
    for device in ("cuda:0", "cuda:1"):
        with pytest.raises(Timeout):
            home.device_lock(device).acquire(timeout=0)


def test_a_run_that_asks_again_keeps_the_gpus_that_another_waits_for(home, holders, two_gpus):
    first, second, _ = holders
    assert first.hold_devices(2, "auto", home) == "cuda:0"
    waiting = threading.Thread(target=lambda: second.hold_device("auto", home))
    waiting.start()
    # Under its model's lock: the other would take a device given back, and then wait for the lock.
    assert first.hold_devices(2, "auto", home) == "cuda:0"
    assert first.hold_device("auto", home) == "cuda:0"
    waiting.join(timeout=1)
    assert waiting.is_alive()
    first.release()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_a_gpu_has_one_lock_whatever_number_a_process_sees_it_under(home, monkeypatch):
    seen = ["GPU-a", "GPU-b"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=seen[number])
    )
    second = device_identity("cuda:1")
    first = home.device_lock(device_identity("cuda:0"))
    assert device_identity("cuda") == device_identity("cuda:0")
    # As with CUDA_VISIBLE_DEVICES=1.
    seen[:] = ["GPU-b"]
    assert device_identity("cuda:0") == second
    with first, home.device_lock(second).acquire(timeout=0), pytest.raises(Timeout):
        home.device_lock(device_identity("cuda")).acquire(timeout=0)


def translation_device(settings: Settings, home: Home, holder: ModelHolder) -> str:
    tool = open_tool(Workspace(settings, home, holder), "MT")
    assert isinstance(tool, MachineTranslation)
    assert isinstance(tool._translator, NllbTranslator)
    device = tool._translator._device
    return device() if callable(device) else device


def test_the_models_of_tools_go_to_the_device_that_the_run_holds(home, holders, two_gpus, tmp_path):
    other, ours, _ = holders
    options = {"model_directory": str(tmp_path)}
    settings = Settings.model_validate(
        {"tools": {"MT": {"options": options}}, "question_answering": {"retriever": "hybrid"}}
    )
    other.hold_device(settings.language_model.device, home)
    assert translation_device(settings, home, ours) == "cuda:1"
    retriever = open_retriever(Workspace(settings, home, ours))
    assert isinstance(retriever, HybridRetriever)
    assert retriever._vectors._device() == "cuda:1"
    # Unless the user names one.
    options["device"] = "cpu"
    settings = Settings.model_validate({"tools": {"MT": {"options": options}}})
    assert translation_device(settings, home, ours) == "cpu"
