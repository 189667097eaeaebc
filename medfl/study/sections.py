"""The tables of a study but ``task`` and ``network``, one class each; ``keys.toml`` says for users what each key means."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from medfl.errors import ConfigError, Problem
from medfl.schema import Floats, Ints, Number, Options, Section, Sizes, Strings
from medfl.study.tuning import ALL, Tune
from medfl.study.windows import Window

LOSSES_BY_KIND = {
    "segmentation": ("dice-ce", "dice-focal", "generalized-dice"),
    "classification": ("cross-entropy", "focal"),
}

MAX_SHAPLEY_SITES = 6  # sites whose Shapley values are computed: 64 models a round

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Sites = Annotated[Strings, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]  # names


class Preprocessing(Section):
    """Deterministic preprocessing, done once and stored, in the order: crop, bias, contrast, intensity, spacing, size."""

    spacing: Floats = ()  # mm along x,y,z in RAS; empty: unchanged. 3-D only
    size: Sizes = ()  # 2-D: pixels, the aspect is kept and the rest padded; 3-D: centre pad and crop, empty: unchanged
    crop: Literal["none", "foreground", "nonzero", "body"] = "none"  # box of the voxels above 0, not 0; CT: of the body
    bias_correction: Literal["none", "n4"] = "none"  # n4: corrects the coil's shading, MR only; needs SimpleITK at the sites
    contrast: Literal["none", "equalize"] = "none"  # equalize: flat histogram between the percentiles, X-ray only
    intensity: Literal["zscore", "zscore-nonzero", "percentile", "window", "standardize", "unit"] = "zscore"
    window: Window = ()  # "window": lower,upper become 0..1, "standardize" clips to them; or a name as "lung" (CT)
    mean: Number = 0.0  # "standardize": (value - mean) / std, nnU-Net's normalisation of CT
    std: Annotated[Number, Field(ge=0)] = 0.0
    percentiles: Floats = (1.0, 99.0)  # for intensity = "percentile", scaled to 0..1; also clips before zscore if clip
    clip: bool = False
    dtype: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        windowed = self.intensity in ("window", "standardize")
        if windowed and (len(self.window) != 2 or self.window[0] >= self.window[1]):
            raise ValueError(
                f"intensity = '{self.intensity}' needs 'window' with a lower and an upper value, for example \"-160,240\""
            )
        if self.intensity == "standardize" and not self.std:
            raise ValueError("intensity = 'standardize' needs 'mean' and 'std' of the foreground, and 'std' above 0")
        if len(self.percentiles) != 2 or not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError("'percentiles' needs two rising numbers from 0 to 100")
        if any(s <= 0 for s in self.spacing):
            raise ValueError("'spacing' must be positive")
        return self


class Splits(Section):
    """Shares of the patients of each site; the rest trains."""

    validation: Annotated[Number, Field(ge=0, lt=1)] = 0.1
    test: Annotated[Number, Field(ge=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _check_training_share(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("'validation' and 'test' leave no patient for training")
        return self


class Loss(Section):
    """Loss that training minimises."""

    name: Literal["dice-ce", "dice-focal", "generalized-dice", "cross-entropy", "focal"]
    class_weights: Strings = ()  # "balanced", or one number a class
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[Number, Field(ge=0)] = 2.0  # focal losses


class Optimizer(Section):
    """The optimizer of each site; a new one every round."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[Number, Field(gt=0)] = 1e-3
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9  # sgd only
    clip_norm: Annotated[Number, Field(ge=0)] = 0.0  # gradient norm, 0: no clipping


class Schedule(Section):
    """The learning rate as a function of progress through the whole study, across rounds."""

    name: Literal["constant", "polynomial", "cosine"] = "constant"
    power: Annotated[Number, Field(gt=0)] = 0.9  # polynomial
    warmup_rounds: Annotated[Number, Field(ge=0)] = 0.0


