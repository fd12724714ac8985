//! Expressions: derivatives against differences, random ones on all engines against a running error bound, NaN and infinity,
//! shapes.

use crate::common::engines;
use crate::common::refusal::operation_is_refused;
use fastrand::Rng;
use thalweg::Real;
use thalweg::cpu::Cpu;
use thalweg::op::{Expr, Map};
use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program, View};

/// Inputs of a random expression.
const INPUTS: usize = 3;

/// A random expression, which can also bound the rounding error of an engine in `f32`.
#[derive(Clone)]
struct Random {
    expr: Expr,
    bound: Bound,
}

/// The value in `f64`, and how far an engine may be from it, by first-order error analysis. `None` if a comparison is too close
/// to be decided.
type Bound = std::rc::Rc<dyn Fn(&[f64]) -> Option<[f64; 2]>>;

/// The error that one operation may have, in units of f32's resolution: WGSL allows 2.5 for a division, and our functions need
/// 3.
const COST: f64 = 4.0 * f32::EPSILON as f64;

fn input(index: usize) -> Random {
    Random { expr: Expr::input(index), bound: std::rc::Rc::new(move |x| Some([x[index], 0.0])) }
}

fn number(value: f64) -> Random {
    // A number that is exact in single precision, since its rounding would not be an engine's error.
    let value = f64::from(value as f32);
    Random { expr: Expr::number(value), bound: std::rc::Rc::new(move |_| Some([value, 0.0])) }
}

fn unary(a: Random, f: fn(Expr) -> Expr, value: fn(f64) -> f64, slope: fn(f64) -> f64) -> Random {
    let bound = a.bound;
    let bound = move |x: &[f64]| {
        let [a, error] = bound(x)?;
        Some([value(a), slope(a).abs() * error * 1.01 + COST * value(a).abs()])
    };
    Random { expr: f(a.expr), bound: std::rc::Rc::new(bound) }
}

fn binary(
    a: Random,
    b: Random,
    f: fn(Expr, Expr) -> Expr,
    value: fn([f64; 2]) -> f64,
    slopes: fn([f64; 2]) -> [f64; 2],
) -> Random {
    let (left, right) = (a.bound, b.bound);
    let bound = move |x: &[f64]| {
        let ([a, of_a], [b, of_b]) = (left(x)?, right(x)?);
        let [by_a, by_b] = slopes([a, b]);
        Some([value([a, b]), (by_a.abs() * of_a + by_b.abs() * of_b) * 1.01 + COST * value([a, b]).abs()])
    };
    Random { expr: f(a.expr, b.expr), bound: std::rc::Rc::new(bound) }
}

