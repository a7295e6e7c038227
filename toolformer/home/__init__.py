"""A home (`$TOOLFORMER_HOME`): folders and settings, and what is wired and drawn from them."""
