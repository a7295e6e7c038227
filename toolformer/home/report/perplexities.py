"""What is said of models that lost language: perplexity of held-out texts against the base model's.

It is about the models that were finetuned here.
"""

from toolformer.home.settings.evaluation_sections import MODELS_OF_A_HOME, PERPLEXITY
from toolformer.training.perplexity_rise import perplexity_rise
from warehouse.warehouse import Warehouse


def perplexity_sentences(store: Warehouse) -> dict[str, str]:
    """By benchmark and model, a sentence where perplexity is more than 5 % above the base model's.

    Args:
        store: has what `evaluate` measured.
    """
    sentences = {
        f"{benchmark}, {model}": perplexity_rise(
            before,
            after,
            of="the held-out texts" if benchmark == PERPLEXITY else f"the texts of {benchmark}",
        )
        for benchmark, model, before, after in store.ask("perplexities_against_base").iter_rows()
        if model.partition("-round-")[0] in MODELS_OF_A_HOME
    }
    return {named: sentence for named, sentence in sentences.items() if sentence}
