"""The report in one page."""
