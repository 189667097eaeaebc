"""Generator of `docs/strategies.md` from the tables that studies are checked against.

Write it anew with ``python -m tools.strategies_page > docs/strategies.md``.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args, get_origin

from flwr.serverapp import strategy as flower
from pydantic.fields import FieldInfo

from medfl.strategies.strategy_registry import CLIENT_ONLY, KEYWORDS, STRATEGIES
from medfl.study.algorithms import (
    ADDITIONS,
    ALGORITHMS,
    MEAN_ALGORITHMS,
    NO_COMMON_START,
    WEIGHT_ALGORITHMS,
    Algorithm,
    contribution_conflicts,
)
from medfl.study.sections import MAX_SHAPLEY_SITES
from tools.batchnorm_outcomes import OUTCOMES
from tools.flower_differences import DIFFERENCES

_SETTINGS = {  # of a study, for each addition
    "bf16": 'compression.codec = "bf16"',
    "int8": 'compression.codec = "int8"',
    "top-k": 'compression.codec = "top-k"',
    "clip-norm": "filtering.clip-norm = 1.0",
    "reject-factor": "filtering.reject-factor = 3.0",
    "norm": 'personal.layers = "norm"',
    "head": 'personal.layers = "head"',
    "fine-tune": "personal.fine-tune-steps = 100",
}
_BYTES = {
    "bf16": "half",
    "int8": "a quarter",
    "top-k": "8 a value sent: 2 % with `compression.keep = 0.01`",
    **dict.fromkeys(("norm", "head"), "without these layers"),
}

_INTRODUCTION = """\
# Strategies

<!-- Made from the code: python -m tools.strategies_page > docs/strategies.md -->

A study names its algorithm, the algorithm's own options, and what is added to it:

```toml
[tool.flwr.app.config.strategy]
name = "fedprox"
[tool.flwr.app.config.strategy.options]
mu = 0.01
[tool.flwr.app.config.compression]
codec = "int8"
```

The server's part is in `strategies/`, the hospital's in `clients/`. Each server part is a Flower `Strategy` and runs in any
Flower app: `FedProx(proximal_mu=0.01, transforms=[Int8()])`. FedAvg holds the model, one sum (as large as two float32 models,
or three where weights or values differ much), and one reply at a time, however many hospitals there are; the column "the server
holds" says what a strategy keeps in addition.

## Algorithms
"""
_FLOWER = """\
## In place of Flower's classes

{classes}
take all keywords of Flower's classes of the same name, with Flower's defaults, besides those of their own, so that
`from medfl.strategies import FedAvg` can take the place of `from flwr.serverapp.strategy import FedAvg`. A study has other
defaults, above, and passes them to the class. These are the intended differences; a test shows each
(`tests/strategies/test_differences_from_flower.py`).

"""
_BUFFERS = """\
## Networks with BatchNorm

Not every tensor is a parameter. Buffers, such as the running means and variances of BatchNorm, are averaged: the server does
not optimise them, and they count in no norm and no distance. Every strategy can be told which tensors are parameters:

```python
from medfl.strategies import FedAdam, read_parameter_names

strategy = FedAdam(parameter_names=read_parameter_names(net))
```

A name that the model does not have is refused before the first round, because a parameter whose name is misspelt would be
taken for a buffer. Where only some arrays are sent, give `read_parameter_names(net) & set(arrays)`.

