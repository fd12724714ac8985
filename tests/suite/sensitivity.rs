//! The bounds of the parity tests are tight: mistakes that would pass a loose tolerance are far outside.

use crate::common::model::Model;
use crate::common::numbers::{STEPS, gradient, numbers};
use crate::common::options::{OPTIONS, options, with};
use crate::common::oracle::Oracle;
use thalweg::cpu::Cpu;
use thalweg::{Adam, AnyRule, Configure, HyperRow, Real, Recipe, Result, Rule, Setting, Settings, set};

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

/// Parameters before and after the first step.
fn first_step(rule: &dyn AnyRule) -> (Vec<f64>, Vec<f64>) {
    let params = numbers(1, LEN);
    let mut model = Model::new(&Cpu::<f64>::default(), Recipe::new(rule.boxed()), rule, &[LEN]);
    model.set_params(0, &params);
    model.set_grads(0, &gradient(2, 1, LEN));
    model.step();
    (params.into_iter().map(f64::from).collect(), model.params(0))
}

/// The distance between the first steps of a wrong rule and of the right one, for each element.
fn planted(right: &dyn AnyRule, wrong: &dyn AnyRule) -> Vec<f64> {
    let ((_, right), (_, wrong)) = (first_step(right), first_step(wrong));
    right.iter().zip(wrong).map(|(right, wrong)| (right - wrong).abs()).collect()
}

/// Panics where a planted error is more than twice, or less than half, of what it claims to be.
fn assert_planted(what: &str, found: &[f64], claimed: impl Fn(usize) -> f64) {
    for (i, &found) in found.iter().enumerate() {
        let claimed = claimed(i);
        let near = found <= 2.0 * claimed && claimed <= 2.0 * found;
        assert!(near && claimed > 0.0, "{what}, element {i}: the planted error is {found}, it claims {claimed}");
    }
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
        match wrong.settings().into_iter().find(|(name, _)| *name == "lr") {
            Some((_, Setting::Number(lr))) => *lr /= 2.0,
            other => panic!("{name}: {other:?} is no learning rate"),
        }
        let (before, after) = first_step(&*rule);
        // A decay that is independent of the rate stays as it is.
        let [decay, other] = [&rule, &wrong].map(|rule| rule.hyper_row(1).0[HyperRow::DECAY]);
        let stays = if decay == other { decay } else { 1.0 };
        let half = |i: usize| 0.5 * (after[i] - stays * before[i]).abs();
        assert_planted(&name, &planted(&*rule, &*wrong), half);
        let share = far_outside(&*rule, wrong);
        assert!(share > 0.8, "{name}: only {share} of the parameters");
    }
}

#[test]
fn a_missing_weight_decay_is_far_outside() {
    // NovoGrad's gradients are divided by a norm and so small that its decay has to be even smaller;
    // tests/golden/layerwise.jsonl tests it.
    let decaying = OPTIONS.iter().filter(|(name, _)| *name != "novograd").filter(|(_, settings)| {
        let decay = settings.split_whitespace().find_map(|setting| setting.strip_prefix("weight_decay="));
        decay.is_some_and(|decay| decay != "0")
    });
    for (name, settings) in decaying {
        let rule = with(name, settings);
        let mut wrong = rule.clone();
        set(&mut *wrong, "weight_decay", "0").expect("a weight decay");
        if wrong.settings().iter().any(|(name, _)| *name == "always_adapt") {
            // Without a decay these rules do not adapt either, which would be a far larger mistake.
            set(&mut *wrong, "always_adapt", "true").expect("a switch");
        }
        // The rows differ by the decay alone: λ where it is a penalty or independent of the rate, lr·λ where it shrinks with
        // the rate.
        let lambda = settings.split_whitespace().find_map(|setting| setting.strip_prefix("weight_decay=")?.parse().ok());
        let lambda: f64 = lambda.expect("a weight decay");
        let (right, without) = (rule.hyper_row(1).0, wrong.hyper_row(1).0);
        let planted: Vec<f64> = right.iter().zip(without).filter(|(a, b)| *a != b).map(|(a, b)| (a - b).abs()).collect();
        let claims = [lambda, rule.lr() * lambda];
        let near = |claim: &f64| planted.iter().all(|planted| *planted <= 2.0 * claim && *claim <= 2.0 * planted);
        assert!(
            !planted.is_empty() && claims.iter().any(near),
            "{name} {settings}: {planted:?} is planted, {claims:?} is claimed"
        );
        let share = far_outside(&*rule, wrong);
        assert!(share > 0.5, "{name} {settings}: only {share} of the parameters");
    }
}

/// Adam with epsilon inside the root.
#[derive(Debug, Clone)]
struct EpsilonInside(Adam);

impl Configure for EpsilonInside {
    fn check_ranges(&self) -> Result<()> {
        self.0.check_ranges()
    }

    fn settings(&mut self) -> Settings<'_> {
        Configure::settings(&mut self.0)
    }
}

impl Rule for EpsilonInside {
    type Hyper<F: Real> = [F; 6];
    type State<F: Real> = [F; 3];
    const NAME: &'static str = "epsilon inside";
    const FORMULA: &'static str = "x −= (lr/c₁)·m / √(v/c₂ + eps)";
    const WGSL: &'static str = "";
    const HYPER: &'static [&'static str] = Adam::HYPER;
    const STATE: &'static [&'static str] = Adam::STATE;

    fn lr(&self) -> f64 {
        self.0.lr
    }

    fn hyper(&self, t: u64) -> [f64; 6] {
        self.0.hyper(t)
    }

    fn update<F: Real>(&self, row: &[F; 6], x: F, d: F, state: &mut [F; 3]) -> F {
        // By name, since a row may change its order or its contents.
        let scalar = |name| row[Adam::HYPER.iter().position(|own| *own == name).expect("a scalar of Adam's row")];
        let [m, v, _] = state;
        *m += scalar("rate1") * (d - *m);
        *v = scalar("beta2") * *v + scalar("rate2") * d * d;
        let unbias2 = scalar("unbias2");
        x - scalar("step_size") * *m / (*v * unbias2 * unbias2 + scalar("eps")).sqrt()
    }
}

#[test]
fn epsilon_inside_the_root_is_far_outside() {
    // With gradients of a half the mistake has no effect, whatever epsilon is; elsewhere it is large enough.
    let adam = Adam { lr: 0.02, eps: 0.1, ..Default::default() };
    let wrong = EpsilonInside(adam.clone());
    // The corrected moments of the first step are d and d².
    let grads: Vec<f64> = gradient(2, 1, LEN).into_iter().map(f64::from).collect();
    let step = |root: &dyn Fn(f64) -> f64, d: f64| adam.lr * d / root(d);
    let claimed = |i: usize| (step(&|d| (d * d + adam.eps).sqrt(), grads[i]) - step(&|d| d.abs() + adam.eps, grads[i])).abs();
    assert_planted("epsilon inside the root", &planted(&adam, &wrong), claimed);
    let share = far_outside(&adam, Box::new(wrong));
    assert!(share > 0.8, "only {share} of the parameters");
}

#[test]
fn a_planted_error_of_another_size_is_noticed() {
    assert_planted("as claimed", &[1.0, 2.0, 0.5], |_| 1.0);
    for found in [2.1, 0.49, 0.0, f64::NAN, f64::INFINITY] {
        assert!(std::panic::catch_unwind(|| assert_planted("another", &[found], |_| 1.0)).is_err(), "{found}");
    }
}