fn choose(a: Random, b: Random, then: Random, otherwise: Random) -> Random {
    let expr = a.expr.less(b.expr).select(then.expr, otherwise.expr);
    let bound = move |x: &[f64]| {
        let ([a, of_a], [b, of_b]) = ((a.bound)(x)?, (b.bound)(x)?);
        if (a - b).abs() <= of_a + of_b {
            return None;
        }
        if a < b { (then.bound)(x) } else { (otherwise.bound)(x) }
    };
    Random { expr, bound: std::rc::Rc::new(bound) }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn random(rng: &mut Rng, depth: usize) -> Random {
    if depth == 0 || rng.u32(..8) == 0 {
        return if rng.u32(..4) == 0 { number(rng.f64() * 4.0 - 2.0) } else { input(rng.usize(..INPUTS)) };
    }
    let a = random(rng, depth - 1);
    match rng.u32(..14) {
        0 => unary(a, Expr::tanh, f64::tanh, |x| 1.0 - x.tanh().powi(2)),
        1 => unary(a, Expr::sigmoid, sigmoid, |x| sigmoid(x) * sigmoid(-x)),
        2 => unary(a, Expr::softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), sigmoid),
        3 => unary(a, Expr::erf, libm::erf, |x| 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()),
        4 => unary(a, |x| x.abs().ln1p(), |x| x.abs().ln_1p(), |x| 1.0 / (1.0 + x.abs())),
        5 => unary(unary(a, Expr::tanh, f64::tanh, |_| 1.0), Expr::exp, f64::exp, f64::exp),
        6 => unary(unary(a, Expr::tanh, f64::tanh, |_| 1.0), Expr::expm1, f64::exp_m1, f64::exp),
        7 => {
            let b = random(rng, depth - 1);
            let below = unary(b, |x| x.abs() + 0.5, |x| x.abs() + 0.5, |_| 1.0);
            binary(a, below, |a, b| a / b, |[a, b]| a / b, |[a, b]| [1.0 / b, a / (b * b)])
        }
        8 => choose(a, random(rng, depth - 1), random(rng, depth - 1), random(rng, depth - 1)),
        9 => binary(a, random(rng, depth - 1), |a, b| a - b, |[a, b]| a - b, |_| [1.0, 1.0]),
        10 => binary(a, random(rng, depth - 1), |a, b| a.max(b), |[a, b]| a.max(b), |_| [1.0, 1.0]),
        11 => unary(a, |x| (x.abs() + 0.25).sqrt(), |x| (x.abs() + 0.25).sqrt(), |x| 0.5 / (x.abs() + 0.25).sqrt()),
        12 => binary(a, random(rng, depth - 1), |a, b| a * b, |[a, b]| a * b, |[a, b]| [b, a]),
        _ => binary(a, random(rng, depth - 1), |a, b| a + b, |[a, b]| a + b, |_| [1.0, 1.0]),
    }
}

/// Points that f32 holds exactly.
fn points(rng: &mut Rng, count: usize) -> Vec<[f64; INPUTS]> {
    (0..count).map(|_| std::array::from_fn(|_| f64::from(rng.f32() * 4.0 - 2.0))).collect()
}

/// The values of expressions at points on an engine, one list per expression.
fn values<E: Engine>(engine: &E, exprs: &[Expr], points: &[[f64; INPUTS]]) -> Vec<Vec<f64>> {
    let mut layout = Layout::new(1);
    let inputs: Vec<_> = (0..INPUTS).map(|_| layout.floats("x", points.len())).collect();
    let outputs: Vec<_> = exprs.iter().map(|_| layout.floats("y", points.len())).collect();
    let map = inputs.iter().fold(Map::new(&[points.len()]), |map, id| map.input(layout.whole(*id), &[1]));
    let map = outputs.iter().zip(exprs).fold(map, |map, (id, expr)| map.output(layout.whole(*id), expr.clone()));
    let mut plan = Plan::default();
    plan.operate(map);
    let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
    for (index, id) in inputs.iter().enumerate() {
        let column: Vec<E::Float> = points.iter().map(|point| E::Float::of(point[index])).collect();
        program.write(*id, 0, 0, &column).expect("inputs");
    }
    program.run(PlanId::FIRST, 1).expect("a run");
    outputs.iter().map(|id| program.read(*id, 0).expect("values").into_iter().map(Real::as_f64).collect()).collect()
}

