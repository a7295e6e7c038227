"""The safety band of a model: measured when first needed, then read from `calibration/`.

Does not score calls of the corpus.
"""

import json
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from assets.call_scoring import CallScoring, call_format
from assets.stage_costs import store_cost
from dagster_project.fingerprints import calibration_fingerprint
from toolformer.calibration import Calibration, measure
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import resolve_device

_MEASURED_ON = "measured_on"


class Calibrator:
    """Gives the calibration of the run's model, where its decisions need a band.

    Attributes:
        found: the calibration, once it was asked for.
    """

    def __init__(self, model_id: str, precision: str):
        self._model_id = model_id
        self._precision = precision
        self.found: Calibration | None = None

    def calibration(self, scoring: CallScoring, tool_name: str) -> Calibration | None:
        """The stored calibration, or a new one; None where float32 decides anyway.

        Args:
            scoring: of the shard that is being scored; a new calibration is put on its account.
            tool_name: likewise.
        """
        stage = scoring.stage
        if self._precision != "bfloat16" or not stage.settings.scoring.rescoring:
            return None
        if self.found is None:
            self.found = self._open(scoring, tool_name)
        return self.found

    def _open(self, scoring: CallScoring, tool_name: str) -> Calibration:
        stage = scoring.stage
        device = resolve_device(stage.settings.language_model.device)
        digest = calibration_fingerprint(stage.settings, self._model_id, device)
        file = stage.home.calibration / f"{self._model_id}.json"
        stored = _read(file)
        if stored.get(_MEASURED_ON) == digest:
            return Calibration(**{each.name: stored[each.name] for each in fields(Calibration)})
        calibration = self._measure(scoring, tool_name, digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        content = {**asdict(calibration), "model": scoring.model.name, _MEASURED_ON: digest}
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        temporary.replace(file)
        stage.context.log.info(
            f"bfloat16 moves a loss reduction by {calibration.sigma:.3f} nats (σ of "
            f"{calibration.calls} calls): calls within {calibration.band:.3f} of a threshold are "
            f"scored again in float32"
        )
        return calibration

    def _measure(self, scoring: CallScoring, tool_name: str, digest: str) -> Calibration:
        stage, settings = scoring.stage, scoring.stage.settings
        model = scoring.model
        reference = scoring.reference
        folder = stage.home.checkpoints / "calibration" / self._model_id
        began, fed_before = time.monotonic(), model.tokens_fed + reference.tokens_fed
        calibration = measure(
            model,
            reference,
            count=settings.scoring.calibration_calls,
            window_tokens=settings.corpus.window_tokens,
            call_format=call_format(stage),
            token_budget=settings.scoring.token_budget,
            checkpoint=lambda precision: Checkpoint(folder / precision, fingerprint=digest),
            progress=stage.progress(f"calibrating {model.name}"),
        )
        store_cost(
            stage,
            scoring.shard,
            tool_name,
            "calibration",
            candidates=calibration.calls,
            tokens_fed=model.tokens_fed + reference.tokens_fed - fed_before,
            seconds=time.monotonic() - began,
            model=reference,
        )
        for precision in (model.precision, reference.precision):
            Checkpoint(folder / precision, fingerprint=digest).clear()
        return calibration


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        # The file appears whole, by rename: a torn one is that of a crashed machine.
        return {}


def calibration_metadata(calibration: Calibration) -> dict[str, float]:
    """What the asset reports of a calibration."""
    return {
        "safety band (nats)": calibration.band,
        "σ of bfloat16 (nats)": round(calibration.sigma, 4),
        "largest difference (nats)": round(calibration.largest, 4),
        "coverage of the band": round(calibration.coverage, 4),
        "calibration calls": calibration.calls,
    }
