"""When and in what order the stages run: Prefect, DVC, child processes."""
