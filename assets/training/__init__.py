"""Training: chooses texts from C*, finetunes the model, and calibrates when it opens calls."""
