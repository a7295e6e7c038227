"""The safety band of a model: measured when first needed, then read from `calibration/`.

Does not measure; `toolformer.calibration` does.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from assets.outputs import DONE, make_once
from assets.shard_stage import ShardStage
from assets.stage_costs import store_cost
from dagster_project.fingerprints import calibration_fingerprint
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring, publish
from toolformer.calibration import Calibration, measure
from toolformer.errors import ToolformerError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import resolve_device
from toolformer.forward.precision import BFLOAT16, FLOAT32
from toolformer.ground.digests import hex_digest
from toolformer.ground.whole_files import write_whole
from toolformer.shard_scoring import ShardScoring

_MEASURED_ON, _DIGEST = "measured_on", "digest"


class Calibrator:
    """Gives the calibration of the run's model.

    Args:
        stage: of the run.
        model_id: identity of the model.
        hold_device: waits for the device.

    Attributes:
        found: the calibration, once it was asked for.
    """

    def __init__(self, stage: ShardStage, model_id: str, hold_device: Callable[[], object]):
        self._stage = stage
        self._model_id = model_id
        self._hold_device = hold_device
        self.found: Calibration | None = None

    def calibration(self, scoring: ShardScoring, shard: str, tool_name: str) -> Calibration:
        """The stored calibration, or a new one.

        Args:
            scoring: of the shard, with the model in both precisions.
            shard, tool_name: what is being scored; the cost of a new calibration is stored there.
        """
        if self.found is None:
            self.found = self._open(scoring, shard, tool_name)
        return self.found

    def _open(self, scoring: ShardScoring, shard: str, tool_name: str) -> Calibration:
        stage = self._stage
        file, digest = _place(stage.settings, stage.home, self._model_id)
        folder = stage.home.checkpoints / "calibration" / file.stem
        lock = stage.home.output_lock(f"calibration.{self._model_id}")

        def is_stale() -> bool:
            bring(stage.home, file)
            return _stored(file, digest) is None

        def make() -> str:
            if file.exists():
                stage.context.log.info(
                    f"{file} was measured with other settings, or altered: measuring again"
                )
            content = self._measured(scoring, folder, digest, shard, tool_name)
            if not lock.regain() or is_stale():
                write_whole(file, json.dumps(content, indent=2) + "\n")
                publish(stage.home, file)
            return DONE

        make_once(
            lock,
            is_stale=is_stale,
            make=make,
            hold_device=self._hold_device,
            leftovers=folder,
        )
        calibration = _stored(file, digest)
        if calibration is None:
            raise ToolformerError(
                f"The calibration {str(file)!r} was removed or altered as soon as it was written. "
                "Run again; it is measured anew."
            )
        return calibration

    def _measured(
        self,
        scoring: ShardScoring,
        folder: Path,
        digest: str,
        shard: str,
        tool_name: str,
    ) -> dict[str, object]:
        stage, settings = self._stage, self._stage.settings
        # Not the model that is chosen now, if stored losses of bfloat16 are gone on with.
        model, reference = scoring.load_in(BFLOAT16), scoring.load_in(FLOAT32)
        calibration, cost = measure(
            model,
            reference,
            count=settings.scoring.calibration_calls,
            window_tokens=settings.corpus.window_tokens,
            call_format=scoring.parameters.call_format,
            token_budget=scoring.parameters.token_budget,
            form=scoring.parameters.form,
            baseline=scoring.parameters.baseline,
            checkpoint=lambda precision: Checkpoint(folder / precision, fingerprint=digest),
            progress=stage.progress("calibrating bfloat16", detail=model.name),
        )
        # Before the file: once that is there, nobody measures again.
        store_cost(stage, shard, tool_name, cost)
        stage.context.log.info(
            f"bfloat16 moves a loss reduction by {calibration.sigma:.3f} nats (σ of "
            f"{calibration.calls} calls): calls within {calibration.band:.3f} of a threshold are "
            f"scored again in float32"
        )
        return _sealed({**asdict(calibration), "model": model.name, _MEASURED_ON: digest})


def is_calibrated(settings: Settings, home: Home, model_id: str) -> bool:
    """Whether the band of a model is measured, on this kind of device and with these settings."""
    return _stored(*_place(settings, home, model_id)) is not None


def _place(settings: Settings, home: Home, model_id: str) -> tuple[Path, str]:
    """Where the calibration of a model is stored, and the digest of what it is measured on."""
    device = resolve_device(settings.language_model.device)
    # The kinds of device stand beside each other, as their digests differ.
    file = home.calibration / f"{model_id}.{device.partition(':')[0]}.json"
    return file, calibration_fingerprint(settings, model_id, device)


def _stored(file: Path, digest: str) -> Calibration | None:
    """The calibration in a file, if it was measured on what the digest stands for.

    None too where its own digest does not fit: a band that was altered would decide on calls.
    """
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(content, dict) or content != _sealed(content):
        return None
    if content.get(_MEASURED_ON) != digest:
        return None
    return Calibration(**{each.name: content[each.name] for each in fields(Calibration)})


def _sealed(content: Mapping[str, object]) -> dict[str, object]:
    """The content of a file with the digest of all else in it."""
    rest = {name: value for name, value in content.items() if name != _DIGEST}
    return {**rest, _DIGEST: hex_digest(json.dumps(rest, sort_keys=True))}


def calibration_metadata(calibration: Calibration) -> dict[str, float]:
    """What the asset reports of a calibration."""
    return {
        "safety band (nats)": calibration.band,
        "σ of bfloat16 (nats)": round(calibration.sigma, 4),
        "largest difference (nats)": round(calibration.largest, 4),
        "coverage of the band": round(calibration.coverage, 4),
        "calibration calls": calibration.calls,
    }
