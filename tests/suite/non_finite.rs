//! NaN and infinity stay visible: without [`Recipe::skip_bad`] no rule, modifier or layer turns them into ordinary numbers, and
//! the engines have them in the same places.

use crate::common::bench::Bench;
use crate::common::engines::{self, AnyEngine};
use crate::common::options::options;
use thalweg::cpu::Cpu;
use thalweg::op::MatMul;
use thalweg::plan::{Engine, Half, LossScale, NormKind, Program};
use thalweg::{
    Accumulation, Adafactor, Adam, AnyRule, Average, Clip, Lamb, Lars, Lookahead, Muon, Optimizer, Real, Recipe, Result,
    RmsProp, Sgd,
};

/// One element of the gradient, a different value in each lane.
const BAD: [f64; 4] = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

const TENSORS: [(&str, &[usize]); 2] = [("vector", &[3]), ("matrix", &[2, 2])];

fn engines() -> [AnyEngine; 2] {
    [engines::cpu(), engines::gpu()]
}

/// Which numbers are not finite.
fn places<F: Real>(values: &[F]) -> Vec<bool> {
    values.iter().map(|x| !x.is_finite()).collect()
}

fn floats<F: Real>(values: &[f64]) -> Vec<F> {
    values.iter().map(|&x| F::of(x)).collect()
}

/// Makes a good step, one with a bad element in each tensor, and a good one again. Returns, for each lane, where each tensor's
/// parameters are not finite, and whether all its steps were applied.
fn run<E: Engine>(engine: &E, recipe: &Recipe) -> Result<Vec<(Vec<Vec<bool>>, bool)>> {
    let mut optimizer = Optimizer::new(engine, recipe.clone(), &TENSORS)?;
    for lane in 0..BAD.len() {
        for (name, shape) in TENSORS {
            let len = shape.iter().product();
            optimizer.lane(lane)?.set_params(name, &floats(&[0.5, 1.0, -0.5, 2.0][..len]))?;
        }
    }
    for t in 0..3 {
        for (lane, bad) in BAD.into_iter().enumerate() {
            for (name, shape) in TENSORS {
                let first = if t == 1 { bad } else { 0.75 };
                optimizer.lane(lane)?.set_grads(name, &floats(&[first, 1.0, -0.5, 0.25][..shape.iter().product()]))?;
            }
        }
        step(&mut optimizer)?;
    }
    let mut of_lane = |lane| {
        let found = TENSORS.map(|(name, _)| Ok(places(&optimizer.lane(lane)?.params(name)?)));
        Ok((found.into_iter().collect::<Result<_>>()?, optimizer.lane(lane)?.report()?.skipped == 0))
    };
    (0..BAD.len()).map(&mut of_lane).collect()
}

fn step<P: Program>(optimizer: &mut Optimizer<P>) -> Result<()> {
    // A recipe that accumulates wants a micro-batch before each step; others refuse it.
    let _ = optimizer.accumulate();
    // The others make no ascent either.
    let _ = optimizer.ascend();
    optimizer.step()
}

/// Whether a rule uses signs alone, of which NaN has none, as the rule's documentation says.
fn by_sign(rule: &dyn AnyRule) -> bool {
    ["lion", "rprop"].contains(&rule.name())
}

#[track_caller]
fn check(what: &str, recipe: &Recipe, hidden: bool) {
    let expected = run(&Cpu::<f64>::default(), recipe).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (bad, (tensors, applied)) in BAD.iter().zip(&expected) {
        let seen = tensors.iter().all(|places| places[0]);
        assert!(seen || hidden || !applied, "{what}, {bad}: nothing to be seen of it");
    }
    for engine in engines() {
        let found = run(&engine, recipe).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, expected, "{}, {what}", engine.name);
    }
}

#[test]
fn every_rule_keeps_nan_and_infinity() {
    for (name, rule) in options() {
        let hidden = by_sign(&*rule);
        check(&name, &Recipe::population(BAD.map(|_| rule.clone())), hidden);
    }
}

#[test]
fn everything_that_goes_with_a_rule_keeps_nan_and_infinity() {
    let adam = || Recipe::population(BAD.map(|_| Adam { lr: 0.1, ..Default::default() }));
    let momentum = || Recipe::population(BAD.map(|_| Sgd { lr: 0.1, momentum: 0.9, ..Default::default() }));
    for (what, recipe) in [
        ("cautious", adam().cautious()),
        ("cautious momentum", momentum().cautious()),
        ("L1", adam().l1(0.1)),
        ("average", adam().average(Average::Ema { decay: 0.5 })),
        ("lookahead", adam().lookahead(Lookahead { steps: 2, alpha: 0.5 })),
        ("lookahead at once", adam().lookahead(Lookahead { steps: 1, alpha: 1.0 })),
        ("copy", adam().half_copy(Half::F16)),
        ("centralised", adam().centralise()),
        ("zeroed", adam().zero_grads()),
        ("micro-batches", adam().accumulate(Accumulation::default())),
        ("ascents", adam().sam(0.05)),
        ("ascents of momentum", momentum().sam(0.05)),
        ("ascents that may be bad", adam().sam(0.05).skip_bad()),
        ("bounded elements", adam().clip(Clip::Value(0.5))),
        ("bounded norms of tensors", momentum().clip(Clip::Tensor { max: 0.5, kind: NormKind::L2 })),
        ("a loss scale", momentum().loss_scale(LossScale { init: 4.0, ..Default::default() })),
        ("a loss scale and bounded elements", adam().clip(Clip::Value(0.5)).loss_scale(LossScale::default())),
    ] {
        check(what, &recipe, false);
    }
}

