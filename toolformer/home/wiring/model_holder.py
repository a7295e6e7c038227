"""Keeps the language model of a process loaded, and holds the lock of its device.

Other runs wait for the lock; the kernel releases it even if this process is killed.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from toolformer.errors import OverflowingModelError, ToolformerError
from toolformer.forward.memory import release_memory
from toolformer.forward.precision import FLOAT16, automatic_precisions
from toolformer.home.home import Home
from toolformer.home.locks import holder_of
from toolformer.home.progress import progress_of, show_waiting
from toolformer.home.wiring.served import open_served, served_identity
from toolformer.settings.sections import LanguageModelSettings
from tools.model_identity import model_identity

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel
    from toolformer.served.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
_POLL_SECONDS = 0.2


class ModelHolder:
    """Holds at most one local model, one for comparison and one served model, and their devices.

    `loads` counts how often a local model was loaded.
    """

    def __init__(self) -> None:
        self._model: LanguageModel | None = None
        self._loaded_from: tuple[Path, str, str] | None = None
        self._second: LanguageModel | None = None
        self._second_from: tuple[Path, str, str] | None = None
        self._served: ServedModel | None = None
        self._served_from: tuple[str, LanguageModelSettings] | None = None
        # Identities of models that overflow in float16.
        self._overflowing: set[str] = set()
        # By the name of the device.
        self._locks: dict[str, FileLock] = {}
        # Tools that run in parallel may request the model at the same time.
        self._mutex = threading.RLock()
        self.loads = 0

    def hold_device(self, named: str, home: Home) -> str:
        """Wait for a device, lock it, and return its name; `auto` takes the first free GPU."""
        from toolformer.forward.devices import check_device, devices_of

        if named != "auto":
            check_device(named)
        with self._mutex:
            if not self._locks:
                device, lock = _wait_for(devices_of(named), home)
                self._locks[device] = lock
            return next(iter(self._locks))

    def hold_devices(self, count: int, named: str, home: Home) -> str:
        """Wait for the first `count` GPUs, hold their locks, and return the name of the first.

        Releases all other locks first and takes these in order, so that two runs cannot deadlock.
        Training processes on the CPU share one device.
        """
        from toolformer.forward.devices import check_device, resolve_device

        if named != "auto":
            check_device(named)
        if count == 1 or not resolve_device(named).startswith("cuda"):
            return self.hold_device(named, home)
        with self._mutex:
            wanted = [f"cuda:{number}" for number in range(count)]
            if list(self._locks) != wanted:
                self.release()
                for name in wanted:
                    self._locks[name] = _wait_for([name], home)[1]
            return wanted[0]

    def load(
        self,
        directory: Path,
        section: LanguageModelSettings,
        home: Home,
        *,
        precision: str | None = None,
    ) -> "LanguageModel":
        """Return the model that a directory contains now; `precision` overrides the setting."""
        with self._mutex:
            device = self.hold_device(section.device, home)
            identity = model_identity(directory)
            named = precision or section.precision
            chosen = named
            if named == "auto":
                chosen, *others = automatic_precisions(device)
                if identity in self._overflowing:
                    chosen = others[0]
            wanted = directory, identity, chosen
            try:
                if self._loaded_from != wanted:
                    self.drop_model()
                    self._model = self._loaded(*wanted, section, device)
                    self._loaded_from = wanted
            except OverflowingModelError as error:
                if named != "auto" or chosen != FLOAT16:
                    raise
                _LOGGER.info("%s", error)
                self._overflowing.add(identity)
            # Retry outside of the handler: the caught error keeps the failed model in memory.
            return self._model or self.load(directory, section, home, precision=precision)

    def load_second_model(
        self, directory: Path, section: LanguageModelSettings, home: Home, *, precision: str
    ) -> "LanguageModel":
        """Return a second model, which stays loaded until `drop_second_model`."""
        with self._mutex:
            wanted = directory, model_identity(directory), precision
            if self._second is None or self._second_from != wanted:
                self.drop_second_model()
                device = self.hold_device(section.device, home)
                self._second = self._loaded(*wanted, section, device)
                self._second_from = wanted
            return self._second

    def load_served(self, tokenizer: Path, section: LanguageModelSettings) -> "ServedModel":
        """Return the model of a server; reconnect if its identity or its settings changed."""
        with self._mutex:
            wanted = served_identity(section.server, tokenizer), section
            if self._served is None or self._served_from != wanted:
                self._drop_served()
                self._served = open_served(section, tokenizer)
                self._served_from = wanted
            return self._served

    def _drop_served(self) -> None:
        if self._served is not None:
            self._served.close()
            self._served = self._served_from = None

    def drop_second_model(self) -> None:
        if self._second is not None:
            self._second = None
            release_memory()

    def drop_model(self) -> None:
        """Free the memory of both models but keep the device."""
        if self._model is not None or self._second is not None:
            self._model = self._loaded_from = self._second = None
            release_memory()

    def _loaded(
        self,
        directory: Path,
        identity: str,
        precision: str,
        section: LanguageModelSettings,
        device: str,
    ) -> "LanguageModel":
        from toolformer.forward.language_model import LanguageModel

        self.loads += 1
        show = progress_of(
            "loading the model", _LOGGER, detail=f"{directory.name} in {precision} on {device}"
        )
        model = LanguageModel.load(
            directory, precision=precision, device=device, bos_token=section.bos_token
        )
        if model_identity(directory) != identity:
            raise ToolformerError(
                f"The model in {str(directory)!r} was replaced while it was being loaded. Repeat "
                "the command to use the new model."
            )
        show(1, 1)
        return model

    def release(self) -> None:
        self.drop_model()
        self._drop_served()
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()


def _wait_for(devices: list[str], home: Home) -> tuple[str, FileLock]:
    """Wait until one of the devices is free; return its name and lock."""
    from toolformer.forward.devices import device_identity

    locks = {name: home.device_lock(device_identity(name)) for name in devices}
    held = _first_free(locks)
    if held is None:
        holders = {name: holder_of(Path(lock.lock_file)) for name, lock in locks.items()}
        holding = ", or for ".join(
            f"{holder} to release {name}" for name, holder in holders.items()
        )
        with show_waiting(f"waiting for {holding}", _LOGGER):
            while (held := _first_free(locks)) is None:
                time.sleep(_POLL_SECONDS)
    return held


def _first_free(locks: Mapping[str, FileLock]) -> tuple[str, FileLock] | None:
    for name, lock in locks.items():
        with suppress(Timeout):
            lock.acquire(timeout=0)
            return name, lock
    return None


PROCESS_HOLDER = ModelHolder()
