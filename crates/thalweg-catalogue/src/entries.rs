//! Settings with which each rule reaches the minimum, found by a coarse search. There is one entry per rule. The descent tests
//! check the rules with them, and the program `thalweg-catalogue` draws them.

use thalweg::schedule::factor_by_name;
use thalweg::{AnyRule, Recipe, Result, Select, rule_by_name, rules, set};

/// A rule, when to use it, and its settings for each task.
#[derive(Debug)]
pub struct Entry {
    pub rule: &'static str,
    /// When to use it.
    pub when: &'static str,
    pub rosenbrock: Run,
    pub quadratic: Run,
    pub digits: Run,
    /// Rows per step on the digits.
    pub batch: usize,
}

/// How to run a rule on a task.
#[derive(Debug)]
pub struct Run {
    pub settings: &'static str,
    /// Rule and settings of tensors that are not matrices, if they differ from the others.
    pub others: &'static str,
    /// The name of a schedule of the learning rate over the whole run; empty: the rate stays.
    pub schedule: &'static str,
    /// In steps; on the digits, in epochs.
    pub length: usize,
}

const fn run(settings: &'static str, schedule: &'static str, length: usize) -> Run {
    Run { settings, others: "", schedule, length }
}

/// The command line's default.
const BATCH: usize = 64;
/// More rows than the data have, which means all of them.
const ALL: usize = 10_000;

