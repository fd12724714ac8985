"""Golden folds of scikit-learn: the validation rows of each fold, for data and seeds of all sorts.

usage: python folds.py OUT.jsonl      (needs scikit-learn; written with 1.9.1)
"""
import json, sys, warnings
import numpy as np
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, RepeatedStratifiedKFold, StratifiedGroupKFold, StratifiedKFold

warnings.simplefilter("ignore")
random = np.random.RandomState(17)


def folds(splitter, rows, labels=None, groups=None):
    return [test.tolist() for _, test in splitter.split(np.zeros((rows, 1)), labels, groups)]


def shuffled(seed):
    return dict(shuffle=seed is not None, random_state=seed)


def cases():
    for rows, k in [(2, 2), (7, 3), (10, 5), (23, 4), (100, 10), (257, 5), (1797, 5)]:
        for seed in [None, 0, 1, 42, 4294967295]:
            yield dict(kind="plain", folds=k, seed=seed, repeats=1, rows=rows), folds(KFold(k, **shuffled(seed)), rows)
    for rows, k, seed, repeats in [(7, 3, 0, 2), (50, 5, 7, 10)]:
        splitter = RepeatedKFold(n_splits=k, n_repeats=repeats, random_state=seed)
        yield dict(kind="plain", folds=k, seed=seed, repeats=repeats, rows=rows), folds(splitter, rows)
    # Labels: alike, unlike, in blocks, a class rarer than the folds, numbers that are not in order of appearance.
    labellings = [
        random.randint(0, 3, 40), random.choice(10, 120, p=[0.3, 0.2] + [0.0625] * 8), np.repeat([2, 0, 1], [20, 11, 7]),
        np.array([9, 9, 9, 9, 9, 4, 4, 4, 4, 1, 1]), np.array([0, 1] * 8 + [2]),
    ]
    for labels in labellings:
        for k, seed in [(2, None), (5, None), (2, 0), (3, 42), (5, 3)]:
            inputs = dict(kind="stratified", folds=k, seed=seed, repeats=1, labels=labels.tolist())
            yield inputs, folds(StratifiedKFold(k, **shuffled(seed)), len(labels), labels)
    splitter = RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=11)
    inputs = dict(kind="stratified", folds=4, seed=11, repeats=3, labels=labellings[0].tolist())
    yield inputs, folds(splitter, 40, labellings[0])
    # Groups of one size, of many sizes, single rows.
    groupings = [np.repeat(range(6), 4), random.randint(0, 12, 60), random.permutation(15), random.choice(8, 50, p=np.arange(1, 9) / 36)]
    for groups in groupings:
        for k, seed in [(2, None), (3, None), (5, None), (2, 0), (3, 42), (5, 6)]:
            inputs = dict(kind="grouped", folds=k, seed=seed, repeats=1, groups=groups.tolist())
            yield inputs, folds(GroupKFold(k, **shuffled(seed)), len(groups), None, groups)
    # Both: few classes and many, one class alone, a class that some groups have alone, groups that are alike, single rows.
    def both(rows, classes, groups):
        return random.randint(0, classes, rows), random.randint(0, groups, rows)
    pairs = [
        both(60, 2, 12), both(120, 3, 25), both(200, 12, 40), both(400, 9, 90), both(50, 1, 10),
        (np.repeat([0, 1, 2], 20), np.repeat(range(12), 5)), (np.tile([0, 1, 2, 3], 15), np.repeat(range(15), 4)),
        (random.choice(3, 90, p=[0.8, 0.15, 0.05]), random.choice(20, 90, p=np.arange(1, 21) / 210)), (random.randint(0, 2, 30), random.permutation(30)),
    ]
    for labels, groups in pairs:
        for k, seed in [(2, None), (3, None), (5, None), (8, None), (2, 0), (3, 42), (5, 6), (8, 1)]:
            inputs = dict(kind="both", folds=k, seed=seed, repeats=1, labels=labels.tolist(), groups=groups.tolist())
            yield inputs, folds(StratifiedGroupKFold(k, **shuffled(seed)), len(groups), labels, groups)


with open(sys.argv[1], "w") as file:
    for inputs, validation in cases():
        file.write(json.dumps(inputs | {"validation": validation}) + "\n")
