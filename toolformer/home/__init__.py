"""A home (`$TOOLFORMER_HOME`): its folders, locks and settings, and the objects built from them."""
