//! The bounds of the parity tests are tight: mistakes that a loose tolerance would let pass are far outside.

use crate::common::model::Model;
use crate::common::numbers::{STEPS, gradient, numbers};
use crate::common::options::{OPTIONS, options, with};
use crate::common::oracle::Oracle;
use thalweg::cpu::Cpu;
use thalweg::{Adam, AnyRule, Real, Recipe, Result, Rule, Setting, Settings, set};

const LEN: usize = 1000;
/// A mistake must be this many times the bound, in most parameters.
const FAR: f64 = 20.0;

/// The share of parameters in which a wrong rule is [`FAR`] outside the bound of the right one after all steps.
fn far_outside(right: &dyn AnyRule, wrong: Box<dyn AnyRule>) -> f64 {
    let params = numbers(1, LEN);
    let mut oracle = Oracle::new(&Recipe::new(right.boxed()), right, &[LEN], &params);
    let mut mistaken = Model::new(&Cpu::<f64>::default(), Recipe::new(wrong.clone()), &*wrong, &[LEN]);
    mistaken.set_params(0, &params);
    for t in 1..=STEPS {
        let grads = gradient(2, t, LEN);
        oracle.step(&grads);
        mistaken.set_grads(0, &grads);
        mistaken.step();
    }
    oracle.outside(&mut mistaken, FAR)
}

#[test]
fn the_right_rule_is_inside() {
    for (name, rule) in options() {
        assert_eq!(far_outside(&*rule, rule.clone()), 0.0, "{name}");
    }
}

#[test]
fn half_the_learning_rate_is_far_outside() {
    for (name, rule) in options() {
        let mut wrong = rule.clone();
        // Vectors go by another rate than Muon's matrices.
        let rate = if rule.name() == "muon" { "adamw_lr" } else { "lr" };
        match wrong.settings().into_iter().find(|(name, _)| *name == rate) {
            Some((_, Setting::Number(lr))) => *lr /= 2.0,
            other => panic!("{name}: {other:?} is no learning rate"),
        }
        let share = far_outside(&*rule, wrong);
        assert!(share > 0.8, "{name}: only {share} of the parameters");
    }
}

#[test]
fn a_missing_weight_decay_is_far_outside() {
    // NovoGrad's gradients are so small, divided by a norm, that its decay has to be smaller yet; tests/golden/layerwise.jsonl has it.
    let decaying = OPTIONS.iter().filter(|(name, _)| *name != "novograd").filter(|(_, settings)| {
        let decay = settings.split_whitespace().find_map(|setting| setting.strip_prefix("weight_decay="));
        decay.is_some_and(|decay| decay != "0")
    });
    for (name, settings) in decaying {
        let rule = with(name, settings);
        let mut wrong = rule.clone();
        set(&mut *wrong, "weight_decay", "0").expect("a weight decay");
        let share = far_outside(&*rule, wrong);
        assert!(share > 0.5, "{name} {settings}: only {share} of the parameters");
    }
}

/// Adam with epsilon inside the root.
#[derive(Debug, Clone)]
struct EpsilonInside(Adam);

impl Rule for EpsilonInside {
    type Row<F: Real> = [F; 6];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "epsilon inside";
    const FORMULA: &'static str = "x −= (lr/c₁)·m / √(v/c₂ + eps)";
    const WGSL: &'static str = "";
    const ROW: &'static [&'static str] = Adam::ROW;
    const STATE: &'static [&'static str] = Adam::STATE;

    fn check(&self) -> Result<()> {
        Rule::check(&self.0)
    }

    fn lr(&self) -> f64 {
        self.0.lr
    }

    fn settings(&mut self) -> Settings<'_> {
        Rule::settings(&mut self.0)
    }

    fn row(&self, t: u64) -> [f64; 6] {
        self.0.row(t)
    }

    fn update<F: Real>(&self, row: &[F; 6], x: F, d: F, state: &mut [F; 3]) -> F {
        let &[step_size, rate1, beta2, rate2, root_c2, eps] = row;
        let [m, v, _] = state;
        *m += rate1 * (d - *m);
        *v = beta2 * *v + rate2 * d * d;
        x - step_size * *m / ((*v + eps).sqrt() / root_c2)
    }
}

#[test]
fn epsilon_inside_the_root_is_far_outside() {
    let adam = Adam { lr: 0.02, eps: 0.01, ..Default::default() };
    let share = far_outside(&adam, Box::new(EpsilonInside(adam.clone())));
    assert!(share > 0.8, "only {share} of the parameters");
}
