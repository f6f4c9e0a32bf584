"""What a CV is worth and how far its place can be trusted: intervals, refits, verdicts, the report."""
