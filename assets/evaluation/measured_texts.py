"""The losses of a text as an output: of the held-out shards, or of a text file (paper §4.3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from assets.evaluation.measured import Measured
from assets.evaluation.stage import losses_fingerprint
from assets.evaluation.text_losses import measure_losses
from assets.inputs import Input, Wanted, fingerprints_of, slice_inputs
from assets.outputs import Made
from assets.shard_texts import documents_in, windows_of
from dagster_project.settings.evaluation_sections import PERPLEXITY
from dagster_project.wiring.benchmarks import read_text, text_file
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.ground.digests import hex_digest_of_file
from tools.model_identity import model_identity


@dataclass(frozen=True, kw_only=True)
class Losses(Measured):
    """The losses of a text, or of the held-out shards, with calls disabled.

    Attributes:
        held_out: keys of these shards.
    """

    held_out: Sequence[str]

    def documents(self) -> dict[str, Input]:
        """The held-out shards, where perplexity is measured on them; else none.

        Raises:
            ToolformerError: there is no held-out shard.
        """
        if self.name != PERPLEXITY:
            return {}
        found = slice_inputs(self.run.warehouse, "documents", self.held_out)
        if not found:
            raise ToolformerError(
                "There is no held-out shard with documents, so perplexity has nothing to measure. "
                "Cut the corpus into at least corpus.held_out_every shards (a smaller "
                "corpus.shard_size before the first ingest, or a smaller held_out_every) and build "
                "them, or leave `perplexity` out of evaluation.benchmarks."
            )
        return found

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        settings, documents = self.run.settings, self.documents()
        fingerprint = losses_fingerprint(
            settings,
            # Of the model that is there now: another run may train it while this one waits.
            model_identity(self.model.directory),
            held_out_documents=fingerprints_of(documents),
            file=None if documents else hex_digest_of_file(text_file(self.name, settings)),
        )
        return Wanted(fingerprint, tuple(documents.values()))

    def compute(self, wanted: Wanted) -> Made:  # noqa: ARG002
        """See `SliceOutput.compute`."""
        model = self.run.load_model(self.model.directory, precision="float32")
        windows = self._windows(model.tokenizer)
        rows = measure_losses(model, windows, self.run.settings, progress=self.progress)
        return Made(self.rows(model, rows))

    def _windows(self, tokenizer: Tokenizer) -> Iterable[Window]:
        settings = self.run.settings
        window_tokens = settings.corpus.window_tokens
        if self.name != PERPLEXITY:
            text = read_text(self.name, settings)
            return split_into_windows(self.name, text, tokenizer, window_tokens=window_tokens)
        return chain.from_iterable(
            windows_of(
                documents_in(self.run.warehouse, shard), tokenizer, window_tokens=window_tokens
            )
            for shard in sorted(self.documents())
        )