/// How many expressions: `THALWEG_EXPRESSIONS` asks for more.
fn count(usual: usize) -> usize {
    std::env::var("THALWEG_EXPRESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn random_expressions_agree_within_their_error_bounds() {
    let engines = [engines::cpu(), engines::gpu()];
    let (mut rng, mut compared, mut open) = (Rng::with_seed(3), 0, 0);
    for _ in 0..count(50) / 5 {
        let randoms: Vec<Random> = (0..5).map(|_| random(&mut rng, 6)).collect();
        let exprs: Vec<Expr> = randoms.iter().map(|random| random.expr.clone()).collect();
        let points = points(&mut rng, 70);
        let oracle = values(&Cpu::<f64>::default(), &exprs, &points);
        let found: Vec<_> = engines.iter().map(|engine| (engine.name, values(engine, &exprs, &points))).collect();
        for (index, random) in randoms.iter().enumerate() {
            for (at, point) in points.iter().enumerate() {
                let Some([value, bound]) =
                    (random.bound)(point).filter(|[value, bound]| value.is_finite() && bound.is_finite())
                else {
                    open += 1;
                    continue;
                };
                compared += 1;
                let right = oracle[index][at];
                // Rounding of double precision is 2²⁹ times smaller.
                assert!(
                    (right - value).abs() <= 1e-8 * bound + 1e-15 * value.abs(),
                    "oracle: {right}, not {value} ± {bound:e}: {:?}",
                    random.expr
                );
                for (name, found) in &found {
                    let (found, bound) = (found[index][at], bound + 1e-30);
                    assert!(
                        (found - value).abs() <= bound,
                        "{name}: {found}, not {value} ± {bound:e}: {:?} at {point:?}",
                        random.expr
                    );
                }
            }
        }
    }
    assert!(open * 10 < 3 * (open + compared), "{open} of {} values had no bound", open + compared);
}

/// The bounds of expressions rely on this test.
#[test]
fn functions_have_their_digits_on_every_engine() {
    let x = || Expr::input(0);
    let functions =
        [x().exp(), x().expm1(), x().abs().ln(), x().abs().ln1p(), x().tanh(), x().erf(), x().sigmoid(), x().softplus()];
    let mut rng = Rng::with_seed(11);
    let mut at = |size: f32| [f64::from((rng.f32() * 2.0 - 1.0) * size), 0.0, 0.0];
    let points: Vec<_> =
        [1e-4, 0.1, 1.0, 4.0, 30.0].into_iter().flat_map(|size| std::iter::repeat_n(size, 2_000)).map(&mut at).collect();
    for chunk in functions.chunks(4) {
        for engine in [engines::cpu(), engines::gpu()] {
            for (found, expr) in values(&engine, chunk, &points).iter().zip(chunk) {
                let off = |(found, point): (&f64, &[f64; INPUTS])| (found - expr.eval(point)).abs() / expr.eval(point).abs();
                let (worst, [point, ..]) = found
                    .iter()
                    .zip(&points)
                    .map(|pair| (off(pair), pair.1))
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .expect("points");
                assert!(worst <= COST, "{}: {:.1} units of {expr:?} at {point}", engine.name, worst / f64::from(f32::EPSILON));
            }
        }
    }
}

#[test]
fn derivatives_are_those_of_differences() {
    let (mut rng, mut compared, mut kinks) = (Rng::with_seed(5), 0, 0);
    for _ in 0..count(300) {
        let expr = random(&mut rng, 6).expr;
        for point in points(&mut rng, 4) {
            for index in 0..INPUTS {
                let difference = |step: f64| {
                    let moved = |by: f64| {
                        expr.eval(&std::array::from_fn::<f64, INPUTS, _>(|i| point[i] + if i == index { by } else { 0.0 }))
                    };
                    (moved(step) - moved(-step)) / (2.0 * step)
                };
                let (coarse, fine) = (difference(2e-4), difference(1e-4));
                // Richardson: what is left is of fourth order. If the two differ much, there is a kink between the points.
                let right = (4.0 * fine - coarse) / 3.0;
                let found = expr.derivative(index).eval(&point);
                if !((fine - coarse).abs() <= 1e-5 * (1.0 + right.abs())) {
                    kinks += 1;
                    continue;
                }
                compared += 1;
                assert!(
                    (found - right).abs() <= 1e-6 * (1.0 + right.abs()),
                    "{found}, not {right}: {expr:?} at {point:?} by {index}"
                );
            }
        }
    }
    assert!(kinks * 10 < 3 * (kinks + compared), "{kinks} kinks of {}", kinks + compared);
}

#[test]
fn nan_and_infinity_are_seen_by_every_function_on_every_engine() {
    let x = || Expr::input(0);
    let functions = [
        -x(),
        x().abs(),
        x().sqrt(),
        x().exp(),
        x().expm1(),
        x().ln(),
        x().ln1p(),
        x().tanh(),
        x().erf(),
        x().sigmoid(),
        x().softplus(),
        x().relu(),
        x().gelu(),
        x().silu(),
        x().log_sigmoid(),
        x().max(0.0),
        x().min(0.0),
        Expr::number(1.0).max(x()),
        x() + 1.0,
        x() * Expr::number(f64::INFINITY),
        x().less(1.0),
        x().less_equal(f64::NAN),
        x().relu().derivative(0),
        // NaN as a condition is not 0.
        x().select(2.0, 3.0),
    ];
    let points: Vec<[f64; INPUTS]> =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.5, 88.8, -200.0].into_iter().map(|x| [x, 0.0, 0.0]).collect();
    for chunk in functions.chunks(5) {
        let right = values(&Cpu::<f64>::default(), chunk, &points);
        for engine in engines::all() {
            for ((found, right), expr) in values(&engine, chunk, &points).iter().zip(&right).zip(chunk) {
                for ((found, right), [x, ..]) in found.iter().zip(right).zip(&points) {
                    // Out of the range of f32, a finite value becomes infinite or 0.
                    let right = f64::from(*right as f32);
                    let alike = match right {
                        _ if right.is_nan() => found.is_nan(),
                        _ if right.is_infinite() => *found == right,
                        _ => (found - right).abs() <= 1e-6 * right.abs() + 1e-37,
                    };
                    assert!(alike, "{}: {found}, not {right}: {expr:?} at {x}", engine.name);
                }
            }
        }
    }
}

