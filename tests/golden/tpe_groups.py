"""Golden parts of spaces: what Optuna's TPESampler(group=True) searches jointly after trials with these parameters.

usage: python tpe_groups.py OUT.jsonl      (needs optuna; written with 5.0.0)
"""
import json, random, sys
from optuna.distributions import FloatDistribution
from optuna.search_space.group_decomposed import _SearchSpaceGroup

random.seed(5)
names = "abcdefg"
# By hand: all alike, branches that share a parameter, a branch in a branch.
histories = [
    [["a", "b"], ["a", "b"]],
    [["a", "b"], ["a", "c"]],
    [["a", "b", "c"], ["a", "d", "e"], ["a", "d"]],
    [["a"], ["b"], ["a", "b"]],
    [[], ["a"]],
]
histories += [[[name for name in names if random.random() < share] for _ in range(trials)]
              for share in (0.3, 0.6, 0.9) for trials in (1, 2, 3, 5, 9)]

with open(sys.argv[1], "w") as file:
    for history in histories:
        group = _SearchSpaceGroup()
        for trial in history:
            group.add_distributions({name: FloatDistribution(0, 1) for name in trial})
        parts = sorted(sorted(part) for part in group.search_spaces)
        file.write(json.dumps({"trials": history, "parts": parts}) + "\n")
