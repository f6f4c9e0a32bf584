"""The estimator: a nonlinear, ordered PCA with the face of scikit-learn."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from hae.arguments import checked_kinds, plan_of, rows_in_file, rows_in_memory
from hae.devices import threads_for
from hae.errors import BadInput
from hae.fitted import Fitted
from hae.importance.evaluate import evaluate
from hae.importance.report import ImportanceReport
from hae.network.scoring import score_frames
from hae.notices import warn_once
from hae.training.baselines import principal_components
from hae.training.fit import fit_members
from hae.training.members import Members
from hae.training.pairs import Pairs
from hae.training.sources import RowsInMemory, Source
from hae.training.stored import StoredFrames

__all__ = ["HierarchicalAutoencoder"]

MOST_OF_PCA = 2000  # features; the time goes with their cube, and here it is a second
NO_MATTER = {"device", "verbose", "feature_weights", "random_state"}  # to a checkpoint: W goes by its root, a random state by its seeds


class HierarchicalAutoencoder(Fitted):
    """Hierarchical autoencoder: collective variables (CVs) sorted by how much of the data they explain.

    Chen, Tan, Ferguson, J. Chem. Phys. 149, 072312 (2018), https://doi.org/10.1063/1.5023804. For n CVs the network makes n outputs
    q_1..q_n and is trained on L = (1/n) sum_k mean((s - q_k)^2) in the metric W.

    Parameters:
        n_cvs: number of CVs, 1 to the number of features; "auto": up to max_cvs are trained and the leading ones kept that are surely
            alive on the validation rows, by vote of the members (see `hae.importance.evaluate`).
        max_cvs: the most that n_cvs="auto" may choose.
        variant: "collective": q_k is decoded from CV_1..CV_k; "boosted": q_k = q_{k-1} + d_k, with d_k decoded from CV_k alone.
        hidden: widths of the encoder's hidden layers, the decoders have them reversed; () with activation "identity": linear. "auto":
            (64, 64), and of up to 4,000 training rows with ``linear_path``.
        activation: "tanh", "silu", "gelu", "relu" or "identity".
        cv: kind of the CVs, "linear", "tanh" (bounded by -1 and 1) or "circular" (an angle in radians), or a list, one for each CV.
        scale: the metric W. "global": one number for all features (coordinates); "feature": every feature in units of its
            standard deviation (tables of unlike units); "none": raw units; "auto": "feature" where the largest feature is more than ten
            times a typical one in size and in spread, else "global"; what was taken is ``scale_``. Say "feature" for a table whose
            units differ though its numbers are alike.
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
        augment: function of (inputs, generator) in raw units and float64, (B, D) -> (B, D), applied to every batch of training
            inputs while the targets stay: for example a random rotation against an aligned target. None: none.
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
        scale_: what ``scale`` was: "global", "feature" or "none".
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
        scale="auto",
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
        source: Source
        if isinstance(X, StoredFrames):
            source, n_rows = rows_in_file(self, X, **rows), math.inf
        else:
            X = self._validated(X, reset=True)
            source, n_rows = rows_in_memory(self, X, **rows), len(X)
        self.has_target_ = target is not None
        with source, threads_for(n_rows):
            plan = plan_of(self, source.n_features, source.n_targets)
            plan = plan.of_rows(source) if isinstance(self.hidden, str) else plan
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
        self.scale_ = self.scale if self.scale != "auto" else "feature" if np.ptp(self.network_.output_scale.cpu().numpy()) else "global"
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

        Measured at first use, which refits decoders and takes a while, said with a bar where ``verbose``: see
        `hae.importance.evaluate.evaluate`. PCA on the same rows is beside it. A saved model keeps it.
        What the training and validation rows saw counts too, where their interval is surely wider than that of the held-out rows.
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
            raise BadInput("importance: needs the training rows, which are not saved with a model; allowed: fit again")
        known = {id(side): side for side in (train, self.validation_rows_, self.held_out_rows_) if side is not None}
        with threads_for(len(train)):
            return evaluate(
                self.network_,
                train,
                rows,
                seen=Pairs.joined(list(known.values())) if held_out and id(rows) in known else None,
                blocks=rows.blocks(self.block_frames) if held_out else np.zeros(len(rows)),
                root=self.metric_root_,
                members=self.members_[1:],
                side="validation" if rows is self.validation_rows_ else "test" if held_out else "train",
                baselines=self._linear(train, rows),
                features=getattr(self, "feature_names_in_", None) if rows.targets is rows.inputs else None,
                progress="importance, which refits decoders" if self.verbose else None,
            )

    def _linear(self, train: Pairs, rows: Pairs) -> dict[str, np.ndarray]:
        """Errors (n, N) of PCA at rows, of the same metric and number of CVs; nothing of features so many that PCA alone takes long."""
        if max(train.inputs.shape[1], train.targets.shape[1]) > MOST_OF_PCA:
            return {}
        target = None if train.targets is train.inputs else train.targets
        n = min(self.network_.n_cvs, train.inputs.shape[1])
        pca = principal_components(train.inputs, n, self.scale_, train.weights, self.metric_root_, target)
        return {"pca": score_frames(pca, rows.inputs, rows.targets, self.metric_root_, rows.weights).e}

    def _keep_the_alive(self, validation: Pairs | None) -> None:
        """Cut all members to the leading CVs that are surely alive on validation rows, by vote of the members."""
        n = None if validation is None else self._measure(validation).n
        if n is None:
            why = "too few independent validation rows to choose, or refitted decoders that stay behind"
            warn_once(f"n_cvs: {why}; all {self.network_.n_cvs} CVs are kept", "n_cvs")
            return
        self.members_ = [member.first(max(n, 1)) for member in self.members_]
        self.network_ = self.members_[0]
