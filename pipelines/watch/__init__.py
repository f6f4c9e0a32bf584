"""Watched: who is told of what, whether data drift, figures for a monitor."""
