"""What `training.learning_rate: auto` chooses, and what comes of it against a fixed rate.

Trains on the training set of a home, which stays as it is: the trials, the chosen rate and the
fixed one, for every seed (of the order of the rows). A row each: rate, development loss and
perplexity of the kept checkpoint, seconds.

    python -m benchmarks.learning_rates --home HOME --work FOLDER --seeds 0 1 2 --against 1e-4
        [--model DIR] [--texts N] [--set PATH=VALUE ...] [--json FILE]
"""
