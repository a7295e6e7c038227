"""How fast a model is expected to be fed, before anything was built."""

from toolformer.forward import speed


def test_a_model_of_twice_the_weights_is_expected_to_take_twice_as_long(monkeypatch):
    measured = {"float32": 1e9, "bfloat16": 4e9, "float16": 8e9}
    monkeypatch.setattr(speed, "_operations_per_second", lambda _, precision: measured[precision])

    def expected(weights: int, precision: str) -> float:
        return speed.expected_tokens_per_second(weights, device="cpu", precision=precision)

    assert expected(1000, "float32") == 2 * expected(2000, "float32")
    assert expected(1000, "bfloat16") == 4 * expected(1000, "float32")


def test_a_matrix_product_is_timed():
    assert 1e6 < speed._operations_per_second("cpu", "float32") < 1e16
