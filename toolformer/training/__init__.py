"""From C* to a finetuned model: the training set, its rows and loss, and the loop."""
