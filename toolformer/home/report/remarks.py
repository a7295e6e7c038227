"""Warnings about scores: models whose perplexity rose, and scores that are not comparable."""

from toolformer.settings.evaluation_sections import MODELS_OF_A_HOME, PERPLEXITY
from toolformer.training.progress import perplexity_warning
from warehouse.warehouse import Warehouse


def remarks_on_scores(store: Warehouse) -> dict[str, str]:
    """Return warnings by the scores they concern.

    Keys are "benchmark, model" if the perplexity is more than 5 % above the base model's, and
    "benchmark, mode, setting" if the setting was not the same for all models.
    """
    sentences = {
        f"{benchmark}, {model}": perplexity_warning(
            before,
            after,
            of="the held-out texts" if benchmark == PERPLEXITY else f"the texts of {benchmark}",
        )
        for benchmark, model, before, after in store.ask("perplexities_against_base").iter_rows()
        if model.partition("-round-")[0] in MODELS_OF_A_HOME
    }
    for *names, models in store.ask("results_of_other_settings", shards=()).iter_rows():
        sentences[", ".join(names)] = (
            f"not the same for {models}. Run `toolformer evaluate --models` with these models "
            "before comparing their scores."
        )
    return {named: sentence for named, sentence in sentences.items() if sentence}