/// The parameters after one step with one gradient.
fn after<E: Engine>(engine: &E, recipe: &Recipe, shape: &[usize], x: &[f64], g: &[f64]) -> Vec<f64> {
    let mut optimizer = Optimizer::new(engine, recipe.clone(), &[("x", shape)]).expect("an optimizer");
    optimizer.set_params("x", &floats(x)).expect("parameters");
    optimizer.set_grads("x", &floats(g)).expect("gradients");
    optimizer.step().expect("a step");
    optimizer.params("x").expect("parameters").into_iter().map(Real::as_f64).collect()
}

#[track_caller]
fn all_lost(what: &str, recipe: &Recipe, shape: &[usize], x: &[f64], g: &[f64]) {
    for engine in engines() {
        let found = after(&engine, recipe, shape, x, g);
        assert!(found.iter().all(|x| !x.is_finite()), "{}, {what}: {found:?}", engine.name);
    }
    let found = after(&Cpu::<f64>::default(), recipe, shape, x, g);
    assert!(found.iter().all(|x| !x.is_finite()), "oracle, {what}: {found:?}");
}

/// A norm joins all elements, so that each of them shows.
#[test]
fn what_joins_elements_spreads_nan() {
    let lamb = Lamb { always_adapt: true, ..Default::default() };
    for bad in [f64::NAN, -f64::NAN] {
        all_lost("LAMB", &Recipe::new(lamb.clone()), &[2], &[1.0, 1.0], &[bad, 1.0]);
        let clipped = Lamb { trust_clip: true, ..lamb.clone() };
        all_lost("clipped LAMB", &Recipe::new(clipped), &[2], &[1.0, 1.0], &[bad, 1.0]);
        all_lost("Muon", &Recipe::new(Muon::default()), &[2, 2], &[1.0; 4], &[bad, 1.0, 0.5, 0.25]);
        all_lost("Adafactor", &Recipe::new(Adafactor::default()), &[2], &[1.0, 1.0], &[bad, 1.0]);
    }
}

/// Cautious steps are longer by the share of elements that they leave out; an element of NaN does not count as left out.
#[test]
fn an_element_that_is_lost_does_not_stay_behind() {
    let recipe = Recipe::new(Sgd { lr: 0.5, momentum: 0.5, ..Default::default() }).cautious();
    for bad in BAD {
        let grads = [bad, 1.0, 2.0, -1.0];
        for engine in engines() {
            let found = after(&engine, &recipe, &[4], &[0.0; 4], &grads);
            assert_eq!(found[1..], [-0.5, -1.0, 0.5], "{}, {bad}: {found:?}", engine.name);
        }
        assert_eq!(after(&Cpu::<f64>::default(), &recipe, &[4], &[0.0; 4], &grads)[1..], [-0.5, -1.0, 0.5], "{bad}");
    }
}

/// The trust in a tensor joins its elements; where one of them was NaN, nothing of it is left once there are new ones.
#[test]
fn new_parameters_are_trusted_whatever_the_old_ones_were() -> Result<()> {
    fn found<E: Engine>(engine: &E, recipe: &Recipe, first: f64) -> Result<Vec<f64>> {
        let mut optimizer = Optimizer::new(engine, recipe.clone(), &[("x", &[5])])?;
        optimizer.set_grads("x", &floats(&[1.0, -2.0, 0.5, 1.5, 1.0]))?;
        for x in [first, 1.0] {
            optimizer.set_params("x", &floats(&[x, 1.0, -1.0, 2.0, 0.5]))?;
            optimizer.step()?;
        }
        Ok(optimizer.params("x")?.into_iter().map(Real::as_f64).collect())
    }
    let lars = Lars { trust_coefficient: 0.5, always_adapt: true, ..Default::default() };
    for recipe in [Recipe::new(lars.clone()), Recipe::new(lars).lookahead(Lookahead::default())] {
        for bad in BAD {
            for engine in engines() {
                let [new, expected] = [bad, 1.0].map(|first| found(&engine, &recipe, first));
                assert_eq!(new?, expected?, "{}, {bad}, {recipe:?}", engine.name);
            }
        }
    }
    Ok(())
}

#[test]
fn a_variance_that_overflows_shows() {
    let rule = RmsProp { centered: true, ..Default::default() };
    for engine in engines() {
        let found = after(&engine, &Recipe::new(rule.clone()), &[1], &[0.0], &[1e22]);
        assert!(!found[0].is_finite(), "{}: {found:?}", engine.name);
    }
}

/// Runs on all engines, compares the places, and wants one in each lane that is not finite.
fn layer(what: &str, bench: &Bench) {
    let of = |lanes: Vec<Vec<Vec<f64>>>| -> Vec<Vec<bool>> { lanes.iter().map(|outputs| places(&outputs.concat())).collect() };
    let expected = of(bench.run(&Cpu::<f64>::default()));
    for places in &expected {
        assert!(places.contains(&true), "{what}: nothing to be seen");
    }
    for engine in engines() {
        let found = bench.run(&engine).into_iter();
        let doubles = found.map(|lane| lane.into_iter().map(|out| out.into_iter().map(f64::from).collect()).collect());
        assert_eq!(of(doubles.collect()), expected, "{}, {what}", engine.name);
    }
}

/// One lane per bad value, in the first element.
fn bad(rest: &[f64]) -> Vec<Vec<f64>> {
    BAD.iter().map(|&bad| [&[bad], rest].concat()).collect()
}

#[test]
fn products_keep_nan_and_infinity() {
    let mut product = Bench::new(BAD.len());
    let right = vec![vec![1.0, 0.0, 0.5, 2.0]; BAD.len()];
    let (a, b) = (product.input("a", bad(&[1.0, 2.0, 3.0])), product.input("b", right));
    let c = product.output("c", 4);
    product.operate(MatMul::new(a, b, c, 2, 2, 2));
    layer("product", &product);
}
