"""Vectors fitted on a few passages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval.latent_vectors import LatentVectors, unit_rows

ANIMALS = ["otters swim in the river", "the river otter eats fish", "fish swim in rivers"]
MONEY = ["banks lend money", "money in the bank earns interest", "a bank pays interest"]


@pytest.fixture(scope="module")
def fitted() -> LatentVectors:
    return LatentVectors.fit([*ANIMALS, *MONEY], dimension=2, most_terms=100, seed=0)


def test_texts_about_the_same_lie_near_each_other(fitted):
    vectors = fitted.encode([*ANIMALS, *MONEY])
    similar = vectors @ vectors.T
    assert similar[:3, :3].min() > 0.9
    assert similar[3:, 3:].min() > 0.9
    assert abs(similar[:3, 3:]).max() < 0.1


def test_words_that_share_no_letter_are_near_when_they_go_with_the_same_words(fitted):
    otter, fish, lend = fitted.encode(["otter", "fish", "lend"])
    assert otter @ fish > 0.9
    assert abs(otter @ lend) < 0.1


def test_vectors_have_length_one_and_unknown_words_none(fitted):
    vectors = fitted.encode(["Otters!", "zebra xylophone", "", "the of and", "🦦"])
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 0, 0, 0, 0])
    assert vectors.dtype == np.float32


def test_a_vector_depends_on_its_own_text_alone(fitted):
    texts = ["river bank", "", "money", "otter fish otter", "zebra"]
    together = fitted.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(fitted.encode([text])[0], vector)


def test_a_saved_encoder_gives_the_same_vectors(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = LatentVectors.load(tmp_path)
    assert np.array_equal(loaded.encode(ANIMALS), fitted.encode(ANIMALS))
    assert loaded.information() == fitted.information()


def test_the_same_seed_gives_the_same_encoder(fitted):
    again = LatentVectors.fit([*ANIMALS, *MONEY], dimension=2, most_terms=100, seed=0)
    assert np.array_equal(again.encode(ANIMALS), fitted.encode(ANIMALS))


def test_explained_variance_grows_with_the_dimension():
    shares = [
        LatentVectors.fit(
            [*ANIMALS, *MONEY], dimension=dimension, most_terms=100, seed=0
        ).explained_variance
        for dimension in (1, 3, 6)
    ]
    assert 0 < shares[0] < shares[1] < shares[2] <= 1 + 1e-5
    assert shares[2] == pytest.approx(1, abs=1e-4)


def test_only_the_commonest_terms_are_told_apart():
    fitted = LatentVectors.fit([*ANIMALS, *MONEY], dimension=2, most_terms=2, seed=0)
    assert fitted.information()["terms_known"] == 2


def test_texts_without_a_common_term_are_refused():
    with pytest.raises(ValueError, match="No term occurs in two of 2 texts"):
        LatentVectors.fit(["one", "two"], dimension=2, most_terms=10, seed=0)


@given(st.text(max_size=200))
def test_no_text_is_too_strange(fitted, text):
    (vector,) = fitted.encode([text])
    assert np.isfinite(vector).all()


def test_rows_of_zeros_stay():
    assert unit_rows(np.array([[0.0, 0.0], [0.0, 2.0]])).tolist() == [[0.0, 0.0], [0.0, 1.0]]
