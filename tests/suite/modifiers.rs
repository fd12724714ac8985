//! Modifiers of a rule, compared with independent implementations of their formulas, on the oracle and on every engine.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, Half, LossScale, NormKind, Program};
use thalweg::schedule::Exponential;
use thalweg::{
    Accumulation, Adafactor, AdamW, AnyRule, Average, Clip, Decay, Lamb, Lars, Lookahead, Optimizer, Real, Recipe,
    ScheduleFree, Sgd, TensorReport,
};

/// Rows that are no multiple of a vector, a vector, and rows beyond a chunk of a norm.
const SHAPES: [(&str, &[usize]); 4] = [("a", &[5, 13]), ("empty", &[0]), ("b", &[70]), ("c", &[3, 4_099])];
const RULE: Sgd =
    Sgd { lr: 0.1, momentum: 0.5, dampening: 0.0, weight_decay: 0.0, nesterov: false, lr_inside: false, maximize: false };

fn len() -> usize {
    SHAPES.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// First element and shape of each tensor in a flat list.
fn tensors() -> Vec<(usize, &'static [usize])> {
    let mut start = 0;
    SHAPES
        .iter()
        .map(|(_, shape)| {
            start += shape.iter().product::<usize>();
            (start - shape.iter().product::<usize>(), *shape)
        })
        .collect()
}

/// What a program does with an optimizer.
enum Do {
    Grads(Vec<f32>),
    Step,
    Inspect,
    Accumulate,
    Ascend,
}

/// What an optimizer holds in the end, as flat lists.
struct Outcome<F> {
    params: Vec<F>,
    grads: Vec<F>,
    momentum: Vec<F>,
    average: Option<Vec<F>>,
    half: Option<Vec<u16>>,
    inspection: Option<Vec<TensorReport>>,
    counts: (u32, u32),
}

fn run<E: Engine>(engine: &E, recipe: &Recipe, actions: &[Do]) -> Outcome<E::Float> {
    let mut optimizer =
        Optimizer::new(engine, recipe.clone(), &SHAPES).unwrap_or_else(|e| panic!("{}: {e}", engine.describe()));
    let of = |values: &[f32]| values.iter().map(|&x| E::Float::of(f64::from(x))).collect::<Vec<_>>();
    let start = numbers(1, len());
    for ((name, _), (first, shape)) in SHAPES.iter().zip(tensors()) {
        let len = shape.iter().product::<usize>();
        optimizer.set_params(name, &of(&start[first..][..len])).expect("parameters");
    }
    for action in actions {
        match action {
            Do::Grads(grads) => {
                for ((name, _), (first, shape)) in SHAPES.iter().zip(tensors()) {
                    let len = shape.iter().product::<usize>();
                    optimizer.set_grads(name, &of(&grads[first..][..len])).expect("gradients");
                }
                Ok(())
            }
            Do::Step => optimizer.step(),
            Do::Inspect => optimizer.step_inspected(),
            Do::Accumulate => optimizer.accumulate(),
            Do::Ascend => optimizer.ascend(),
        }
        .unwrap_or_else(|error| panic!("{}: {error}", engine.describe()));
    }
    outcome(&mut optimizer)
}

fn outcome<P: Program>(optimizer: &mut Optimizer<P>) -> Outcome<P::Float> {
    let names: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
    let grads = optimizer.grads_buffer();
    let all = optimizer.program_mut().read(grads, 0).expect("gradients");
    let places: Vec<(usize, usize)> = optimizer.arena().tensors().iter().map(|t| (t.offset, t.len())).collect();
    let report = optimizer.report().expect("a report");
    Outcome {
        params: names.iter().flat_map(|name| optimizer.params(name).expect("parameters")).collect(),
        grads: places.iter().flat_map(|&(start, len)| all[start..][..len].to_vec()).collect(),
        momentum: names.iter().flat_map(|name| optimizer.state(name, "b").expect("a plane")).collect(),
        average: names.iter().map(|name| optimizer.averaged(name).ok()).collect::<Option<Vec<_>>>().map(|a| a.concat()),
        half: names.iter().map(|name| optimizer.half(name).ok()).collect::<Option<Vec<_>>>().map(|a| a.concat()),
        inspection: optimizer.inspection().ok(),
        counts: (report.applied, report.skipped),
    }
}

/// The oracle has the rounding errors of f64, each engine those of f32: a few roundings per step, of numbers of size 1.
fn check(recipe: &Recipe, actions: &[Do], expected: impl Fn(&str, &dyn Fn(&str, &[f64]))) {
    let oracle = run(&Cpu::<f64>::default(), recipe, actions);
    expected("oracle", &|what, values| compare(what, &oracle, values, 1e-13));
    for engine in engines::all_and_small() {
        let found = run(&engine, recipe, actions);
        expected(engine.name, &|what, values| compare(&format!("{} {what}", engine.name), &found, values, 4e-6));
    }
}

fn compare<F: Real>(what: &str, outcome: &Outcome<F>, expected: &[f64], tolerance: f64) {
    let found = match what.rsplit(' ').next() {
        Some("params") => &outcome.params,
        Some("grads") => &outcome.grads,
        Some("momentum") => &outcome.momentum,
        Some("average") => outcome.average.as_ref().expect("an average"),
        other => panic!("{other:?} is no array"),
    };
    assert_close(what, found, expected, |i| tolerance * expected[i].abs().max(1.0));
}

/// Gradients of step `t`.
fn grads(t: usize) -> Vec<f32> {
    numbers(100 + t as u64, len())
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Steps of SGD with momentum, with one function that changes the gradient before each step and one that changes the parameters
/// after it.
struct Plain {
    x: Vec<f64>,
    b: Vec<f64>,
    t: u64,
}

impl Plain {
    fn new() -> Self {
        Self { x: f64s(&numbers(1, len())), b: vec![0.0; len()], t: 0 }
    }

    fn step(&mut self, g: &[f64]) {
        self.t += 1;
        for ((x, b), g) in self.x.iter_mut().zip(&mut self.b).zip(g) {
            *b = 0.5 * *b + g;
            *x -= 0.1 * *b;
        }
    }
}

fn five_steps() -> Vec<Do> {
    (0..5).flat_map(|t| [Do::Grads(grads(t)), Do::Step]).collect()
}

#[test]
fn an_exponential_average_follows_the_parameters() {
    let (mut plain, mut average) = (Plain::new(), vec![0.0; len()]);
    for t in 0..5 {
        plain.step(&f64s(&grads(t)));
        let rate = if t == 0 { 1.0 } else { 0.25 };
        average.iter_mut().zip(&plain.x).for_each(|(a, x)| *a += rate * (x - *a));
    }
    let recipe = Recipe::new(RULE).average(Average::Ema { decay: 0.75 });
    check(&recipe, &five_steps(), |_, compare| {
        compare("params", &plain.x);
        compare("average", &average);
    });
}

#[test]
fn a_stochastic_average_is_the_mean_of_every_other_step() {
    let mut plain = Plain::new();
    let mut seen: Vec<Vec<f64>> = Vec::new();
    for t in 0..5 {
        plain.step(&f64s(&grads(t)));
        if t == 1 || t == 3 {
            seen.push(plain.x.clone());
        }
    }
    let average: Vec<f64> = (0..len()).map(|i| seen.iter().map(|x| x[i]).sum::<f64>() / 2.0).collect();
    let recipe = Recipe::new(RULE).average(Average::Swa { start: 2, every: 2 });
    check(&recipe, &five_steps(), |_, compare| {
        compare("params", &plain.x);
        compare("average", &average);
    });
}

#[test]
fn lookahead_returns_to_the_slow_weights() {
    let mut plain = Plain::new();
    let mut slow = plain.x.clone();
    for t in 0..5 {
        plain.step(&f64s(&grads(t)));
        if t % 2 == 1 {
            slow.iter_mut().zip(&plain.x).for_each(|(s, x)| *s += 0.75 * (x - *s));
            plain.x.clone_from(&slow);
        }
    }
    let recipe = Recipe::new(RULE).lookahead(Lookahead { steps: 2, alpha: 0.75 });
    check(&recipe, &five_steps(), |_, compare| {
        compare("params", &plain.x);
        compare("momentum", &plain.b);
    });
}

/// A gradient after clipping by its tensor's norm.
fn per_tensor(g: &[f64], factor: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let tensors = tensors().into_iter();
    tensors
        .flat_map(|(start, shape)| {
            let part = &g[start..][..shape.iter().product()];
            let factor = factor(part);
            part.iter().map(|g| factor * g).collect::<Vec<f64>>()
        })
        .collect()
}

#[test]
fn each_tensor_is_clipped_by_its_own_norm() {
    type NormOf = fn(&[f64]) -> f64;
    let norms: [(NormKind, NormOf); 3] = [
        (NormKind::L2, |g| g.iter().map(|g| g * g).sum::<f64>().sqrt()),
        (NormKind::L1, |g| g.iter().map(|g| g.abs()).sum()),
        (NormKind::Max, |g| g.iter().fold(0.0, |a, g| a.max(g.abs()))),
    ];
    for (kind, norm) in norms {
        // Between the norms of the smaller and the larger tensors, except for maxima, which are all alike.
        let max = if kind == NormKind::Max { 1.5 } else { 20.0 };
        let (mut clipped, mut normal) = (Plain::new(), Plain::new());
        for t in 0..5 {
            let g = f64s(&grads(t));
            clipped.step(&per_tensor(&g, |part| (max / (norm(part) + 1e-6)).min(1.0)));
            normal.step(&per_tensor(&g, |part| (norm(part) + 1e-6).recip()));
        }
        let recipe = Recipe::new(RULE).clip(Clip::Tensor { max, kind });
        check(&recipe, &five_steps(), |_, compare| compare("params", &clipped.x));
        let recipe = Recipe::new(RULE).clip(Clip::Normalise(kind));
        check(&recipe, &five_steps(), |_, compare| compare("params", &normal.x));
    }
}

#[test]
fn rows_lose_their_mean() {
    let mut plain = Plain::new();
    let mut last = Vec::new();
    for t in 0..5 {
        let mut g = f64s(&grads(t));
        for (start, shape) in tensors().into_iter().filter(|(_, shape)| shape.len() == 2) {
            for row in g[start..][..shape[0] * shape[1]].chunks_exact_mut(shape[1]) {
                let mean = row.iter().sum::<f64>() / shape[1] as f64;
                row.iter_mut().for_each(|g| *g -= mean);
            }
        }
        plain.step(&g);
        last = g;
    }
    check(&Recipe::new(RULE).centralise(), &five_steps(), |_, compare| {
        compare("params", &plain.x);
        compare("grads", &last);
    });
}

#[test]
fn a_cautious_step_never_goes_against_the_gradient() {
    let mut plain = Plain::new();
    for t in 0..5 {
        let g = f64s(&grads(t));
        let before = plain.x.clone();
        plain.step(&g);
        for (start, shape) in tensors() {
            let range = start..start + shape.iter().product::<usize>();
            let kept = |i: usize| plain.b[i] * g[i] > 0.0;
            let count = range.clone().filter(|&i| kept(i)).count() as f64;
            let factor = range.len() as f64 / count.max(1e-3 * range.len() as f64);
            for i in range {
                plain.x[i] = before[i] - if kept(i) { 0.1 * factor * plain.b[i] } else { 0.0 };
            }
        }
    }
    check(&Recipe::new(RULE).cautious(), &five_steps(), |_, compare| {
        compare("params", &plain.x);
        compare("momentum", &plain.b);
    });
}

/// At the top of the ascent the gradient is different.
#[test]
fn an_ascent_is_taken_back_by_the_step() {
    let mut plain = Plain::new();
    let mut top = Vec::new();
    let mut actions = Vec::new();
    for t in 0..4 {
        let g = f64s(&grads(t));
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        top = plain.x.iter().zip(&g).map(|(x, g)| x + 3.0 / (norm + 1e-12) * g).collect();
        plain.step(&f64s(&grads(50 + t)));
        actions.extend([Do::Grads(grads(t)), Do::Ascend, Do::Grads(grads(50 + t)), Do::Step]);
    }
    let recipe = Recipe::new(RULE).sam(3.0);
    check(&recipe, &actions, |_, compare| compare("params", &plain.x));
    actions.truncate(actions.len() - 2);
    check(&recipe, &actions, |_, compare| compare("params", &top));
}

/// Rules that trust a tensor by the norm of its parameters take the norm where the step starts, not at the top of the ascent.
#[test]
fn norms_of_parameters_are_those_before_an_ascent() {
    let rules: [Box<dyn AnyRule>; 3] = [Lars::default().into(), Lamb::default().into(), Adafactor::default().into()];
    for (engine, rule) in engines::all().iter().flat_map(|engine| rules.iter().map(move |rule| (engine, rule))) {
        let recipe = |recipe: Recipe| Optimizer::new(engine, recipe, &[("w", &[2, 3])]).expect("an optimizer");
        let (mut ascending, mut plain) = (recipe(Recipe::new(rule.clone()).sam(9.0)), recipe(Recipe::new(rule.clone())));
        for optimizer in [&mut ascending, &mut plain] {
            optimizer.set_params("w", &[0.5, -0.25, 1.0, 0.125, -0.5, 0.75]).expect("parameters");
            optimizer.set_grads("w", &[1.0, 2.0, -1.0, 0.5, 3.0, 1.0]).expect("gradients");
        }
        // The gradient is the same everywhere, so the ascent must make no difference.
        ascending.ascend().expect("an ascent");
        [ascending.step(), plain.step()].into_iter().for_each(|step| step.expect("a step"));
        let (found, expected) = (ascending.params("w").expect("parameters"), plain.params("w").expect("parameters"));
        assert_same_bits(&format!("{}, {}", engine.name, rule.name()), &found, &expected);
    }
}

/// If parameters are set between an ascent and its step, the step starts from them, for each tensor and lane.
#[test]
fn parameters_set_after_an_ascent_are_not_lost() {
    fn check<E: Engine>(engine: &E) {
        let float = |x: f64| <E::Float as thalweg::Real>::of(x);
        let rules = || [0.5, 0.25].map(|lr| Sgd { lr, momentum: 0.5, ..Default::default() });
        let new = |recipe| Optimizer::new(engine, recipe, &[("a", &[2]), ("b", &[1])]).expect("an optimizer");
        let (mut ascending, mut plain) = (new(Recipe::population(rules()).sam(8.0)), new(Recipe::population(rules())));
        for round in 0..3 {
            for optimizer in [&mut ascending, &mut plain] {
                for lane in 0..2 {
                    optimizer.lane(lane).expect("a lane").set_grads("a", &[float(1.0), float(2.0)]).expect("gradients");
                    optimizer.lane(lane).expect("a lane").set_grads("b", &[float(-2.0)]).expect("gradients");
                }
            }
            ascending.ascend().expect("an ascent");
            for optimizer in [&mut ascending, &mut plain] {
                optimizer.lane(1).expect("a lane").set_params("a", &[float(f64::from(round)), float(3.0)]).expect("parameters");
                optimizer.step().expect("a step");
            }
            for (lane, tensor) in [(0, "a"), (0, "b"), (1, "a"), (1, "b")] {
                let (found, expected) = (
                    ascending.lane(lane).and_then(|mut lane| lane.params(tensor)),
                    plain.lane(lane).and_then(|mut lane| lane.params(tensor)),
                );
                assert_eq!(found, expected, "{}, round {round}, lane {lane}, {tensor}", engine.describe());
            }
        }
    }
    check(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(check);
}

#[test]
fn an_ascent_with_a_bad_gradient_or_before_a_bad_step_changes_nothing() {
    let mut bad = grads(0);
    bad[30] = f32::NAN;
    let recipe = Recipe::new(RULE).sam(3.0).skip_bad();
    let good = vec![Do::Grads(grads(1)), Do::Ascend, Do::Grads(grads(2)), Do::Step];
    let bad_step = vec![Do::Grads(grads(1)), Do::Ascend, Do::Grads(bad.clone()), Do::Step];
    let bad_ascent = vec![Do::Grads(bad), Do::Ascend];
    for engine in engines::all_and_small() {
        let plain = run(&engine, &recipe, &good);
        let after = run(&engine, &recipe, &bad_step);
        assert_same_bits(engine.name, &after.params, &numbers(1, len()));
        assert_eq!((plain.counts, after.counts), ((1, 0), (0, 1)), "{}", engine.name);
        assert_same_bits(engine.name, &run(&engine, &recipe, &bad_ascent).params, &numbers(1, len()));
    }
}

#[test]
fn micro_batches_make_one_step() {
    for mean in [false, true] {
        let mut plain = Plain::new();
        let mut actions = Vec::new();
        for t in 0..4 {
            let count = t + 1;
            let parts: Vec<Vec<f64>> = (0..count).map(|i| f64s(&grads(10 * t + i))).collect();
            let divisor = if mean { count as f64 } else { 1.0 };
            let g: Vec<f64> = (0..len()).map(|i| parts.iter().map(|part| part[i]).sum::<f64>() / divisor).collect();
            plain.step(&g);
            actions.extend((0..count).flat_map(|i| [Do::Grads(grads(10 * t + i)), Do::Accumulate]));
            actions.push(Do::Step);
        }
        let recipe = Recipe::new(RULE).accumulate(Accumulation { mean, ..Default::default() });
        check(&recipe, &actions, |_, compare| compare("params", &plain.x));
        // The norm is that of the sum or mean: clipping at a huge norm is the same again.
        check(&recipe.clip_norm(1e9), &actions, |_, compare| compare("params", &plain.x));
    }
}

#[test]
fn a_bad_micro_batch_spoils_the_step_or_is_dropped() {
    let mut bad = grads(1);
    bad[len() - 1] = f32::INFINITY;
    let batches = |drop_bad| {
        let recipe = Recipe::new(RULE).skip_bad().accumulate(Accumulation { drop_bad, ..Default::default() });
        let three =
            [Do::Grads(grads(0)), Do::Accumulate, Do::Grads(bad.clone()), Do::Accumulate, Do::Grads(grads(2)), Do::Accumulate];
        (recipe, three.into_iter().chain([Do::Step]).collect::<Vec<Do>>())
    };
    let two = [Do::Grads(grads(0)), Do::Accumulate, Do::Grads(grads(2)), Do::Accumulate, Do::Step];
    for engine in engines::all_and_small() {
        let (recipe, actions) = batches(false);
        let spoilt = run(&engine, &recipe, &actions);
        assert_same_bits(engine.name, &spoilt.params, &numbers(1, len()));
        assert_eq!(spoilt.counts, (0, 1), "{}", engine.name);
        let (recipe, actions) = batches(true);
        let (dropped, expected) = (run(&engine, &recipe, &actions), run(&engine, &recipe, &two));
        assert_same_bits(engine.name, &dropped.params, &expected.params);
        assert_eq!(dropped.counts, (1, 0), "{}", engine.name);
        // A bad sum is not part of the next one. If all micro-batches are dropped, the step is skipped.
        let again: Vec<Do> = batches(false).1.into_iter().chain(batches(false).1.drain(..2)).chain([Do::Step]).collect();
        let once = [Do::Grads(grads(0)), Do::Accumulate, Do::Step];
        let (found, expected) = (run(&engine, &batches(false).0, &again), run(&engine, &batches(false).0, &once));
        assert_same_bits(engine.name, &found.params, &expected.params);
        let none = [Do::Grads(bad.clone()), Do::Accumulate, Do::Step];
        assert_eq!(run(&engine, &recipe, &none).counts, (0, 1), "{}", engine.name);
    }
}

#[test]
fn gradients_are_zero_once_they_are_used() {
    let mut bad = grads(0);
    bad[3] = f32::NAN;
    let zeros = vec![0.0; len()];
    let plain = Recipe::new(RULE).zero_grads();
    let step = |grads: &Vec<f32>| vec![Do::Grads(grads.clone()), Do::Step];
    for engine in engines::all_and_small() {
        for (recipe, actions) in [
            (plain.clone(), step(&grads(0))),
            (plain.clone().skip_bad(), step(&bad)),
            (plain.clone().cautious(), step(&grads(0))),
            (plain.clone().accumulate(Accumulation::default()), vec![Do::Grads(grads(0)), Do::Accumulate]),
            (plain.clone().sam(0.1), vec![Do::Grads(grads(0)), Do::Ascend]),
            (plain.clone().sam(0.1), vec![Do::Grads(bad.clone()), Do::Ascend]),
        ] {
            assert_same_bits(engine.name, &run(&engine, &recipe, &actions).grads, &zeros);
        }
        // Without that modifier they are not changed.
        let left = run(&engine, &Recipe::new(RULE), &step(&grads(0))).grads;
        assert_same_bits(engine.name, &left, &grads(0));
    }
}

#[test]
fn the_copy_in_16_bits_is_the_nearest() {
    let steps = [Do::Grads(grads(0)), Do::Step];
    for half in [Half::F16, Half::Bf16] {
        let recipe = Recipe::new(RULE).half_copy(half);
        for engine in engines::all_and_small() {
            for actions in [&steps[..0], &steps] {
                let found = run(&engine, &recipe, actions);
                let bits: Vec<u16> = found.params.iter().map(|&x| half.bits(x)).collect();
                assert_eq!(found.half.as_ref().expect("a copy"), &bits, "{}, {half:?}", engine.name);
            }
        }
    }
}

/// Numbers at every edge of the two formats, in a step that changes nothing.
#[test]
fn the_copy_in_16_bits_rounds_like_the_standard() {
    let mut edges: Vec<f32> =
        vec![0.0, -0.0, 65503.9, 65504.0, 65519.9, 65520.0, 65536.0, 1e9, f32::MAX, 6.1e-5, 6.0e-8, 2.9e-8, 1e-9, 1e-40];
    edges.extend((0..2_000u32).map(|i| f32::from_bits(0x3880_0000 - 1_000 + i)));
    edges.extend((0..4_000u32).map(|i| f32::from_bits(0x3300_0000 + i * 0x2_7F31)));
    edges.extend((0..4_000u32).map(|i| f32::from_bits(0x3F80_0000 + i * 0x801)));
    // Half-way between two numbers of either format.
    edges.extend((0..100u32).map(|i| f32::from_bits(0x3F80_1000 + i * 0x2000)));
    edges.extend((0..100u32).map(|i| f32::from_bits(0x3F80_8000 + i * 0x1_0000)));
    edges.extend(edges.clone().iter().map(|x| -x));
    let zero = Sgd { lr: 0.0, ..Default::default() };
    for half in [Half::F16, Half::Bf16] {
        for engine in engines::all() {
            let recipe = Recipe::new(zero.clone()).half_copy(half);
            let mut optimizer = Optimizer::new(&engine, recipe, &[("x", &[edges.len()])]).expect("an optimizer");
            optimizer.set_params("x", &edges).expect("parameters");
            optimizer.step().expect("a step");
            let found = optimizer.half("x").expect("a copy");
            for (i, &x) in edges.iter().enumerate() {
                assert_eq!(found[i], half.bits(x), "{}, {half:?} of {x:e}", engine.name);
            }
        }
    }
}

#[test]
fn an_inspected_step_has_the_bits_of_any_other_and_tells_how_far_it_went() {
    let recipe = Recipe::new(RULE).inspect();
    let inspected: Vec<Do> = (0..3).flat_map(|t| [Do::Grads(grads(t)), Do::Inspect]).collect();
    let normal: Vec<Do> = (0..3).flat_map(|t| [Do::Grads(grads(t)), Do::Step]).collect();
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (mut plain, mut before) = (Plain::new(), Vec::new());
    for t in 0..3 {
        before.clone_from(&plain.x);
        plain.step(&f64s(&grads(t)));
    }
    for engine in engines::all_and_small() {
        let found = run(&engine, &recipe, &inspected);
        assert_same_bits(engine.name, &found.params, &run(&engine, &recipe, &normal).params);
        assert_same_bits(engine.name, &found.params, &run(&engine, &Recipe::new(RULE), &normal).params);
        for (report, (start, shape)) in found.inspection.expect("reports").iter().zip(tensors()) {
            let range = start..start + shape.iter().product::<usize>();
            let change: Vec<f64> = range.clone().map(|i| plain.x[i] - before[i]).collect();
            let expected = [norm(&f64s(&grads(2))[range.clone()]), norm(&change), norm(&plain.x[range])];
            let found = [report.grad_norm, report.change_norm, report.param_norm];
            assert_close(&format!("{}, {}", engine.name, report.name), &found, &expected, |i| 1e-5 * expected[i]);
        }
    }
}

#[test]
fn the_tensor_with_a_bad_gradient_is_found() {
    let mut bad = grads(1);
    bad[tensors()[2].0 + 7] = f32::NAN;
    let actions = [Do::Grads(grads(0)), Do::Inspect, Do::Grads(bad), Do::Inspect];
    for engine in engines::all_and_small() {
        let found = run(&engine, &Recipe::new(RULE).skip_bad().inspect(), &actions);
        let reports = found.inspection.expect("reports");
        let names: Vec<&str> = reports.iter().filter(|r| !r.grad_norm.is_finite()).map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["b"], "{}", engine.name);
        assert!(reports.iter().all(|report| report.change_norm == 0.0), "{}: a skipped step moves nothing", engine.name);
    }
}

/// All modifiers together behave as each does alone.
#[test]
fn extras_do_not_disturb_each_other() {
    let plain = Recipe::new(RULE).clip_norm(3.0).loss_scale(LossScale { init: 8.0, ..Default::default() });
    let all = plain.clone().average(Average::Ema { decay: 0.9 }).half_copy(Half::F16).zero_grads();
    for engine in engines::all_and_small() {
        let (found, expected) = (run(&engine, &all, &five_steps()), run(&engine, &plain, &five_steps()));
        assert_same_bits(engine.name, &found.params, &expected.params);
        assert_same_bits(engine.name, &found.momentum, &expected.momentum);
    }
}

/// At the first step, in the middle and at the end.
#[test]
fn bad_steps_leave_whatever_goes_with_a_rule_alone() {
    let mut bad = grads(0);
    bad[len() / 2] = f32::NAN;
    let bad_step = || [Do::Grads(bad.clone()), Do::Step];
    let plain = Recipe::new(RULE).skip_bad();
    for recipe in [
        plain.clone().average(Average::Ema { decay: 0.9 }).half_copy(Half::Bf16),
        plain.clone().average(Average::Swa { start: 2, every: 1 }).lookahead(Lookahead { steps: 2, alpha: 0.5 }),
        plain.clone().clip(Clip::Tensor { max: 2.0, kind: NormKind::L2 }),
        plain.clone().cautious().average(Average::Ema { decay: 0.5 }),
    ] {
        let mut with_bad: Vec<Do> = bad_step().into();
        for (t, step) in (0..5).map(|t| (t, [Do::Grads(grads(t)), Do::Step])) {
            with_bad.extend(step);
            if t == 0 || t == 3 || t == 4 {
                with_bad.extend(bad_step());
            }
        }
        for engine in engines::all_and_small() {
            let (found, expected) = (run(&engine, &recipe, &with_bad), run(&engine, &recipe, &five_steps()));
            assert_same_bits(engine.name, &found.params, &expected.params);
            assert_same_bits(engine.name, &found.momentum, &expected.momentum);
            if let Some((found, expected)) = found.average.zip(expected.average) {
                assert_same_bits(engine.name, &found, &expected);
            }
            assert_eq!(found.half, expected.half, "{}", engine.name);
            assert_eq!((found.counts, expected.counts), ((5, 4), (5, 0)), "{}", engine.name);
        }
    }
}

/// For rules with a decay of their own, the recipe's decay has the same bits.
#[test]
fn weight_decay_has_the_bits_of_rules_that_have_it() {
    let of = |rule: Box<dyn AnyRule>, decay: Option<Decay>| {
        let recipe = Recipe::new(rule).scale("lr", Exponential::new(1.0, 0.5));
        decay.map_or(recipe.clone(), |decay| recipe.weight_decay(decay))
    };
    let adamw = |weight_decay, independent_weight_decay| {
        let rule = AdamW { lr: 0.1, weight_decay, independent_weight_decay, ..Default::default() };
        Box::<dyn AnyRule>::from(rule)
    };
    let sgd = |weight_decay| Box::<dyn AnyRule>::from(Sgd { weight_decay, ..RULE });
    let cases = [
        (of(sgd(0.25), None), of(sgd(0.0), Some(Decay::Coupled(0.25)))),
        (of(adamw(0.25, false), None), of(adamw(0.0, false), Some(Decay::Decoupled(0.25)))),
        (of(adamw(0.25, true), None), of(adamw(0.0, false), Some(Decay::Independent(0.25)))),
    ];
    for (engine, (own, added)) in
        engines::all_and_small().iter().flat_map(|engine| cases.iter().map(move |case| (engine, case)))
    {
        let params = |recipe: &Recipe| {
            let mut optimizer = Optimizer::new(engine, recipe.clone(), &[("x", &[70])]).expect("an optimizer");
            optimizer.set_params("x", &numbers(1, 70)).expect("parameters");
            for t in 0..5 {
                optimizer.set_grads("x", &numbers(2 + t, 70)).expect("gradients");
                optimizer.step().expect("a step");
            }
            optimizer.params("x").expect("parameters")
        };
        assert_same_bits(engine.name, &params(added), &params(own));
    }
}

#[test]
fn invalid_combinations_are_errors() {
    let error =
        |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[4])]).expect_err("an error").to_string();
    let rule = || Recipe::new(RULE);
    let cases = [
        (rule().average(Average::Ema { decay: 1.0 }), "ema.decay = 1 is out of range: at least 0 and below 1"),
        (rule().average(Average::Swa { start: 0, every: 1 }), "swa.start = 0 is out of range: at least 1"),
        (rule().average(Average::Swa { start: 1, every: 0 }), "swa.every = 0 is out of range: at least 1"),
        (rule().lookahead(Lookahead { steps: 0, alpha: 0.5 }), "lookahead.steps = 0 is out of range: at least 1"),
        (rule().lookahead(Lookahead { steps: 5, alpha: 0.0 }), "lookahead.alpha = 0 is out of range: above 0 and at most 1"),
        (rule().sam(0.0), "sam.rho = 0 is out of range: finite and above 0"),
        (
            rule().sam(0.1).accumulate(Accumulation::default()),
            "sam cannot be combined with accumulate: each wants the gradients before a step",
        ),
        (rule().sam(0.1).half_copy(Half::F16), "half_copy cannot be combined with sam: the copy would not follow the ascents"),
        (
            Recipe::population([RULE, Sgd { maximize: true, ..RULE }]).sam(0.1),
            "sam cannot be combined with rules of which some maximize: the ascent has one direction",
        ),
        (
            Recipe::new(ScheduleFree::default()).lookahead(Lookahead::default()),
            "average or lookahead cannot be combined with schedulefree: it averages by itself",
        ),
        (
            rule()
                .accumulate(Accumulation { drop_bad: true, mean: true, ..Default::default() })
                .loss_scale(LossScale::default()),
            "drop_bad cannot be combined with loss_scale: the scale has to see bad gradients",
        ),
        (rule().weight_decay(Decay::Decoupled(-1.0)), "weight_decay = -1 is out of range: finite and at least 0"),
        (rule().weight_decay(Decay::Independent(1.0)), "weight_decay = 1 is out of range: at least 0 and below 1"),
        (
            Recipe::new(AdamW::default()).weight_decay(Decay::Coupled(0.1)),
            "a weight decay of the recipe cannot be combined with weight_decay = 0.01 in adamw: the decay would count twice: set weight_decay to 0",
        ),
        (
            Recipe::new(ScheduleFree { weight_decay: 0.0, ..Default::default() }).weight_decay(Decay::Independent(0.1)),
            "a decoupled weight decay of the recipe cannot be combined with schedulefree: schedulefree averages by itself, so that its decay has to be coupled",
        ),
        (
            rule().centralise(),
            "centralise cannot be combined with tensors of less than two dimensions: there are no lines to take the mean of",
        ),
        (rule().clip(Clip::Tensor { max: 1.0, kind: NormKind::Count }), "clip.kind = Count is out of range: L2, L1 or Max"),
        (
            rule().clip(Clip::Value(1.0)).inspect(),
            "inspect cannot be combined with a clip by another norm than L2: its reports are made of L2 norms",
        ),
        (
            Recipe::new(thalweg::Asgd::default()).cautious(),
            "cautious cannot be combined with asgd: its step depends on where the parameters are",
        ),
        (
            Recipe::new(thalweg::Lars::default()).clip(Clip::Value(1.0)),
            "clip_value cannot be combined with lars: it takes norms before the bound",
        ),
        (
            Recipe::new(thalweg::NovoGrad::default()).clip(Clip::Norm { max: 1.0, kind: NormKind::L1 }),
            "a clip by another norm than L2 cannot be combined with novograd: it shares the norm",
        ),
        (
            Recipe::new(thalweg::Lamb::default()).cautious(),
            "cautious cannot be combined with lamb: it has a direction of its own",
        ),
    ];
    for (recipe, expected) in cases {
        assert_eq!(error(recipe), expected);
    }
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), rule(), &[("x", &[4])]).expect("an optimizer");
    let message = |result: thalweg::Result<()>| result.expect_err("an error").to_string();
    assert_eq!(message(optimizer.accumulate()), "accumulate needs accumulate in the recipe, for example Recipe::accumulate");
    assert_eq!(message(optimizer.ascend()), "ascend needs sam in the recipe, for example Recipe::sam");
    assert_eq!(message(optimizer.step_inspected()), "step_inspected needs inspect in the recipe, for example Recipe::inspect");
    assert_eq!(message(optimizer.half("x").map(|_| ())), "half needs half_copy in the recipe, for example Recipe::half_copy");
    assert_eq!(
        message(optimizer.averaged("x").map(|_| ())),
        "averaged needs average in the recipe, for example Recipe::average"
    );
    let recipe = rule().accumulate(Accumulation::default());
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[4])]).expect("an optimizer");
    assert_eq!(message(optimizer.step()), "step is out of order: accumulate has to come before each step");
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), rule().sam(0.1), &[("x", &[4])]).expect("an optimizer");
    assert_eq!(message(optimizer.step()), "step is out of order: ascend has to come before each step");
    optimizer.ascend().expect("an ascent");
    assert_eq!(message(optimizer.ascend()), "ascend is out of order: a step has to come between two ascents");
    assert_eq!(message(optimizer.steps(2)), "steps(2) is out of order: ascend has to come before each step");
    // A refused call, or one without a step, has not used up the ascent.
    optimizer.steps(0).expect("no step");
    optimizer.step().expect("a step");
}
