"""From C* to a model: the texts that are trained on, what is left out of them, and finetuning."""
