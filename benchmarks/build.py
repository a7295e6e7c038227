"""Measures a build of real documents: candidates, kept calls, tokens and seconds per tool.

Each command runs in its own process, as a user would run it. An interrupted measurement continues
where it stopped. Its output then says `resumed`, because the times cover only the last part.

    python -m benchmarks.build SOURCE --home FOLDER [--limit 200] [--preset laptop]
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

_BY_TOOL = """
select tool,
       sum(candidates) filter (stage = 'sampling') as candidates,
       sum(candidates) filter (stage = 'scoring') as scored,
       (select count(*) from filtered_calls f where f.tool = c.tool and is_kept) as kept,
       round(sum(tokens_fed) filter (stage = 'sampling')
             / sum(candidates) filter (stage = 'sampling'), 1) as sampling_tokens_per_candidate,
       round(sum(tokens_fed) filter (stage = 'scoring')
             / sum(candidates) filter (stage = 'scoring'), 1) as scoring_tokens_per_call,
       round(sum(seconds) filter (stage = 'sampling'), 0) as sampling_seconds,
       round(sum(seconds) filter (stage = 'execution'), 1) as execution_seconds,
       round(sum(seconds) filter (stage = 'scoring'), 0) as scoring_seconds
from stage_costs c group by tool order by tool
"""


def run_command(home: Path, *arguments: str, module: str = "dagster_project.cli") -> float:
    """Run `toolformer` or a measurement on a home, and return the seconds."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        env={**os.environ, "TOOLFORMER_HOME": str(home)},
    )
    seconds = time.monotonic() - began
    print(f"$ python -m {module} {' '.join(arguments)}  ({seconds:.1f} s)", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--preset", default="laptop")
    options = parser.parse_args()

    is_resumed = (options.home / "warehouse").exists()
    if not is_resumed:
        options.home.mkdir(parents=True, exist_ok=True)
        (options.home / "toolformer.yaml").write_text(f"preset: {options.preset}\n")
        run_command(options.home, "ingest", options.source, "--limit", str(options.limit))
    build = run_command(options.home, "build")
    again = run_command(options.home, "build")
    run_command(options.home, "sql", _BY_TOOL)
    run_command(
        options.home, "sql", "select * from threshold_sweep order by tool, filtering_threshold"
    )
    run_command(options.home, "sql", "select * from call_funnel order by tool, stage_order")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"build {build:.0f} s{' (resumed)' if is_resumed else ''}; ", end="")
    print(f"second build {again:.1f} s; peak memory of a process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