#[test]
fn equal_parts_are_computed_once_and_zeros_are_left_out() {
    let (x, y) = (Expr::input(0), Expr::input(1));
    assert_eq!(format!("{:?}", (x.clone() * y.clone()).derivative(0)), format!("{y:?}"));
    assert_eq!(format!("{:?}", (x.clone() * 3.0 + 2.0 * y.clone().tanh()).derivative(0)), format!("{:?}", Expr::number(3.0)));
    assert_eq!(format!("{:?}", y.tanh().derivative(0)), format!("{:?}", Expr::number(0.0)));
    // A chain of doublings has as many parts as doublings; without sharing it would have 2⁴⁰.
    let doubled = (0..40).fold(x, |x, _| x.clone() + x);
    assert_eq!(values(&Cpu::<f64>::default(), &[doubled.derivative(0)], &[[1.0, 0.0, 0.0]]), [[2f64.powi(40)]]);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let mut layout = Layout::new(1);
    let (x, y) = (layout.floats("x", 6), layout.floats("y", 6));
    let [x, y] = [x, y].map(|id| layout.whole(id));
    let refused = |map: Map, message: &str| operation_is_refused(&layout, map, message);
    let map = || Map::new(&[2, 3]);
    refused(map().input(x, &[4, 1]).output(y, Expr::input(0)), "x0 of map (buffer x): 6 found, 7 elements expected");
    refused(
        map().input(x, &[3, 1]).output(View { len: 5, ..y }, Expr::input(0)),
        "y0 of map (buffer y): 5 found, 6 elements expected",
    );
    refused(map().input(x, &[3, 1]).output(y, Expr::input(1)), "map.inputs = 1 is out of range: at least 2");
    refused(map().input(x, &[3, 1]), "map.outputs = 0 is out of range: at least 1");
    let message = format!("x0 of map (buffer x): 6 found, {} elements expected", usize::MAX);
    refused(map().input(x, &[usize::MAX, 1]).output(y, Expr::input(0)), &message);
}

#[test]
fn five_dimensions_are_refused() {
    let mut layout = Layout::new(1);
    let [x, y] = ["x", "y"].map(|name| layout.floats(name, 1)).map(|id| layout.whole(id));
    let map = |shape: &[usize], strides: &[usize]| Map::new(shape).input(x, strides).output(y, Expr::input(0));
    operation_is_refused(&layout, map(&[1; 5], &[1]), "map.dimensions = 5 is out of range: at most 4");
    operation_is_refused(&layout, map(&[1], &[0; 6]), "map.dimensions = 6 is out of range: at most 4");
    assert!(Expr::input(1).eval(&[1.0]).is_nan(), "an input that is missing");
}
