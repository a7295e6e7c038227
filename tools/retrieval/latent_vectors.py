"""Dense vectors fitted on the passages themselves: latent semantic analysis, nothing to download.

    passage -> word stems, weighted -> the directions in which the passages differ most

Deerwester et al. (1990): words that occur with the same other words point the same way, so a
question can find a passage that says it in other words. gensim computes the directions. Does not
search.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

KIND = "latent"
ENCODER_FILE = "encoder.json"

_WORD = re.compile(r"\w+")
# Lucene's English stop words, so that both rankings leave out the same.
_STOP_LIST = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with"
)
_STOP_WORDS = frozenset(_STOP_LIST.split())
_PROJECTION_FILE, _WEIGHTS_FILE = "projection.npy", "weights.npy"
# A term of one passage connects it with no other.
_FEWEST_PASSAGES = 2
_EXTRA_DIMENSIONS = 100
_POWER_ITERATIONS = 2


class LatentVectors:
    """An encoder of texts, fitted.

    Attributes:
        dimension: Of the vectors.
        explained_variance: Share of the squared weights of the fitted texts that the directions
            keep, 0 to 1.
    """

    def __init__(
        self,
        terms: Sequence[str],
        weights: np.ndarray,
        projection: np.ndarray,
        *,
        explained_variance: float,
    ) -> None:
        self._terms = list(terms)
        self._places = {term: place for place, term in enumerate(self._terms)}
        self._weights = weights
        self._projection = projection
        self.dimension = int(projection.shape[1])
        self.explained_variance = explained_variance

    @classmethod
    def fit(cls, texts: Sequence[str], *, dimension: int, most_terms: int, seed: int) -> Self:
        """Find the directions of a collection of texts.

        Args:
            texts: The passages, or a sample of them.
            dimension: Of the vectors; fewer where the texts do not have as many directions.
            most_terms: Terms that are told apart, those of most passages.
            seed: Of the random numbers of the decomposition.

        Raises:
            ValueError: When no term occurs in two texts.
        """
        from gensim.models.lsimodel import stochastic_svd
        from scipy.sparse import csc_matrix

        stems = _Stems()
        counted = [stems.count(text) for text in texts]
        frequencies = Counter(term for counts in counted for term in counts)
        terms = [
            term
            for term, frequency in sorted(
                frequencies.items(), key=lambda entry: (-entry[1], entry[0])
            )
            if frequency >= _FEWEST_PASSAGES
        ][:most_terms]
        if not terms:
            raise ValueError(
                f"No term occurs in two of {len(texts)} texts, so they have no latent directions. "
                "Expected texts in words: use a larger source."
            )
        of_terms = np.array([frequencies[term] for term in terms], dtype=np.float64)
        weights = np.log((1 + len(texts)) / of_terms).astype(np.float32)
        vectors = cls(terms, weights, np.empty((len(terms), 0), np.float32), explained_variance=0.0)
        rows = vectors._rows(counted)
        directions, singular_values = stochastic_svd(
            csc_matrix(rows.T),
            min(dimension, len(terms), len(texts)),
            len(terms),
            extra_dims=_EXTRA_DIMENSIONS,
            power_iters=_POWER_ITERATIONS,
            dtype=np.float32,  # pyright: ignore[reportArgumentType]  # its default is float64
            random_seed=seed,
        )
        total = float((rows.data.astype(np.float64) ** 2).sum())
        return cls(
            terms,
            weights,
            np.ascontiguousarray(directions, dtype=np.float32),
            explained_variance=float((singular_values.astype(np.float64) ** 2).sum()) / total,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts.

        Args:
            texts: Passages or questions.

        Returns:
            Of length 1, or 0 for a text without a known term; float32, shape `(texts, dimension)`.
            Each depends on its own text alone.
        """
        rows = self._rows([self._stems.count(text) for text in texts])
        return unit_rows(np.asarray(rows @ self._projection, dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write what `load` reads, into an existing folder."""
        np.save(folder / _PROJECTION_FILE, self._projection)
        np.save(folder / _WEIGHTS_FILE, self._weights)
        (folder / ENCODER_FILE).write_text(
            json.dumps({**self.information(), "terms": self._terms}), encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read an encoder that `save` wrote."""
        fields = json.loads((folder / ENCODER_FILE).read_text("utf-8"))
        return cls(
            fields["terms"],
            np.load(folder / _WEIGHTS_FILE),
            np.load(folder / _PROJECTION_FILE, mmap_mode="r"),
            explained_variance=fields["explained_variance"],
        )

    def information(self) -> dict[str, Any]:
        """What is worth knowing about the encoder, for `index.json`."""
        return {
            "kind": KIND,
            "terms_known": len(self._terms),
            "explained_variance": round(self.explained_variance, 4),
            "similarity": "cosine",
        }

    @cached_property
    def _stems(self) -> "_Stems":
        return _Stems()

    def _rows(self, counted: Sequence[Counter[str]]) -> "csr_matrix":
        """Weighted terms of texts, each row of length 1, shape `(texts, terms)`."""
        from scipy.sparse import csr_matrix

        starts, columns, counts = [0], [], []
        for of_text in counted:
            known = sorted(
                (self._places[term], count)
                for term, count in of_text.items()
                if term in self._places
            )
            columns.extend(column for column, _ in known)
            counts.extend(count for _, count in known)
            starts.append(len(columns))
        places = np.array(columns, dtype=np.int32)
        values = (1 + np.log(np.array(counts, dtype=np.float32))) * self._weights[places]
        lengths = np.sqrt(np.add.reduceat(np.append(values**2, 0), starts[:-1]))
        per_row = np.diff(starts)
        # `reduceat` gives the next row's first value for an empty row; nothing is divided by it.
        values /= np.repeat(lengths, per_row)
        return csr_matrix(
            (values.astype(np.float32), places, np.array(starts)),
            shape=(len(counted), len(self._terms)),
        )


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths; rows of zeros stay.

    Args:
        vectors: Shape `(rows, dimension)`.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


class _Stems:
    """Counts word stems; each distinct word is stemmed once."""

    def __init__(self) -> None:
        from gensim.parsing.porter import PorterStemmer

        self._stemmer = PorterStemmer()
        self._known: dict[str, str] = {}

    def count(self, text: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for word in _WORD.findall(text.casefold()):
            if word in _STOP_WORDS:
                continue
            stem = self._known.get(word)
            if stem is None:
                stem = self._known[word] = self._stemmer.stem(word)
            counts[stem] += 1
        return counts
