"""Rules for `sampling.proposals`: where in a text a call may help."""
