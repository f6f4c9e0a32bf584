"""What a fitted estimator does: CVs of new rows, rows back from CVs, its score, its picture, its files."""

from collections.abc import Callable
from importlib import import_module

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hae.arguments import checked_pairs, is_whole
from hae.errors import BadInput
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import chunked, encode, filled, score_frames
from hae.storage import load_estimator, save_estimator
from hae.training.pairs import Pairs

__all__ = ["Fitted"]


class Fitted(TransformerMixin, BaseEstimator):
    """The part of `hae.HierarchicalAutoencoder` that asks for a fit. Parameters and fitted attributes are told there.

    Example:
        >>> from hae import HierarchicalAutoencoder
        >>> from hae.datasets import torus
        >>> X = torus(200).X
        >>> model = HierarchicalAutoencoder(n_cvs=2, hidden=(4,), n_seeds=1, max_epochs=1, device="cpu").fit(X)
        >>> model.transform(X).shape, model.reconstruct(X, level=1).shape, model.get_feature_names_out().tolist()
        ((200, 2), (200, 4), ['cv1', 'cv2'])
    """

    def transform(self, X):
        """CVs (N, n_cvs) of rows X (N, D), most important first; a circular CV is an angle in radians. In the type of X."""
        X = self._validated(X)
        return encode(self.network_, X)

    def reconstruct(self, X, level=None):
        """q_level (N, D'), the reconstruction of rows X from CV_1..CV_level, in raw units; level None: the last."""
        X, k = self._validated(X), self._level(level)
        return np.concatenate(chunked(self.network_, X, lambda network, s: network(filled(network, s))[1][k].cpu().numpy()))

    def inverse_transform(self, cvs, level=None):
        """q_level (N, D') of CVs (N, n_cvs); level None: the last.

        Raises:
            BadInput: the level or the CVs are none.
        """
        check_is_fitted(self)
        k = self._level(level)
        try:
            cvs = np.asarray(cvs)
            cvs = cvs if cvs.dtype == np.float32 else cvs.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise BadInput(f"cvs: not numbers ({error}); allowed: (N, {self.network_.n_cvs})") from None
        if cvs.ndim != 2 or cvs.shape[1] != self.network_.n_cvs:
            raise BadInput(f"cvs: shape {cvs.shape} is not allowed; (N, {self.network_.n_cvs})")
        return np.concatenate(chunked(self.network_, cvs, lambda network, c: network.decode(c)[k].cpu().numpy()))

    def score(self, X, y=None, *, groups=None, target=None, sample_weight=None):
        """FVE of the last level, in the metric W about the training mean; 1 is perfect, the mean itself has 0.

        With a lag the target of a row is what stands ``lag`` rows later in the same trajectory (`groups`, as in `fit`).

        Raises:
            BadInput: the target does not fit the rows or the network.
        """
        pairs = self._pairs(self._validated(X), groups, None, target, sample_weight)
        return float(score_frames(self.network_, pairs.inputs, pairs.targets, self.metric_root_, pairs.weights).fve[-1])

    def plot(self, X=None, labels=None):
        """A figure: FVE by level with its intervals, what each CV is worth, and the CVs against each other.

        It looks at `importance_`, which is measured first where it was not yet.

        Args:
            X: (N, D) rows whose CVs are drawn; None: those of `fit` that were held out.
            labels: of the rows X, by which they are coloured: (N,), or up to four columns of a DataFrame (N, L). Names or few whole
                numbers are classes.

        Returns:
            A matplotlib Figure, which a notebook shows; ``.savefig("cvs.png")`` writes it.

        Raises:
            BadInput: labels without X, or not one for each row; X is not given, and a loaded model has no rows of its own.
        """
        check_is_fitted(self)
        if X is None:
            rows = self.held_out_rows_
            if rows is None or labels is not None:
                raise BadInput("X: is missing; allowed: rows (N, D)" + (", one for each label" if labels is not None else ""))
            X = rows.inputs
        else:
            X = self._validated(X)
        draw = import_module("hae.figures.model").picture  # by name: no stage that trains depends on figures
        return draw(self.importance_, encode(self.network_, X), self.network_.bottleneck.kinds, labels)

    def save(self, directory) -> None:
        """Write model.json and weights.safetensors to a folder; nothing is pickled.

        Raises:
            BadInput: the folder can't be written to.
        """
        check_is_fitted(self)
        save_estimator(self, directory)

    @classmethod
    def load(cls, directory, network: Callable[[int, int], HierarchicalNetwork] | None = None) -> "Fitted":
        """Read what `save` wrote. ``network`` is the parameter of that name, where the model has modules of one's own.

        Raises:
            BadInput: a file is missing or not one of ours.
        """
        return load_estimator(cls, directory, network)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of what `transform` gives: cv1, cv2, ... An argument is not looked at, as in scikit-learn's PCA."""
        check_is_fitted(self)
        return np.array([f"cv{k + 1}" for k in range(self.network_.n_cvs)], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validated(self, X, reset: bool = False) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if reset else 1,
            ensure_all_finite="allow-nan",
        )
        if self.missing == "error" and np.isnan(X).any():
            rows = np.isnan(X).any(axis=1)
            raise BadInput(f"X: NaN in {rows.sum()} of {len(X)} rows, the first of them row {int(rows.argmax())}; allowed: finite numbers, "
                           'or missing="mask", which reads what is missing as the training mean')
        return X if X.flags.writeable else X.copy()  # a DataFrame lends what torch must not write to

    def _pairs(self, X, groups, frame, target, sample_weight) -> Pairs:
        """Other rows than those of `fit`, with the target that the fit had."""
        fitted = len(self.network_.output_mean), self.has_target_
        return checked_pairs(self, X, groups, frame, np.full(len(X), "train"), target, sample_weight, fitted)["train"]

    def _level(self, level: int | None) -> int:
        n = self.network_.n_cvs if hasattr(self, "network_") else 1
        if level is not None and not (is_whole(level) and 1 <= level <= n):
            raise BadInput(f"level: {level!r} is not allowed; 1 to {n}, or None for the last")
        return -1 if level is None else level - 1