Without `parameter_names`, the buffers are the tensors whose names end in `running_mean`, `running_var` or
`num_batches_tracked` (PyTorch), or in `ema_cluster_size` or `ema_w` (MONAI's `EMAQuantizer`). All other tensors of floating
point are parameters. The log of the server says once what was found. A network with other buffers needs `parameter_names`.

Arrays that are sent as a list have numbers for names, which say nothing, so all of them are taken for parameters, as in
Flower. A strategy to which it matters then logs a warning before the first round; it refuses nothing, because most such models
have no BatchNorm. For one that has, send `ArrayRecord(net.state_dict())`, or give the numbers of the parameters as
`parameter_names`.

Studies do not average BatchNorm at all: `network.norm = "batch"` goes with `personal.layers = "norm"` only. In a Flower app
that sends such a network whole, the running statistics of the new model are those below. In five rounds at sites whose
variances differ by 10^6, one of which drops out, variances stay positive and losses finite. What is refused is refused before
anything is sent.

"""
_PRIVACY = """\
## Inside Flower's central differential privacy

The noise of Flower's wrappers hides a site in a mean of at least as many replies as planned (`num_sampled_clients`), all of
equal weight (`weighted_by_key=""`). Anything else is refused, and nothing is released:

- Rules other than the mean of FedAvg and FedProx.
- Models with buffers or counters. Left out of clipping and noise they would not be private, and noise may turn a variance
  negative.
- Transforms that may lengthen updates, because transforms come after the clipping. Those that shorten updates, leave replies
  out or only look on say so (`only_shortens`).
- A round in which fewer replies count than planned, or their weights differ.

A wrapper is found behind other strategies and decorators too. A class of your own may save the model in its `aggregate_train`,
but must not change it: that is not checked. A wrapper that is given Flower's `accountant` refuses medfl's classes itself: it
takes Flower's own FedAvg and FedProx only.

"""
_RANGE = """\
## Replies that are far off

A reply that is not finite is left out. One that is finite but far off counts in a mean, as in Flower. Rules that go beyond the
mean leave it out with the code `UPDATE-RANGE`: server optimizers, FedNova, SCAFFOLD, FedDyn and FedBuff when a value is beyond
2^60 (1.2e18), and beyond 1024 times the largest of the model; RFA, q-FedAvg and `filtering.clip-norm` when the norm of the
update is beyond 2^510.

If the new model or the state of the strategy is not finite all the same, the round fails, also with `UPDATE-RANGE`. The state
is then that from before the round. Server optimizers, FedNova, SCAFFOLD, FedDyn and FedBuff also name the site with the
largest values.

Nearer than that nothing is left out, and a single update that is thousands of times too long holds FedAdam, FedYogi and
FedAdagrad back for many rounds. `filtering.reject-factor`, in Python `NormOutlierFilter`, leaves such updates out.

"""
_LOSSES = """\
## Losses that leave rounded

q-FedAvg, FedCostWAvg and FedPIDAvg weigh hospitals by their training losses. A hospital rounds a loss to a thousandth of its
range (with n < 100 training patients to a part in 10 n), which is 0 to `evaluation.max-loss`, by default 3.8 for a
segmentation of two classes with `dice-ce`. A weight is then as exact as the loss: to 2 % for a loss of 0.1, for q-FedAvg,
which takes a power of it, to 0.4 % with q = 0.2. Losses never round to 0: one step is the smallest, so no hospital gets all
the weight for a loss that is too small to tell. Below some 20 steps the weights are coarse; a smaller `evaluation.max-loss`
makes the steps finer. Where a hospital's policy lets no losses out (`scores = "none"`, `score-noise`), it refuses a study with
one of the three. Contributions are differences of rounded scores, so one below 0.001 is no finding.

"""
_STACKS = """\
## What can be added

Replies go through the reply transforms from the wire inwards: they are unpacked, then shortened or left out, then counted. The
model is not compressed on its way to the sites, nor is what an algorithm sends besides it: SCAFFOLD with `int8` sends 62 % of
its bytes, not 25 %.

Every algorithm works where a part of the network is trained ([tune.md](tune.md)), but for MOON where that is the head alone;
what it sends besides, and the norms that it compares, are then those of the part.

"""
_MATRIX_NOTE = """\
A `+` means that the two go together; a number gives the reason why not, below, which `medfl study check` prints too.
`clip-norm` and `reject-factor` do not go together: norms would be compared after clipping, which hides how long an update was.
Where every hospital trains alone (the arm `local`), neither algorithms nor additions take part.

"""
_MAX_SHARE = """\
## The share of one hospital

A reply weighs as many patients (or samples, `strategy.weights`) as the hospital says that it trained on. With
`strategy.max-share = 0.4`, no hospital counts for more than 40 % of the weight, however much it claims: before a round the
server takes what the hospitals that it asks told when they joined, and finds the weight c with c = 0.4 * (sum of min(told, c)).
Each reply then counts with its own weight, or with c where that is less. Hospitals of 100, 100 and 900 patients weigh 100, 100
and 133 then. The round's record holds weight and share as they counted. 1, the default, is off.

- The limit is found before the round, as replies are added while they arrive. If a hospital does not answer, or trained on
  fewer patients than it told, the shares of the others are larger, and may be above the limit.
- Too few hospitals cannot keep to it: with 0.4, two have 50 % each. A run does not begin if its rounds ask so few, and where a
  later round does, its hospitals weigh the same.
- It is for {names}. With others a reply does not count by its weight alone, or its weight must be the same in every round, and
  `medfl study check` refuses the key. It bounds the weight of an update, not its length: for that there is `clip-norm`.
- Scores are merged by patients all the same.

"""
_CONTRIBUTION = """\
## Contribution

`contribution.method` measures what each hospital contributed, every `contribution.every` rounds. `alignment` compares the
updates, at the server alone. `leave-one-out` and `shapley` build the models of fewer hospitals from the replies of the round,
and let all hospitals score them on validation patients. For n hospitals that is n + 1 models with `leave-one-out`, and 2 to the
power of n with `shapley`, which is for at most six hospitals.

"""

_QUESTIONS = """\
## What a hospital is asked

A hospital answers every question of an approved study once, with one model: it trains once in each round of an arm and scores
the last model of the arm. Replies to training score the model that they got, except with {names}, whose sites get different
models: there a model is scored in a question of its own, every `evaluation.every` rounds, or every round with
`strategy.patience`. The chosen model is tested once. In the arm `local` a hospital tests the models of all others, and with
`contribution.method` it scores the models of fewer hospitals. For both, the study counts on `strategy.max-sites` hospitals (16
unless it says otherwise, at most {shapley} for `shapley`), and a federation of more does not begin. Where the number is known,
write it: a hospital reads in the approval what it could be asked at most.

A run that is resumed asks the same again, gets the answers that it had, and comes to the same bits. A hospital that was away in
the round that broke off is asked for the first time. Three things cannot be resumed so:

- `cyclic`: every hospital trains the model of the one before it. If the round is done again and a hospital answers that failed
  before, those after it would get another model than the first time. They refuse it with `QUESTION-ANSWERED`, and are passed
  over in this round. If they are too many for the quorum, the run cannot go on, and must be started anew. Where every hospital
  is needed, as it is unless `strategy.quorum` says otherwise, this does not happen: the circle ends at the first that fails,
  and goes on from there.
- `fedbuff`: what was under way when the server stopped is lost. These hospitals are asked again with the next model, and which
  replies make up a round is not repeated.
- Contributions: if other hospitals answer than the first time, the models of fewer hospitals are others, too. A hospital
  refuses those beyond what the study counts on, and the contributions of the round are measured without it.

"""


def build_page() -> str:
    """Return the page as Markdown."""
    rows = [
        (f"`{name}`", a.idea, _paper(a), a.sends or "–", _files(name, a), a.server_memory or "–")
        for name, a in _documented_algorithms()
    ]
    classes = textwrap.fill(_format_names(classes_of_flower()), 128, break_on_hyphens=False)
    parts = [
        _INTRODUCTION,
        _table(("name", "idea", "paper", "sent besides the model", "server, hospital", "the server holds"), rows),
        "\n## Options\n",
        _table(("name", "options and their defaults", "optimizers", "local steps"), list(_options())),
        "",
        _FLOWER.format(classes=classes).rstrip("\n") + "\n",
        _table(
            ("classes", "where", "Flower", "medfl"),
            [(each.classes, each.situation, each.flower, each.medfl) for each in DIFFERENCES],
        ),
        "",
        _BUFFERS.rstrip("\n") + "\n",
        _table(("class", "running statistics of the new model"), list(_batchnorm())),
        "",
        _PRIVACY.rstrip("\n") + "\n",
        _RANGE.rstrip("\n") + "\n",
        _LOSSES.rstrip("\n") + "\n",
        _STACKS.rstrip("\n") + "\n",
        _table(("addition", "in the study", "what it does", "bytes of an update"), list(_additions())),
        "",
        _matrix(),
        _MAX_SHARE.format(names=_format_names(WEIGHT_ALGORITHMS)).rstrip("\n") + "\n",
        _CONTRIBUTION.rstrip("\n") + "\n",
        *(f"- {line}" for line in _contributions()),
        "",
        _QUESTIONS.format(names=_format_names(NO_COMMON_START), shapley=MAX_SHAPLEY_SITES).rstrip("\n"),
    ]
    return "\n".join(parts) + "\n"


def classes_of_flower() -> list[str]:
    """Return the names of the strategies that stand in the place of a class of Flower's."""
    return sorted({kind.__name__ for kind in STRATEGIES.values()} & set(flower.__all__))


def _documented_algorithms() -> Iterator[tuple[str, Algorithm]]:
    return ((name, algorithm) for name, algorithm in ALGORITHMS.items() if name in STRATEGIES or name in CLIENT_ONLY)


def _paper(algorithm: Algorithm) -> str:
    authors, _, address = algorithm.paper.rpartition(", ")
    return f"{algorithm.title}: [{authors}]({address})"


def _files(name: str, algorithm: Algorithm) -> str:
    server = STRATEGIES[name].__module__.rpartition(".")[2] if name in STRATEGIES else "fedavg"
    if not algorithm.client_module:
        return f"`strategies/{server}.py`"
    folder = "networks" if algorithm.client_module == "layers" else "algorithms"
    return f"`strategies/{server}.py`, `clients/{folder}/{algorithm.client_module}.py`"


def _options() -> Iterator[tuple[str, ...]]:
    for name, algorithm in _documented_algorithms():
        fields = algorithm.options.model_fields.items()
        keywords = KEYWORDS.get(name, {})
        options = ", ".join(
            f"`{field.alias or key} = {_literal(field.default)}`{_format_limits(field)}"
            + (f", in Python `{keywords[key]}`" if key in keywords else "")
            for key, field in fields
        )
        steps = "" if algorithm.steps_factor == 1.0 else f"{algorithm.factor(2):g} times"
        if options or algorithm.optimizers or steps:
            yield f"`{name}`", options or "–", ", ".join(algorithm.optimizers) or "all", steps or "–"


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _format_limits(field: FieldInfo) -> str:
    """Return what an option may be, from the type that checks it."""
    if get_origin(field.annotation) is Literal:
        return f" (or {', '.join(f'`{word}`' for word in get_args(field.annotation) if word != field.default)})"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {limit:g}"
        for rule in field.metadata
        for key, sign in signs.items()
        if (limit := getattr(rule, key, None)) is not None
    ]
    return f" ({', '.join(limits)})" if limits else ""


