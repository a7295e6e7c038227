"""A home with kept calls for people to judge."""

from pathlib import Path
from typing import Any

from tests.warehouse.rows import CALL, new_warehouse, put
from toolformer.home.home import Home

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
TEXTS = {
    "Calculator": (
        "The hall holds 36 rows of 45 seats, so ",
        "1620 people find a place.",
        "36 * 45",
        "1620",
    ),
    "Calendar": (
        "The market opens again on ",
        "Friday, as every week.",
        "",
        "Today is Friday, 4 March 2016.",
    ),
    "QA": (
        f"{HOSTILE} The book was written by ",
        "Jane Austen in 1813.",
        "Who wrote Emma?",
        HOSTILE,
    ),
}


def label_home(root: Path, per_tool: int = 2, texts: dict[str, tuple[str, ...]] = TEXTS) -> Home:
    """Each tool has some calls, each in a text of its own; their loss reductions are 1.5, 2.5, …"""
    rows: list[dict[str, Any]] = []
    for tool, (before, after, arguments, result) in texts.items():
        for number in range(per_tool):
            call = CALL | {
                "call_id": f"{tool}-{number}",
                "tool": tool,
                "arguments": arguments,
                "result": result,
                "character_offset": len(before),
                "loss_reduction": number + 1.5,
            }
            rows.append(
                {"document_id": f"{tool}-{number}", "text": before + after, "calls": [call]}
            )
    put(new_warehouse(root), "augmented_texts", *rows)
    return Home(root)
