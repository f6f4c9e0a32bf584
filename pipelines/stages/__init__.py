"""The stages: each a function from files and its own section of params.yaml to files."""
