"""The estimator: a nonlinear, ordered PCA with the face of scikit-learn."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from hae.arguments import checked_kinds, checked_pairs, is_whole, plan_of, rows_in_file, rows_in_memory
from hae.errors import BadInput
from hae.importance.evaluate import evaluate
from hae.importance.report import ImportanceReport
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.scoring import chunked, encode, filled, score_frames
from hae.storage import load_estimator, save_estimator
from hae.training.fit import fit_members
from hae.training.members import Members
from hae.training.pairs import Pairs
from hae.training.sources import RowsInMemory, Source
from hae.training.stored import StoredFrames

__all__ = ["HierarchicalAutoencoder"]

NO_MATTER = {"device", "verbose", "feature_weights", "random_state"}  # to a checkpoint: W goes by its root, a random state by its seeds


class HierarchicalAutoencoder(TransformerMixin, BaseEstimator):
    """Hierarchical autoencoder: collective variables (CVs) sorted by how much of the data they explain.

    Chen, Tan, Ferguson, J. Chem. Phys. 149, 072312 (2018), https://doi.org/10.1063/1.5023804. For n CVs the network makes n outputs
    q_1..q_n and is trained on L = (1/n) sum_k mean((s - q_k)^2) in the metric W.

    Parameters:
        n_cvs: number of CVs, 1 to the number of features; "auto": up to max_cvs are trained and the leading ones kept that are surely
            alive on the validation rows, by vote of the members (see `hae.importance.evaluate`).
        max_cvs: the most that n_cvs="auto" may choose.
        variant: "collective": q_k is decoded from CV_1..CV_k; "boosted": q_k = q_{k-1} + d_k, with d_k decoded from CV_k alone.
        hidden: widths of the encoder's hidden layers, the decoders have them reversed; () with activation "identity": linear.
        activation: "tanh", "silu", "gelu", "relu" or "identity".
        cv: kind of the CVs, "linear", "tanh" (bounded by -1 and 1) or "circular" (an angle in radians), or a list, one for each CV.
        scale: the metric W. "global": one number for all features (coordinates); "feature": every feature in units of its
            standard deviation (tables); "none": raw units.
        n_seeds: networks (members) trained side by side; the one with the least validation loss becomes the model.
        batch_size, learning_rate: of Adam with a one-cycle rate, whose peak is learning_rate.
        max_epochs: passes over the training rows, at most; None: 100, and as many more as make min_steps steps of few rows.
        min_steps: steps of a training where max_epochs is None, at least; patience grows with the epochs.
        patience: epochs without a better validation loss before a member ends, counted after the rate's peak; None: no early stop.
        smooth: weight of the steepness of the CVs that training adds to L, 0 or more. A CV that forces are to act along needs some, or it
            has cliffs; 1 to 20 cost little. See `hae.network.hierarchy.HierarchicalNetwork.steepness`.
        linear_path: the encoder adds a linear map to what its perceptron gives; the map starts at the principal components.
        level_weights: (n_cvs,) weights of the levels in L, or None for equal ones.
        feature_weights: W on top of ``scale``: a vector (D,) or a positive semidefinite matrix (D, D); None: the identity.
        lag: frames between input and target inside each trajectory; 0: the target is the input. Rows given without ``groups``
            are then one trajectory.
        missing: "error", or "mask": NaN is weighted out of the loss and read by the encoder as the training mean.
        augment: function of (inputs, generator) in raw units, (B, D) -> (B, D), applied to every batch of training inputs while the
            targets stay: for example a random rotation against an aligned target. None: none.
        network: function of (n_features, n_targets) that gives a `HierarchicalNetwork` of one's own modules, instead of the default;
            n_cvs and cv must say what it has, while variant, hidden and activation are not looked at.
        shares: training, validation and test shares of the rows, by blocks.
        block_frames, gap_frames: length of a block of a trajectory, and frames left out at both of its ends.
        device: "auto" (the environment's HAE_DEVICE, else CUDA, else CPU), "cpu", "cuda".
        random_state: seed of the starts and the order of batches; the same seed gives the same model on one machine.
        verbose: show a progress bar with the error of each level.

    Attributes:
        network_: the best member, a torch module: ``cvs, levels = network_(s)``.
        members_: all members, best first.
        explained_variance_ratio_: (n_cvs,) gain FVE_k - FVE_{k-1} of each CV on the test rows (on the validation rows where there are
            no test rows, on the training rows where nothing was held out).
        importance_: `hae.importance.report.ImportanceReport`; ``importance_.to_frame()`` has one row for each CV,
            ``importance_.sentence()`` says the verdict.
        history_: DataFrame, one row for each member and epoch: member, epoch, seconds, learning_rate, train_error_k, validation_error_k.
        validation_loss_: loss of ``network_`` on the validation rows over V, the variance in the metric; lower is better.
        training_rows_, validation_rows_, held_out_rows_: `hae.training.pairs.Pairs` of `fit`, which importance and stability are measured
            with; None in a loaded model, in one that was fitted to rows in a file, and where there are no such rows.
        report_: ``importance_`` where it was measured, else None.
        metric_root_: root of feature_weights, or None.
        has_target_: whether `fit` was given a target.
        split_: (N,) side of each row of X, "train", "validation", "test", "gap".
        n_features_in_, feature_names_in_: as in scikit-learn.

    Example:
        >>> import numpy as np
        >>> from hae import HierarchicalAutoencoder
        >>> t = np.random.default_rng(0).uniform(-3, 3, 2000)
        >>> X = np.stack([t, np.sin(t), np.cos(t)], axis=1)  # a curve: one CV is enough
        >>> model = HierarchicalAutoencoder(n_cvs=2, n_seeds=1, max_epochs=30, device="cpu").fit(X)
        >>> model.transform(X).shape
        (2000, 2)
        >>> bool(model.explained_variance_ratio_[0] > 0.95)
        True
    """

    def __init__(
        self,
        n_cvs=3,
        max_cvs=6,
        variant="collective",
        hidden=(64, 64),
        activation="tanh",
        cv="linear",
        scale="global",
        n_seeds=4,
        batch_size=512,
        max_epochs=None,
        min_steps=5000,
        patience=20,
        learning_rate=5e-3,
        smooth=0.0,
        linear_path=False,
        level_weights=None,
        feature_weights=None,
        lag=0,
        missing="error",
        augment=None,
        network=None,
        shares=(0.7, 0.15, 0.15),
        block_frames=100,
        gap_frames=10,
        device="auto",
        random_state=0,
        verbose=False,
    ):
        self.n_cvs = n_cvs
        self.max_cvs = max_cvs
        self.variant = variant
        self.hidden = hidden
        self.activation = activation
        self.cv = cv
        self.scale = scale
        self.n_seeds = n_seeds
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_steps = min_steps
        self.patience = patience
        self.learning_rate = learning_rate
        self.smooth = smooth
        self.linear_path = linear_path
        self.level_weights = level_weights
        self.feature_weights = feature_weights
        self.lag = lag
        self.missing = missing
        self.augment = augment
        self.network = network
        self.shares = shares
        self.block_frames = block_frames
        self.gap_frames = gap_frames
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X,
        y=None,
        *,
        groups=None,
        frame=None,
        split=None,
        target=None,
        sample_weight=None,
        checkpoints=None,
        on_epoch=None,
    ):
        """Train on rows X (N, D), an array or a DataFrame, or on rows in a file.

        Args:
            X: (N, D) in raw units, or `hae.training.stored.StoredFrames`, which brings split and weights of its own.
            y: ignored, as in scikit-learn's PCA. A target other than the input is ``target`` (N, D').
            groups: (N,) name of the trajectory of each row, its rows in time order. None: rows are independent of each other.
            frame: (N,) frame number in the trajectory; None: counted from 0 in each.
            split: (N,) side of each row where it is known; None: by hash of blocks (of the row's values without groups).
            sample_weight: (N,) positive statistical weights.
            checkpoints: folder for checkpoints; a training of the same data and parameters that was killed goes on from there.
            on_epoch: called with the history rows of each epoch.

        Raises:
            BadInput (a ValueError): a parameter or the data can't be used.
        """
        checked_kinds(self)
        rows = {"groups": groups, "frame": frame, "split": split, "target": target, "sample_weight": sample_weight}
        if isinstance(X, StoredFrames):
            source: Source = rows_in_file(self, X, **rows)
        else:
            source = rows_in_memory(self, self._validated(X, reset=True), **rows)
        self.has_target_ = target is not None
        with source:
            plan = plan_of(self, source.n_features, source.n_targets)
            self.metric_root_ = plan.root
            params = {name: value for name, value in self.get_params(deep=False).items() if name not in NO_MATTER}
            folder = None if checkpoints is None else Path(checkpoints)
            members = fit_members(source, plan, params={**params, "root": plan.root}, checkpoints=folder, on_epoch=on_epoch)
            self._take(members, source)
        return self

    def _take(self, members: Members, source: Source) -> None:
        """Set what is known after training."""
        self.members_, self.network_ = members.networks, members.networks[0]
        self.n_features_in_ = source.n_features
        if isinstance(source, RowsInMemory):
            self.split_ = source.split
        self.history_, self.best_epoch_ = pd.DataFrame(members.rows), members.best_epoch[0]
        self.training_rows_: Pairs | None = source.pairs("train")
        self.validation_rows_: Pairs | None = source.pairs("validation")
        self.held_out_rows_: Pairs | None = None
        self.report_: ImportanceReport | None = None
        if self.n_cvs == "auto":
            self._keep_the_alive(source.pairs("validation"))
        fve = source.explained(self.network_, self.metric_root_)
        held_out = next(side for side in ("test", "validation", "train") if side in fve)
        self.held_out_rows_ = source.pairs(held_out)
        self.explained_variance_ratio_ = np.diff(fve[held_out], prepend=0.0)
        self.train_fve_, self.validation_fve_ = fve["train"], fve.get("validation", fve["train"])
        weights = None if self.level_weights is None else self.level_weights[: len(self.validation_fve_)]
        self.validation_loss_ = float(np.average(1 - self.validation_fve_, weights=weights))

    @property
    def importance_(self) -> ImportanceReport:
        """What each CV is worth on the rows of `fit` that were held out, how sure that is, and whether the order holds.

        Measured at first use, which refits decoders and takes some seconds: see `hae.importance.evaluate.evaluate`. A saved model keeps it.
        What the training and validation rows saw counts too: no interval is narrower than all rows allow.
        """
        check_is_fitted(self)
        if self.report_ is None:
            if self.held_out_rows_ is None:
                raise BadInput("importance_: was not measured before save, or fit read rows in a file; allowed: importance_ before save")
            self.report_ = self._measure(self.held_out_rows_, self.held_out_rows_ is not self.training_rows_)
        return self.report_

    def importance(self, X, groups=None, *, frame=None, target=None, sample_weight=None) -> ImportanceReport:
        """The same for other held-out rows X (N, D), judged by themselves: they may come from elsewhere. Arguments as in `fit`.

        Raises:
            BadInput: the model was loaded (decoders are refitted on the training rows, which are not saved), or the rows don't fit.
        """
        return self._measure(self._pairs(self._validated(X), groups, frame, target, sample_weight))

    def _measure(self, rows: Pairs, held_out: bool = True) -> ImportanceReport:
        """The report on these rows; on the training rows themselves without intervals and verdicts, as too few blocks have it."""
        train = self.training_rows_
        if train is None:
            raise BadInput("importance: needs the training rows, which a saved model has not; allowed: fit again")
        known = {id(side): side for side in (train, self.validation_rows_, self.held_out_rows_) if side is not None}
        return evaluate(
            self.network_,
            train,
            rows,
            seen=Pairs.joined(list(known.values())) if held_out and id(rows) in known else None,
            blocks=rows.blocks(self.block_frames) if held_out else np.zeros(len(rows)),
            root=self.metric_root_,
            members=self.members_[1:],
            side="validation" if rows is self.validation_rows_ else "test" if held_out else "train",
            features=getattr(self, "feature_names_in_", None) if rows.targets is rows.inputs else None,
            progress="importance" if self.verbose else None,
        )

    def _keep_the_alive(self, validation: Pairs | None) -> None:
        """Cut all members to the leading CVs that are surely alive on validation rows, by vote of the members."""
        n = None if validation is None else self._measure(validation).n
        if n is None:
            why = "too few independent validation rows to choose, or refitted decoders that stay behind"
            warnings.warn(f"n_cvs: {why}; all {self.network_.n_cvs} CVs are kept", stacklevel=4)
            return
        self.members_ = [member.first(max(n, 1)) for member in self.members_]
        self.network_ = self.members_[0]

    def transform(self, X):
        """CVs (N, n_cvs) of rows X (N, D), most important first; a circular CV is an angle in radians. In the type of X."""
        X = self._validated(X)
        return encode(self.network_, X)

    def reconstruct(self, X, level=None):
        """q_level (N, D'), the reconstruction of rows X from CV_1..CV_level, in raw units; level None: the last."""
        X, k = self._validated(X), self._level(level)
        return np.concatenate(chunked(self.network_, X, lambda network, s: network(filled(network, s))[1][k].cpu().numpy()))

    def inverse_transform(self, cvs, level=None):
        """q_level (N, D') of CVs (N, n_cvs); level None: the last."""
        check_is_fitted(self)
        k, cvs = self._level(level), np.asarray(cvs)
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

    def save(self, directory) -> None:
        """Write model.json and weights.safetensors to a folder; nothing is pickled.

        Raises:
            BadInput: the folder can't be written to.
        """
        check_is_fitted(self)
        save_estimator(self, directory)

    @classmethod
    def load(cls, directory, network: Callable[[int, int], HierarchicalNetwork] | None = None) -> "HierarchicalAutoencoder":
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
