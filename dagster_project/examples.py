"""Examples that the help of each command shows."""

EXAMPLES = {
    "ingest": (
        "toolformer ingest 'news/*.jsonl.gz' --text-column body",
        "toolformer ingest texts.csv --date-column published --limit 10000",
    ),
    "build": (
        "toolformer build --dry-run",
        "toolformer build --shards shard-00000,shard-00001 --tools Calculator",
        "toolformer build --set tools.Calculator.filtering_threshold=0.5",
    ),
    "train": ("toolformer train", "toolformer train --variant plain"),
    "evaluate": (
        "toolformer evaluate --list",
        "toolformer evaluate --benchmarks asdiv,svamp --models base,finetuned --limit 200",
    ),
    "recipe": ("toolformer recipe demo", "toolformer recipe small"),
    "stats": ("toolformer stats",),
    "sql": (
        'toolformer sql "select * from call_statistics"',
        "cat losses.sql | toolformer sql - --csv > losses.csv",
        "toolformer sql --files filtered_calls --json",
    ),
    "report": ("toolformer report", "toolformer report --output report.html"),
    "explain": ("toolformer explain 3f9a",),
    "compare": (
        "toolformer compare ~/news ~/news-lower-threshold",
        "toolformer compare ~/news ~/news --rounds 1 2",
    ),
    "labels draw": ("toolformer labels draw --judge Anna --output anna.csv",),
    "labels read": ("toolformer labels read anna.csv --judge Anna",),
    "export": (
        "toolformer export dataset --output calls",
        "toolformer export sft --output chats.jsonl",
    ),
    "complete": (
        'toolformer complete "A box has 36 eggs, so 45 boxes have 36 * 45 ="',
        'toolformer complete "Konrad Vale was born in the town of" --trace',
    ),
    "serve": ("toolformer serve --port 8080 --tools Calculator",),
    "doctor": (
        "toolformer doctor",
        "toolformer doctor --full",
        "toolformer doctor --model embedded",
    ),
    "sources list": ("toolformer sources list",),
    "sources remove": ("toolformer sources remove 'news/*.jsonl.gz'",),
    "tools list": ("toolformer tools list",),
    "tools try": ('toolformer tools try Calculator "36 * 45"',),
    "tools check": ("toolformer tools check Calculator",),
}
