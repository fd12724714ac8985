//! Settings to try each rule with.

use thalweg::{AnyRule, Setting, range, rules};
pub use thalweg_catalogue::with;

/// Rule and settings. Learning rates are large enough for a movement far above f32's resolution of the parameters.
pub const OPTIONS: &[(&str, &str)] = &[
    ("sgd", "lr=0.05"),
    ("sgd", "lr=0.05 weight_decay=0.1 maximize=true"),
    ("sgd", "lr=0.05 momentum=0.9 dampening=0.3 weight_decay=0.1"),
    ("sgd", "lr=0.05 momentum=0.9 nesterov=true"),
    ("sgd", "lr=0.05 momentum=0.9 dampening=0.3 lr_inside=true"),
    ("rmsprop", "lr=0.02 alpha=0.9"),
    ("rmsprop", "lr=0.02 alpha=0.9 centered=true weight_decay=0.1"),
    ("rmsprop", "lr=0.02 alpha=0.95 momentum=0.9 eps=0.01"),
    ("rmsprop", "lr=0.02 alpha=0.9 momentum=0.5 centered=true maximize=true"),
    ("rmsprop", "lr=0.02 alpha=0.9 momentum=0.9 centered=true eps=0.01 eps_inside=true lr_inside=true"),
    ("adam", "lr=0.02"),
    ("adam", "lr=0.02 beta1=0.8 beta2=0.95 eps=0.01 weight_decay=0.1"),
    ("adam", "lr=0.02 beta1=0 amsgrad=true maximize=true"),
    ("adam", "lr=0.02 eps=0.01 eps_hat=true"),
    ("adamw", "lr=0.02 weight_decay=0.1"),
    ("adamw", "lr=0.02 weight_decay=0.01 independent_weight_decay=true"),
    ("adamw", "lr=0.02 beta1=0.95 beta2=0.9999 eps=0.01 weight_decay=0.1 amsgrad=true"),
    ("adagrad", "lr=0.05"),
    ("adagrad", "lr=0.05 lr_decay=0.1 weight_decay=0.1 initial_accumulator_value=0.5 eps=0.01 maximize=true"),
    ("adagrad", "lr=0.05 initial_accumulator_value=0.1 eps=0.01 eps_inside=true"),
    ("radam", "lr=0.02"),
    // Rectified from step 5 on.
    ("radam", "lr=0.02 beta1=0.8 beta2=0.9 eps=0.01 weight_decay=0.1 maximize=true"),
    ("radam", "lr=0.02 beta2=0.95 weight_decay=0.1 decoupled_weight_decay=true"),
    ("adamax", "lr=0.02"),
    ("adamax", "lr=0.02 beta1=0.8 beta2=0.9 eps=0.01 weight_decay=0.1 maximize=true"),
    ("adadelta", "lr=1 eps=0.001"),
    ("adadelta", "lr=0.5 rho=0.7 eps=0.01 weight_decay=0.1 maximize=true"),
    ("nadam", "lr=0.02"),
    ("nadam", "lr=0.02 beta1=0.8 beta2=0.95 eps=0.01 momentum_decay=0.5 weight_decay=0.1 maximize=true"),
    ("nadam", "lr=0.02 momentum_decay=0 weight_decay=0.1 decoupled_weight_decay=true"),
    ("asgd", "lr=0.05"),
    ("asgd", "lr=0.05 lambd=0.1 alpha=0.6 t0=2 weight_decay=0.1 maximize=true"),
    // The signs of the gradients are those of the given numbers: there is no arithmetic before them.
    ("rprop", "lr=0.02"),
    ("rprop", "lr=0.05 eta_minus=0.3 eta_plus=1.5 step_min=0.02 step_max=0.06 maximize=true"),
    // Lion steps by the sign of a sum. Where the sum nearly cancels, an engine may get the other sign. Here one part always
    // outweighs the other: gradients of a size between 0.5 and 2, or 0, weigh more than their mean, or much less.
    ("lion", "lr=0.02 beta1=0.1 beta2=0.5 weight_decay=0.1"),
    ("lion", "lr=0.02 beta1=0.9 beta2=0.999 maximize=true"),
    ("lion", "lr=0.02 beta1=0.995 beta2=0.05"),
    ("lars", "lr=0.05 momentum=0.9 trust_coefficient=0.5 weight_decay=0.1"),
    ("lars", "lr=0.05 trust_coefficient=0.3 always_adapt=true trust_clip=true maximize=true"),
    ("lamb", "lr=0.02 weight_decay=0.1"),
    ("lamb", "lr=0.02 beta1=0.8 beta2=0.9 weight_decay=0 always_adapt=true grad_averaging=false trust_clip=true maximize=true"),
    // A gradient over its norm is small; more decay could cancel it.
    ("novograd", "lr=0.02 beta1=0.8 beta2=0.9 weight_decay=1e-5"),
    ("novograd", "lr=0.5 grad_averaging=true maximize=true"),
    ("ademamix", "lr=0.02"),
    (
        "ademamix",
        "lr=0.02 beta1=0.8 beta2=0.95 beta3=0.99 alpha=2 t_alpha=5 t_beta3=10 eps=0.01 weight_decay=0.1 maximize=true",
    ),
    ("adan", "lr=0.02"),
    ("adan", "lr=0.02 beta1=0.9 beta2=0.8 beta3=0.95 eps=0.01 weight_decay=0.1 maximize=true"),
    ("adan", "lr=0.02 weight_decay=0.1 no_prox=true"),
    ("adafactor", "lr=0.02"),
    ("adafactor", "lr=0.05 beta2_decay=-0.5 eps1=1e-5 eps2=0.1 d=1.5 weight_decay=0.1 maximize=true"),
    ("schedulefree", "lr=0.02"),
    (
        "schedulefree",
        "lr=0.02 beta1=0.8 beta2=0.95 eps=0.01 weight_decay=0.1 warmup_steps=3 r=0.5 weight_lr_power=1 maximize=true",
    ),
];

/// The rules of [`OPTIONS`] with a name for messages. Panics if a registered rule has fewer than two sets of options; a rule
/// for matrices only has tests of its own.
pub fn options() -> Vec<(String, Box<dyn AnyRule>)> {
    for rule in rules().into_iter().filter(|rule| rule.orthogonal().is_none()) {
        let sets = OPTIONS.iter().filter(|(name, _)| *name == rule.name()).count();
        assert!(sets >= 2, "rule {} has {sets} sets of options in tests/common/options.rs, at least 2 are wanted", rule.name());
    }
    OPTIONS.iter().map(|(name, settings)| (format!("{name} {settings}"), with(name, settings))).collect()
}

/// Three rules for three lanes or groups: this one, and two that differ from it in every number that is not 0. All three share
/// one kernel.
pub fn siblings(rule: &dyn AnyRule) -> [Box<dyn AnyRule>; 3] {
    [0.0, 1.0, 2.0].map(|k| {
        let mut sibling = rule.boxed();
        for (name, setting) in sibling.settings() {
            if let Setting::Number(number) = setting {
                // A fraction stays below 1, anything else may grow.
                *number *= if range::fraction(name, *number).is_ok() { 1.0 - 0.2 * k } else { 1.0 + k };
            }
        }
        sibling.check().unwrap_or_else(|error| panic!("{sibling:?}: {error}"));
        sibling
    })
}