def _batchnorm() -> Iterator[tuple[str, ...]]:
    return (
        (f"`{each.name}`", f"refused (`{each.code}`): {each.statistics}" if each.code else each.statistics) for each in OUTCOMES
    )


def _additions() -> Iterator[tuple[str, ...]]:
    return (
        (f"`{key}`", f"`{_SETTINGS[key]}`", f"{what[0].upper()}{what[1:]}.", _BYTES.get(key, "all"))
        for key, what in ADDITIONS.items()
    )


def _matrix() -> str:
    """Return which additions each algorithm allows, and the numbered reasons where it does not."""
    reasons = list(
        dict.fromkeys(
            algorithm.incompatible[key]
            for _, algorithm in _documented_algorithms()
            for key in ADDITIONS
            if key in algorithm.incompatible
        )
    )
    rows = [
        (f"`{name}`", *(str(reasons.index(a.incompatible[key]) + 1) if key in a.incompatible else "+" for key in ADDITIONS))
        for name, a in _documented_algorithms()
    ]
    notes = "\n".join(f"{k}. {reason[0].upper()}{reason[1:]}." for k, reason in enumerate(reasons, start=1))
    return _MATRIX_NOTE + _table(("", *(f"`{key}`" for key in ADDITIONS)), rows) + f"\n\n{notes}\n"


def _contributions() -> Iterator[str]:
    names = [name for name, _ in _documented_algorithms()]
    yield f"`leave-one-out`, `shapley`: {_format_names(name for name in names if name in MEAN_ALGORITHMS)}"
    yield f"`alignment`: all but {_format_names(name for name in ALGORITHMS if any(contribution_conflicts(name, 'alignment')))}"


def _format_names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(build_page())
