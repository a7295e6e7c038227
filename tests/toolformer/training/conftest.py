import pytest

from tests.toolformer.training.tiny import save_base, training_job
from toolformer.training.finetuning import finetune
from toolformer.training.progress import StepReport


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_base(folder)
    return folder


@pytest.fixture
def run(base, tmp_path):
    """Finetune with few words, stopped at a step as by a kill; gives the result and the reports."""

    def run(name="tuned", *, stop_at=None, told=lambda step: None, of=base, **changes) -> tuple:
        reports: list[StepReport] = []

        def report(step: StepReport) -> None:
            reports.append(step)
            told(step)
            if step.step == stop_at:
                raise KeyboardInterrupt

        job = training_job(of, tmp_path / f"{name}-state", **changes)
        result = finetune(job, tmp_path / name, facts={"calls": 5}, report=report)
        return result, reports

    return run