class Training(Section):
    """The work of one site in one round."""

    local_epochs: NotNegative = 1
    local_steps: NotNegative = 0  # optimizer steps a round; when given, it replaces the epochs
    batch_size: Positive = 2
    patch: Sizes = ()  # voxels; empty: whole images
    patches_per_image: Positive = 1
    foreground: Fraction = 0.33  # share of patches centred on a foreground voxel
    balanced_sampling: bool = False  # classification: draw the classes equally often
    amp: Literal["auto", "off"] = "auto"  # mixed precision where the device gains from it
    threads: Positive = 1  # torch threads of a site: part of what makes results repeatable
    # what is trained, and travels; a study that says nothing of it keeps its hash
    tune: Tune = ALL
    lora_rank: Annotated[Positive, Field(exclude_if=lambda value: value == 8)] = 8
    lora_alpha: Annotated[Number, Field(gt=0, exclude_if=lambda value: value == 16.0)] = 16.0  # updates times alpha / rank
    lora_average: Annotated[Literal["frozen-a", "both"], Field(exclude_if=lambda value: value == "frozen-a")] = "frozen-a"

    @model_validator(mode="after")
    def _check_work(self) -> Self:
        if self.local_epochs == 0 and self.local_steps == 0:
            raise ValueError("either 'local-epochs' or 'local-steps' must be at least 1")
        if "lora" not in self.tune and (chosen := sorted(n for n in self.model_fields_set if n.startswith("lora_"))):
            raise ValueError(f'{chosen[0].replace("_", "-")!r} counts with tune = "lora" alone, which is not chosen')
        return self

    @property
    def tunes_part(self) -> bool:
        """Whether a part of the network is trained, and the rest stays as it was at the start."""
        return self.tune != ALL


class Augmentation(Section):
    """Random changes of the training images; zero or empty turns one off."""

    flip: Ints = ()  # array axes 0,1,2 = x,y,z in RAS (left-right, back-front, down-up); images: 0 = left-right
    rotate: Annotated[Number, Field(ge=0, le=180)] = 0.0  # degrees, each way
    scale: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # share, each way
    shift: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # share of the size, each way
    noise: Annotated[Number, Field(ge=0)] = 0.0  # standard deviation at most
    intensity: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # random scale and shift of grey values
    gamma: Annotated[Number, Field(ge=0, lt=1)] = 0.0  # contrast exponent 1-gamma .. 1+gamma
    blur: Annotated[Number, Field(ge=0)] = 0.0  # sigma at most, voxels
    probability: Fraction = 0.5  # of each change


class Evaluation(Section):
    """Scoring of the received model."""

    every: Positive = 1  # rounds; the last model is always scored
    overlap: Annotated[Number, Field(ge=0, lt=1)] = 0.25  # sliding window, validation
    test_overlap: Annotated[Number, Field(ge=0, lt=1)] = 0.5
    surface: Literal["always", "test", "never"] = "test"  # HD95 and surface Dice
    tolerance_mm: Annotated[Number, Field(gt=0)] = 2.0  # surface Dice
    max_loss: Annotated[  # a patient's loss counts as this at most; 0: see `Study.max_loss`
        Number, Field(ge=0, exclude_if=lambda value: not value)  # an older study keeps its hash
    ] = 0.0
    max_distance: Annotated[  # mm (2-D: pixels): a patient's HD95 counts as this at most; 0: see `Study.max_distance`
        Number, Field(ge=0, exclude_if=lambda value: not value)  # likewise
    ] = 0.0
    margin: Annotated[  # of Dice or AUROC, by which federated training may be below pooled and count as no worse; 0: none
        Number, Field(ge=0, lt=1, exclude_if=lambda value: not value)  # likewise
    ] = 0.0
    external: Annotated[  # hospitals that neither train nor choose a model; see `medfl.study.external_hospitals`
        Sites, Field(exclude_if=lambda value: not value)  # likewise
    ] = ()

    def real_problems(self) -> list[Problem]:
        """Return what of this only a simulation can do."""
        if not self.external:
            return []
        what = "external hospitals are for a simulation; in a federation, each hospital that takes part trains."
        fix = "Simulate it with medfl simulate, or leave the key out; a hospital can test a finished model by itself."
        return [Problem("pyproject.toml", "evaluation.external", what, fix)]


