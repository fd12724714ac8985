"""Golden probabilities of SciPy's signed-rank test, one-sided, with zeros split.

usage: python signed_rank.py OUT.jsonl      (needs scipy; written with 1.17.1)
"""
import json, random, sys, warnings
from scipy.stats import wilcoxon

warnings.simplefilter("ignore")
random.seed(3)
with open(sys.argv[1], "w") as file:
    for n in [1, 2, 3, 5, 10, 13, 14, 30, 50, 51, 80]:
        # Without ties; with ties; with zeros too; all alike.
        for draw in [lambda: random.gauss(0.2, 1), lambda: random.choice([-3, -2, -1, 1, 2, 3]), lambda: random.randint(-2, 3), lambda: 1]:
            differences = [float(draw()) for _ in range(n)]
            p = wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
            file.write(json.dumps({"differences": differences, "p": float(p)}) + "\n")
    zeros = [0.0] * 5
    file.write(json.dumps({"differences": zeros, "p": float(wilcoxon(zeros, alternative="greater", zero_method="zsplit").pvalue)}) + "\n")
