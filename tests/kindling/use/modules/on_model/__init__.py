"""Models whose outputs are no classes and no numbers, on Kindling's Model and on Lightning's."""

from on_model.on_kindling import (
    GAN as GAN,
)
from on_model.on_kindling import (
    AutoEncoder as AutoEncoder,
)
from on_model.on_kindling import (
    ByTask as ByTask,
)
from on_model.on_kindling import (
    Crooked as Crooked,
)
from on_model.on_kindling import (
    DictScenes as DictScenes,
)
from on_model.on_kindling import (
    ErrorOfReconstruction as ErrorOfReconstruction,
)
from on_model.on_kindling import (
    FromDict as FromDict,
)
from on_model.on_kindling import (
    ImageAndRow as ImageAndRow,
)
from on_model.on_kindling import (
    Masks as Masks,
)
from on_model.on_kindling import (
    MasksInWords as MasksInWords,
)
from on_model.on_kindling import (
    Pairs as Pairs,
)
from on_model.on_kindling import (
    Reconstruction as Reconstruction,
)
from on_model.on_kindling import (
    Sampling as Sampling,
)
from on_model.on_kindling import (
    Scenes as Scenes,
)
from on_model.on_kindling import (
    Segmentation as Segmentation,
)
from on_model.plain import (
    Alone as Alone,
)
from on_model.plain import (
    Bound as Bound,
)
from on_model.plain import (
    Outputs as Outputs,
)
from on_model.plain import (
    Plain as Plain,
)
from on_model.plain import (
    Predicting as Predicting,
)
from on_model.plain import (
    Rows as Rows,
)
from on_model.plain import (
    RowsToPredict as RowsToPredict,
)
from on_model.plain import (
    Several as Several,
)
from on_model.plain import (
    Unloaded as Unloaded,
)
