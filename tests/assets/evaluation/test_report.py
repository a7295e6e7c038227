"""What `evaluation_report` says of what was measured."""

from tests.materialising import materialise, metadata_of
from tests.warehouse.rows import new_warehouse, put


def test_the_asset_says_what_calls_gain_and_a_study_is_no_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    store = new_warehouse(tmp_path)
    # Two items of SVAMP, of which the first is right in every mode, both with calls.
    for mode, right in {"disabled": 1, "enabled": 2, "without-QA": 1}.items():
        same = {"benchmark": "svamp", "model": "finetuned", "mode": mode}
        rows = [{**same, "item_id": str(item), "score": float(item < right)} for item in range(2)]
        name = f"svamp.finetuned.{mode}.0000"
        put(store, "evaluation_results", *rows, name=name, fingerprint=name)
    said = metadata_of(materialise("evaluation_report"))
    names, _, *gained = said["what finetuned gains from calls"].splitlines()
    assert names.startswith("| benchmark |")
    (line,) = gained
    assert line.startswith("| svamp | ")
    assert "| 50 |" in line
    assert said["benchmarks"] == 1
