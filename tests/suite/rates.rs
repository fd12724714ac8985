//! Running means with rates of 0 and 1 are exact, and with rates near 1 a small value is not lost beside a large one.

use crate::common::engines;
use thalweg::cpu::Cpu;
use thalweg::plan::Engine;
use thalweg::{Adafactor, Adam, Adan, AnyRule, Average, Lookahead, Muon, NAdam, Optimizer, Real, Recipe, Sgd};

/// The parameters after each gradient.
fn run<E: Engine>(engine: &E, recipe: Recipe, shape: &[usize], x: f64, grads: &[f64]) -> Vec<f64> {
    let len = shape.iter().product::<usize>();
    let mut optimizer = Optimizer::new(engine, recipe, &[("x", shape)]).expect("an optimizer");
    optimizer.set_params("x", &vec![E::Float::of(x); len]).expect("parameters");
    let step = |&g: &f64| {
        optimizer.set_grads("x", &vec![E::Float::of(g); len]).expect("gradients");
        optimizer.step().expect("a step");
        optimizer.params("x").expect("parameters")[0].as_f64()
    };
    grads.iter().map(step).collect()
}

#[test]
fn a_rule_without_memory_takes_a_small_gradient_after_a_large_one() {
    let betas = (0.0, 0.0);
    let rules: [Box<dyn AnyRule>; 3] = [
        Adam { lr: 0.1, betas, eps: 1e-20, ..Default::default() }.into(),
        NAdam { lr: 0.1, betas, eps: 1e-20, ..Default::default() }.into(),
        Adan { lr: 0.1, betas: (0.0, 0.0, 0.0), eps: 1e-20, ..Default::default() }.into(),
    ];
    for rule in rules {
        let expected = run(&Cpu::<f64>::default(), Recipe::new(rule.clone()), &[1], 0.0, &[1.0, 1e-9, 1e-9]);
        for engine in [engines::cpu(), engines::gpu()] {
            let found = run(&engine, Recipe::new(rule.clone()), &[1], 0.0, &[1.0, 1e-9, 1e-9]);
            let (moved, right) = (found[2] - found[1], expected[2] - expected[1]);
            assert!((moved - right).abs() <= 1e-3 * right.abs(), "{}, {}: {found:?}, {expected:?}", engine.name, rule.name());
        }
    }
    let adam = Adam { lr: 0.1, betas, eps: 1e-20, ..Default::default() };
    for engine in [engines::cpu(), engines::gpu()] {
        let found = run(&engine, Recipe::new(adam.clone()), &[1], 0.0, &[1.0, 1e-9]);
        assert!((found[1] + 0.2).abs() < 1e-6, "{}: {found:?}", engine.name);
    }
}

#[test]
fn averages_by_a_rate_of_1_are_the_parameters() {
    for engine in [engines::cpu(), engines::gpu()] {
        let recipe = Recipe::new(Sgd { lr: 1.0, ..Default::default() }).average(Average::Ema { decay: 0.0 });
        let recipe = recipe.lookahead(Lookahead { steps: 2, alpha: 1.0 });
        let mut optimizer = Optimizer::new(&engine, recipe, &[("x", &[1])]).expect("an optimizer");
        optimizer.set_params("x", &[1e8]).expect("parameters");
        for g in [0.0, 1e8 - 1.25] {
            optimizer.set_grads("x", &[g]).expect("gradients");
            optimizer.step().expect("a step");
        }
        let x = optimizer.params("x").expect("parameters");
        assert_eq!(x, optimizer.averaged("x").expect("an average"), "{}", engine.name);
    }
}

#[test]
fn muon_without_momentum_steps_by_the_gradient() {
    let rule = Muon { momentum: 0.0, ..Default::default() };
    let expected = run(&Cpu::<f64>::default(), Recipe::new(rule.clone()), &[2, 2], 0.0, &[1e6, 1e-6]);
    for engine in [engines::cpu(), engines::gpu()] {
        let found = run(&engine, Recipe::new(rule.clone()), &[2, 2], 0.0, &[1e6, 1e-6]);
        assert!((found[1] / expected[1] - 1.0).abs() < 1e-3, "{}: {found:?}, {expected:?}", engine.name);
    }
}

/// A matrix makes the whole optimizer keep rows and columns, which must not matter to a vector.
#[test]
fn a_vector_does_not_notice_that_another_tensor_is_a_matrix() {
    for engine in [engines::cpu(), engines::gpu()] {
        for sizes in [[1.0, 2.0], [1e22, 1e22], [1e-30, 1.0], [1e22, 1.0], [1.0, 1e22]] {
            let run = |tensors: &[(&str, &[usize])]| {
                let mut optimizer = Optimizer::new(&engine, Recipe::new(Adafactor::default()), tensors).expect("an optimizer");
                optimizer.set_params("v", &[1.0, 1.0]).expect("parameters");
                for g in sizes {
                    optimizer.set_grads("v", &[g, 0.5 * g]).expect("gradients");
                    optimizer.step().expect("a step");
                }
                optimizer.params("v").expect("parameters").map_bits()
            };
            let (alone, beside) = (run(&[("v", &[2])]), run(&[("v", &[2]), ("m", &[2, 2])]));
            assert_eq!(alone, beside, "{}, {sizes:?}", engine.name);
        }
    }
}

trait Bits {
    fn map_bits(self) -> Vec<Option<u32>>;
}

impl Bits for Vec<f32> {
    /// All NaN count as equal.
    fn map_bits(self) -> Vec<Option<u32>> {
        self.into_iter().map(|x| (!x.is_nan()).then(|| x.to_bits())).collect()
    }
}
