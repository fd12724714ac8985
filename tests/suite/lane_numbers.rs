//! Numbers of modifiers may differ from lane to lane: each lane has the bits of its model alone.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, LossScale, NormKind, Program};
use thalweg::schedule::{Cosine, OneCycle, Schedule};
use thalweg::{Adam, Average, Clip, Decay, Lookahead, Optimizer, PerLane, Real, Recipe, Report, Sgd};

const LANES: usize = 3;
/// One has several chunks.
const TENSORS: [(&str, &[usize]); 3] = [("a", &[13, 5]), ("b", &[70]), ("c", &[200, 200])];

/// The numbers of all lanes, or of one of them.
#[derive(Debug, Clone, Copy)]
struct Pick(Option<usize>);

impl Pick {
    fn of<T: Clone>(self, values: [T; LANES]) -> PerLane<T> {
        match self.0 {
            None => values.into(),
            Some(lane) => values[lane].clone().into(),
        }
    }

    fn list<T>(self, values: [T; LANES]) -> Vec<T> {
        values
            .into_iter()
            .enumerate()
            .filter(|(lane, _)| self.0.is_none_or(|own| own == *lane))
            .map(|(_, value)| value)
            .collect()
    }

    /// Lanes and groups with rules of their own numbers, where `rates` differ; the same everywhere else.
    fn recipe(self, rates: [f64; LANES]) -> Recipe {
        let matrices = self.list(rates.map(|lr| Sgd { lr, momentum: 0.9, ..Default::default() }));
        let vectors = self.list(rates.map(|lr| Adam { lr: lr / 8.0, ..Default::default() }));
        Recipe::population(matrices).group("vectors", |tensor| tensor.shape.len() < 2, vectors)
    }

    fn same(self) -> Recipe {
        self.recipe([0.05; LANES])
    }
}

fn cosines(rates: [f64; LANES]) -> [Schedule; LANES] {
    rates.map(|from| Cosine::new(from, 9).into())
}

type Case = fn(Pick) -> Recipe;

/// For each modifier with numbers, a recipe in which only that modifier differs between lanes.
fn cases() -> Vec<(&'static str, Case)> {
    vec![
        ("rules", |pick| pick.recipe([0.05, 0.02, 0.1])),
        ("clip_norm", |pick| pick.same().clip_norm(pick.of([2.0, 0.5, f64::INFINITY]))),
        ("clip_norm_of", |pick| pick.same().clip_norm_of(["vectors"], pick.of([2.0, 0.5, f64::INFINITY]))),
        ("clip by elements", |pick| pick.same().clip(pick.of([0.3, 0.2, 0.1].map(Clip::Value)))),
        ("clip by tensors", |pick| {
            pick.same().clip(pick.of([3.0, 2.0, 0.1].map(|max| Clip::Tensor { max, kind: NormKind::L1 })))
        }),
        ("grad_scale", |pick| pick.same().grad_scale(pick.of([1.0, 0.5, 3.0]))),
        ("l1", |pick| pick.same().l1(pick.of([0.0, 0.01, 0.02]))),
        ("weight_decay", |pick| {
            pick.same().weight_decay(pick.of([Decay::Coupled(0.1), Decay::Decoupled(0.2), Decay::Independent(0.3)]))
        }),
        ("loss_scale", |pick| {
            let plain = LossScale { init: 4.0, interval: 2, min: 1.0, ..Default::default() };
            let others = [LossScale { growth: 4.0, backoff: 0.125, ..plain }, LossScale { min: 16.0, interval: 3, ..plain }];
            pick.same().loss_scale(pick.of([plain, others[0], others[1]]))
        }),
        ("average", |pick| {
            let averages = [Average::Ema { decay: 0.9 }, Average::Ema { decay: 0.5 }, Average::Swa { start: 2, every: 2 }];
            pick.same().average(pick.of(averages))
        }),
        ("lookahead", |pick| {
            let lookahead = [(2, 0.5), (3, 0.5), (2, 0.8)].map(|(steps, alpha)| Lookahead { steps, alpha });
            pick.same().lookahead(pick.of(lookahead))
        }),
        ("sam", |pick| pick.same().sam(pick.of([0.05, 0.5, 0.01]))),
        ("schedule", |pick| pick.same().schedule("lr", pick.list(cosines([0.1, 0.05, 0.01])))),
        ("schedule of a group", |pick| pick.same().schedule_group("vectors", "lr", pick.list(cosines([0.1, 0.05, 0.01])))),
        ("scale", |pick| {
            let cycles = [5, 6, 7].map(|steps| OneCycle::new(1.0, steps));
            pick.same().scale("lr", pick.list(cycles))
        }),
        ("schedule of a bound", |pick| pick.same().clip_norm(1.0).schedule("clip", pick.list(cosines([3.0, 1.0, 0.5])))),
        ("all together", |pick| {
            let recipe = pick.recipe([0.05, 0.02, 0.1]).clip_norm(pick.of([2.0, 0.5, 1.0])).l1(pick.of([0.0, 0.01, 0.02]));
            let recipe =
                recipe.weight_decay(pick.of([0.0, 0.1, 0.2].map(Decay::Decoupled))).grad_scale(pick.of([1.0, 0.5, 3.0]));
            let recipe = recipe.average(pick.of([0.9, 0.5, 0.0].map(|decay| Average::Ema { decay })));
            recipe.scale("lr", pick.list(cosines([1.0, 0.5, 0.2])))
        }),
    ]
}

