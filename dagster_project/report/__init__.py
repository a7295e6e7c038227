"""The report: one page about a home, for people who were not there."""

# Of the page, where `make ui` serves it.
ADDRESS = "/toolformer/report"
