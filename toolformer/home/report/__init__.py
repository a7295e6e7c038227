"""The report: one page about a home, for people who have only this page."""