/// Parameters, averages and the report of each lane after some steps, of which the second and the fifth are bad where that is
/// looked for.
fn run<E: Engine>(engine: &E, recipe: Recipe) -> Vec<(Vec<E::Float>, Report)> {
    let (lanes, text) = (recipe.lanes(), format!("{recipe:?}"));
    let [ascends, averages, scales] = ["rho: Some", "average: Some", "loss_scale: Some"].map(|what| text.contains(what));
    let mut optimizer = Optimizer::new(engine, recipe, &TENSORS).expect("an optimizer");
    let floats = |seed, shape: &[usize]| -> Vec<E::Float> {
        numbers(seed, shape.iter().product()).into_iter().map(|x| E::Float::of(x.into())).collect()
    };
    for lane in 0..lanes {
        for (name, shape) in TENSORS {
            optimizer.lane(lane).expect("a lane").set_params(name, &floats(1, shape)).expect("parameters");
        }
    }
    for t in 0..7 {
        for lane in 0..lanes {
            for (name, shape) in TENSORS {
                let mut grads = floats(10 + t, shape);
                if scales && (t == 1 || t == 4) {
                    grads[3] = E::Float::of(f64::NAN);
                }
                optimizer.lane(lane).expect("a lane").set_grads(name, &grads).expect("gradients");
            }
        }
        if ascends {
            optimizer.ascend().expect("an ascent");
        }
        optimizer.step().expect("a step");
    }
    if ascends {
        // A step starts where the parameters were before the ascent, and these gradients do not depend on the ascent.
        optimizer.ascend().expect("an ascent");
    }
    let mut found = Vec::new();
    for lane in 0..lanes {
        let params = optimizer.params_buffer();
        let mut values = optimizer.program_mut().read(params, lane).expect("parameters");
        if averages {
            values.extend(optimizer.lane(lane).expect("a lane").averaged("c").expect("an average"));
        }
        found.push((values, optimizer.lane(lane).expect("a lane").report().expect("a report")));
    }
    found
}

fn compare<E: Engine>(engine: &E) {
    for (name, recipe) in cases() {
        let together = run(engine, recipe(Pick(None)));
        for (lane, (found, report)) in together.iter().enumerate() {
            let what = format!("{}, {name}, lane {lane}", engine.describe());
            let alone = run(engine, recipe(Pick(Some(lane)))).swap_remove(0);
            assert_same_bits(&what, found, &alone.0);
            assert_eq!(*report, alone.1, "{what}");
            // With the numbers of another lane the result would be different.
            let (other, other_report) = &together[(lane + 1) % LANES];
            assert!(other != found || other_report != report, "{what} is as the next lane");
        }
    }
}

#[test]
fn the_oracle_has_numbers_per_lane() {
    compare(&Cpu::<f64>::default());
}

#[test]
fn engines_have_numbers_per_lane() {
    engines::all().iter().for_each(compare);
}