pub const CATALOGUE: &[Entry] = &[
    Entry {
        rule: "sgd",
        when: "the baseline; with momentum and a tuned rate hard to beat, and the least memory",
        rosenbrock: run("lr=0.001 momentum=0.95", "", 1_000),
        quadratic: run("lr=0.01 momentum=0.98", "", 1_000),
        digits: run("lr=0.2 momentum=0.9", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "rmsprop",
        when: "gradients whose size drifts, as in reinforcement learning",
        rosenbrock: run("lr=0.01 alpha=0.9 momentum=0.9", "cosine", 1_000),
        quadratic: run("lr=0.2 alpha=0.9 momentum=0.9", "cosine", 2_000),
        digits: run("lr=0.01 alpha=0.9", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "adam",
        when: "a first try without weight decay",
        rosenbrock: run("lr=0.1 beta2=0.95", "cosine", 1_000),
        quadratic: run("lr=0.5 beta2=0.95", "cosine", 2_000),
        digits: run("lr=0.01", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "adamw",
        when: "the default: a first try, and most networks after it",
        // Weight decay would move the minimum; without it, the rule is Adam.
        rosenbrock: run("lr=0.1 beta2=0.95 weight_decay=0", "cosine", 1_000),
        quadratic: run("lr=0.5 beta2=0.95 weight_decay=0", "cosine", 2_000),
        digits: run("lr=0.01", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "adagrad",
        when: "sparse gradients and convex problems; its rate only falls, so long runs stall",
        rosenbrock: run("lr=0.5", "", 8_000),
        quadratic: run("lr=1", "", 20_000),
        digits: run("lr=0.05", "", 15),
        batch: BATCH,
    },
    Entry {
        rule: "radam",
        when: "Adam where there is no warm-up",
        rosenbrock: run("lr=0.005 beta2=0.95", "cosine", 1_000),
        quadratic: run("lr=0.01 beta2=0.95", "", 2_000),
        digits: run("lr=0.02 beta2=0.99", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "adamax",
        when: "Adam where single gradients are far larger than the rest",
        rosenbrock: run("lr=0.1 beta2=0.95", "cosine", 1_000),
        quadratic: run("lr=0.3 beta1=0.95 beta2=0.99", "", 2_000),
        digits: run("lr=0.03", "cosine", 15),
        batch: BATCH,
    },
    Entry {
        rule: "adadelta",
        when: "parameters of unknown units; slow to start",
        rosenbrock: run("lr=1 rho=0.99", "cosine", 8_000),
        quadratic: run("lr=2 rho=0.99", "cosine", 15_000),
        digits: run("lr=2 eps=1e-4", "cosine", 15),
        batch: BATCH,
    },
    Entry {
        rule: "nadam",
        when: "Adam with a look ahead",
        rosenbrock: run("lr=0.02 beta2=0.95", "cosine", 4_000),
        quadratic: run("lr=2 beta2=0.95", "cosine", 6_000),
        digits: run("lr=0.02", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "asgd",
        when: "convex problems with noise, where the average of the path is the answer",
        rosenbrock: run("lr=0.002 lambd=0", "", 8_000),
        // Plain descent needs a number of steps in proportion to the condition; from lr = 0.02 on it diverges.
        quadratic: run("lr=0.018 lambd=0", "", 30_000),
        digits: run("lr=0.5 lambd=0", "cosine", 20),
        batch: BATCH,
    },
    Entry {
        rule: "rprop",
        when: "whole data sets at once, never batches",
        rosenbrock: run("lr=0.001 step_max=0.1", "", 4_000),
        quadratic: run("lr=0.0003", "", 4_000),
        digits: run("lr=0.001 step_max=0.1", "", 60),
        batch: ALL,
    },
    Entry {
        rule: "lion",
        when: "half of Adam's memory; wants a smaller rate, more decay and a rate that ends at 0",
        rosenbrock: run("lr=0.02", "cosine", 2_000),
        quadratic: run("lr=0.05 beta1=0.98 beta2=0.99", "cosine", 3_000),
        digits: run("lr=0.01 weight_decay=1", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "lars",
        when: "very large batches of images; the trust coefficient wants tuning with the rate",
        rosenbrock: run("lr=0.01 momentum=0.8 trust_coefficient=1 always_adapt=true", "cosine", 4_000),
        quadratic: run("lr=0.01 momentum=0.9 trust_coefficient=1 always_adapt=true", "cosine", 6_000),
        digits: run("lr=1 momentum=0.9 trust_coefficient=0.02 weight_decay=0.001", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "lamb",
        when: "very large batches where Adam is at home",
        rosenbrock: run("lr=0.1 beta2=0.9 weight_decay=0 always_adapt=true", "cosine", 4_000),
        quadratic: run("lr=0.03 beta2=0.95 weight_decay=0 always_adapt=true", "cosine", 6_000),
        digits: run("lr=0.03", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "novograd",
        when: "half of Adam's memory; gradients whose size differs from tensor to tensor",
        rosenbrock: run("lr=0.01", "cosine", 4_000),
        quadratic: run("lr=0.01", "cosine", 2_000),
        digits: run("lr=0.1 weight_decay=0.001", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "ademamix",
        when: "long runs, where old gradients still tell; more memory than Adam",
        rosenbrock: run("lr=0.02 beta2=0.95 beta3=0.99 alpha=0.5 weight_decay=0", "cosine", 1_000),
        quadratic: run("lr=0.3 beta2=0.95 beta3=0.99 alpha=2 weight_decay=0", "cosine", 2_000),
        // A few hundred steps are short for a mean over 10,000.
        digits: run("lr=0.02 beta3=0.99 alpha=2", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "adan",
        when: "where twice Adam's memory is no matter; takes large rates",
        rosenbrock: run("lr=0.1 beta3=0.95 weight_decay=0", "cosine", 4_000),
        quadratic: run("lr=0.1 beta1=0.9 weight_decay=0", "cosine", 6_000),
        digits: run("lr=0.05 beta1=0.9", "cosine", 10),
        batch: BATCH,
    },
    Entry {
        rule: "schedulefree",
        when: "runs whose length nobody knows: no schedule, and good whenever one stops",
        rosenbrock: run("lr=0.03 beta1=0.98 beta2=0.95 r=6 weight_lr_power=0 weight_decay=0", "", 1_000),
        quadratic: run("lr=0.03 beta1=0.98 beta2=0.95 r=6 weight_lr_power=0 weight_decay=0", "", 2_000),
        digits: run("lr=0.02 warmup_steps=50", "", 10),
        batch: BATCH,
    },
    Entry {
        rule: "muon",
        when: "hidden matrices of networks; everything else wants another rule, such as AdamW",
        // On one row or on a square its steps are as long as the rate, so the rate has to fall.
        rosenbrock: run("lr=0.03 momentum=0.9 weight_decay=0", "cosine", 2_000),
        quadratic: run("lr=0.03 momentum=0.9 weight_decay=0", "cosine", 3_000),
        digits: Run { others: "adamw lr=0.01", ..run("lr=0.05", "cosine", 10) },
        batch: BATCH,
    },
    Entry {
        rule: "adafactor",
        when: "large matrices where memory is short; steps as long as the parameters need little tuning",
        rosenbrock: run("lr=0.02", "cosine", 7_000),
        quadratic: run("lr=0.02", "cosine", 7_000),
        digits: run("lr=0.2", "cosine", 10),
        batch: BATCH,
    },
];

/// The entries of all registered rules, in their order. Panics if a rule has none.
pub fn entries() -> Vec<&'static Entry> {
    rules().iter().map(|rule| entry(rule.name()).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// The entry of a rule, or what to do about it.
pub fn entry(rule: &str) -> std::result::Result<&'static Entry, String> {
    let found = CATALOGUE.iter().find(|entry| entry.rule == rule);
    found.ok_or_else(|| format!("rule {rule} has no entry in crates/thalweg-catalogue/src/entries.rs"))
}

impl Run {
    /// The recipe of a rule for a run of `steps` steps.
    pub fn recipe(&self, rule: &str, steps: usize) -> Result<Recipe> {
        let mut recipe = Recipe::new(with(rule, self.settings));
        if let Some((rule, settings)) = self.others.split_once(' ') {
            recipe = recipe.group_of("others", Select::Below(2), with(rule, settings));
        }
        if self.schedule.is_empty() {
            return Ok(recipe);
        }
        Ok(recipe.scale("lr", factor_by_name(self.schedule, &[("steps", &steps.to_string())])?))
    }
}

/// A rule by name, with settings written as `name=value`, separated by blanks.
pub fn with(name: &str, settings: &str) -> Box<dyn AnyRule> {
    let mut rule = rule_by_name(name).expect("a registered rule");
    for setting in settings.split_whitespace() {
        let (key, value) = setting.split_once('=').expect("name=value");
        set(&mut *rule, key, value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    rule.check().unwrap_or_else(|error| panic!("{name} {settings}: {error}"));
    rule
}
