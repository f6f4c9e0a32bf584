"""The only writers of MLflow: runs, versions, aliases."""
