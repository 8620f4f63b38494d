"""Tables that ship with scikit-learn: real data, no download: `kindling fit --config configs/breast_cancer.yaml`."""

import torch
from sklearn import datasets
from torch import Tensor

from kindling import Data


class BreastCancer(Data):
    """569 tumours, 30 measurements each of their cell nuclei: benign or malignant (Street et al., 1993)."""

    classes = ["benign", "malignant"]

    def load(self) -> tuple[Tensor, Tensor]:
        measures, benign = datasets.load_breast_cancer(return_X_y=True)
        return torch.from_numpy(measures).float(), torch.from_numpy(1 - benign)


class Diabetes(Data):
    """442 patients, 10 measurements each: how far the disease is a year later, from 25 to 346 (Efron et al., 2004)."""

    targets = ["progression"]

    def load(self) -> tuple[Tensor, Tensor]:
        measures, progression = datasets.load_diabetes(return_X_y=True)
        return torch.from_numpy(measures).float(), torch.from_numpy(progression).float()[:, None]


class Wine(Data):
    """178 wines, 13 measurements each, from three growers (Aeberhard & Forina, 1991)."""

    classes = ["grower 1", "grower 2", "grower 3"]

    def load(self) -> tuple[Tensor, Tensor]:
        measures, growers = datasets.load_wine(return_X_y=True)
        return torch.from_numpy(measures).float(), torch.from_numpy(growers)
