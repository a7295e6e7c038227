"""The report: one page about a home, for people who have only this page."""

# Of the page, where `make ui` serves it.
ADDRESS = "/toolformer/report"
