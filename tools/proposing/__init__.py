"""Where calls may help, read off a text: the rules behind `sampling.proposals`."""
