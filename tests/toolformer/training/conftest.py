from dataclasses import replace

import pytest

from tests.toolformer.training.tiny import DEVELOPMENT, PARAMETERS, ROWS, save_base
from toolformer.training.finetuning import StepReport, TrainingJob, finetune


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_base(folder)
    return folder


@pytest.fixture
def run(base, tmp_path):
    """Finetune with few words, stopped at a step as by a kill; gives the result and the reports."""

    def run(
        name="tuned",
        rows=ROWS,
        development=DEVELOPMENT,
        *,
        stop_at=None,
        told=lambda step: None,
        parameters=PARAMETERS,
        of=base,
        **changes,
    ) -> tuple:
        reports: list[StepReport] = []

        def report(step: StepReport) -> None:
            reports.append(step)
            told(step)
            if step.step == stop_at:
                raise KeyboardInterrupt

        job = TrainingJob(
            base=of,
            rows=rows,
            development=development,
            parameters=replace(parameters, **changes),
            bos_token=None,
            state_folder=tmp_path / f"{name}-state",
            fingerprint="f1",
            device="cpu",
        )
        result = finetune(job, tmp_path / name, facts={"calls": 5}, report=report)
        return result, reports

    return run