class Strategy(Section):
    """Strategy by which the server combines the replies into one model."""

    name: str = "fedavg"
    weights: Literal["patients", "samples", "equal"] = "patients"
    max_share: Annotated[  # of the weight that one hospital's reply may count for; 1: no limit
        Number, Field(gt=0, le=1, exclude_if=lambda value: value == 1.0)  # an older study keeps its hash
    ] = 1.0
    fraction: Annotated[Number, Field(gt=0, le=1)] = 1.0  # of the sites, each round
    sites: NotNegative = 0  # hospitals to wait for before the first round; 0: all that are enrolled
    max_sites: Annotated[  # hospitals that a run may have where what is asked of each grows with them; 0: see `Study.max_sites`
        NotNegative, Field(exclude_if=lambda value: not value)  # an older study keeps its hash
    ] = 0
    quorum: NotNegative = 0  # replies that a round needs to count; 0: see `Study.quorum`
    deadline: Annotated[Number, Field(gt=0)] = 3600.0  # seconds for the replies of a round
    wait: Annotated[Number, Field(gt=0)] = 600.0  # seconds for the sites to connect
    min_patients: NotNegative = 0  # that the counted replies of a round need together
    patience: NotNegative = 0  # rounds without a better model after which to stop early; 0: never
    options: Options = ()  # of the algorithm, see `medfl.study.algorithms`


class Compression(Section):
    """Compression of updates on their way to the server."""

    codec: Literal["none", "bf16", "int8", "top-k"] = "none"
    keep: Annotated[Number, Field(gt=0, le=1)] = 0.01  # share of the values that "top-k" sends


class Filtering(Section):
    """Filtering of updates, the sites' changes to the model, at the server before they count."""

    clip_norm: Annotated[Number, Field(ge=0)] = 0.0  # longer updates are scaled down to this norm; 0: off
    reject_factor: Annotated[Number, Field(ge=0)] = 0.0  # updates longer than this times the median are left out; 0: off

    @model_validator(mode="after")
    def _check_reject_factor(self) -> Self:
        if 0 < self.reject_factor < 1:
            raise ValueError("'reject-factor' below 1 would leave out updates of usual length; it must be 0, or at least 1")
        return self


class Personal(Section):
    """Personal models: what is each site's own."""

    layers: Strings = ()  # "norm", "head" or both: these layers never leave the site
    fine_tune_steps: NotNegative = 0  # optimizer steps of each site on the final model, for itself
    fine_tune_rounds: Annotated[  # of the arm "fine-tuned"; 0: see `Study.rounds_of`
        NotNegative, Field(exclude_if=lambda value: not value)  # an older study keeps its hash
    ] = 0

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if set(self.layers) - {"norm", "head"}:
            raise ValueError("'layers' may hold norm and head")
        return self


class Contribution(Section):
    """Measurement of the contribution of each site to the model."""

    method: Literal["none", "alignment", "leave-one-out", "shapley"] = "none"
    every: Positive = 1  # rounds

    def check_sites(self, count: int) -> None:
        """Raise ConfigError when there are too many sites for Shapley values."""
        if self.method == "shapley" and count > MAX_SHAPLEY_SITES:
            problem = (
                f"'shapley' scores {2**count} models a round with {count} sites; it is for {MAX_SHAPLEY_SITES} sites at most."
            )
            fix = "Take 'leave-one-out', which scores one model more than there are sites, or 'alignment'."
            raise ConfigError([Problem("pyproject.toml", "contribution.method", problem, fix)])
