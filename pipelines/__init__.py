"""The retraining system: stages on files, and one module for each outside tool."""
