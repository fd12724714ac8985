"""Golden decisions of Optuna's WilcoxonPruner: the folds of a trial, those of the best one, and whether it is pruned.

usage: python fold_stopping.py OUT.jsonl      (needs optuna 5.0.0 from PyPI, and scipy)
"""
import json, random, sys, warnings
import optuna
from optuna.trial import TrialState, create_trial

assert optuna.__version__ == "5.0.0", optuna.__version__
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore")
random.seed(8)


def stops(own, best, p, maximize):
    study = optuna.create_study(direction="maximize" if maximize else "minimize", pruner=optuna.pruners.WilcoxonPruner(p_threshold=p))
    mean = sum(metric for _, metric in best) / len(best)
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=mean, intermediate_values=dict(best)))
    trial = study.ask()
    for fold, metric in own:
        trial.report(metric, fold)
    return trial.should_prune()


with open(sys.argv[1], "w") as file:
    found = []
    for folds in [1, 2, 3, 4, 5, 8, 10, 20]:
        for shift in [-0.1, 0.0, 0.05, 0.1, 0.3]:
            for p, maximize in [(0.1, False), (0.1, True), (0.3, False)]:
                sign = -1 if maximize else 1
                best = [(fold, round(0.5 + random.gauss(0, 0.1), 2)) for fold in range(folds)]
                own = [(fold, round(metric + sign * shift + random.gauss(0, 0.05), 2)) for fold, metric in best]
                own = own[: random.randint(1, folds)]
                found.append(stops(own, best, p, maximize))
                file.write(json.dumps({"own": own, "best": best, "p": p, "maximize": maximize, "stops": found[-1]}) + "\n")
    assert 20 < sum(found) < len(found) - 20, sum(found)
