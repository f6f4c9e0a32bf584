"""The registered model: a table of features in, columns cv1..cvn out.

MLflow copies this file into the model and runs it there, beside the network's own code, which the model carries under a name of its own:
torch, safetensors and pandas are all it needs, no hae, no pickle.
"""

import importlib
import json

import mlflow
import pandas as pd
import torch

ROWS = 65536  # at a time
FARTHEST = 4  # times the usual size of lengths: what is beyond is in other units


class CVs(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]  # mlflow loads pyfunc lazily
    def load_context(self, context):
        with open(context.artifacts["about"], encoding="utf-8") as file:
            about = json.load(file)
        self.features = about["features"]
        self.lengths = [unit == "nm" for unit in about["units"]]
        self.usual = [(abs(low) + abs(high)) / 2 for low, high in zip(about["low"], about["high"])]
        self.network = importlib.import_module(f"{about['code']}.network.weights").read_network(about["spec"], context.artifacts["weights"])

    def predict(self, context, model_input: pd.DataFrame, params=None):
        values = torch.from_numpy(model_input[self.features].to_numpy(dtype="float64", copy=True))
        if not values.isfinite().all():
            raise mlflow.MlflowException.invalid_parameter_value("features: some are not finite; allowed: numbers")
        if any(self.lengths) and len(values):
            size = values[:, self.lengths].square().mean(1).sqrt() / torch.tensor(self.usual)[self.lengths].square().mean().sqrt()
            if size.max() > FARTHEST or size.min() < 1 / FARTHEST:
                raise mlflow.MlflowException.invalid_parameter_value("lengths: of an unusual size; allowed: nm (1 nm = 10 Angstrom)")
        with torch.no_grad():
            cvs = torch.cat([self.network.encode(rows) for rows in values.split(ROWS)]).numpy()
        return pd.DataFrame(cvs, columns=[f"cv{k + 1}" for k in range(cvs.shape[1])], index=model_input.index)


mlflow.models.set_model(CVs())
