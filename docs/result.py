"""Draws docs/result.svg, what `make run` finds, from the project in which it has run: python docs/result.py [FOLDER]"""

import sys
from pathlib import Path

from hae.data.frames import Frames
from hae.estimator import HierarchicalAutoencoder
from hae.figures import maps, plots
from hae.figures.maps import Variable
from hae.importance.report import ImportanceReport

HERE = Path(__file__).parent


def main(project: Path = HERE.parent) -> None:
    frames = Frames.read(project / "data" / "prepared" / "frames")
    cvs = HierarchicalAutoencoder.load(project / "models" / "collective").transform(frames.values)
    told = ImportanceReport.from_json((project / "results" / "variants" / "collective" / "importance.json").read_text(encoding="utf-8"))
    labels = [Variable(frames.labels[name].to_numpy(), name, "rad", period)
              for name, period in zip(frames.labels, frames.label_periods, strict=True)]
    with plots.style():
        figure, axes = plots.grid(9.6, 3.2, 1, 3)
        for k, axis in enumerate(axes[0, :2]):
            maps.label_map(*labels, Variable(cvs[:, k], f"CV{k + 1}"), axis)
        plots.fve_by_level({"collective": told}, axes[0, 2])
        (HERE / "result.svg").write_text(plots.svg(figure), encoding="utf-8")
    print("docs/result.svg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
