//! State can be loaded as well as read: a run that goes on elsewhere has the bits of one that was not interrupted.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::gradient;
use crate::common::options::options;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, Half, LossScale, NormKind, Program, Storage};
use thalweg::schedule::Cosine;
use thalweg::{
    Accumulation, Adafactor, Adam, Adamax, Adan, AnyRule, Average, Clip, Decay, Lookahead, Optimizer, Real, Recipe, Result,
    Rprop, Sgd, State, StateArray, StateValues,
};

const TENSORS: [(&str, &[usize]); 3] = [("matrix", &[6, 11]), ("vector", &[70]), ("last", &[1])];
/// The steps before and after the interruption: enough for a request for the device's counters.
const BEFORE: usize = 37;
const AFTER: usize = 5;

type Modify = fn(Recipe) -> Recipe;

/// The modifiers, each alone or with those that it needs.
fn modifiers() -> Vec<(&'static str, Modify)> {
    vec![
        ("nothing", |recipe| recipe),
        ("clip", |recipe| recipe.clip_norm(0.5)),
        ("clip by value", |recipe| recipe.clip(Clip::Value(0.1))),
        ("clip by tensor", |recipe| recipe.clip(Clip::Tensor { max: 0.2, kind: NormKind::L2 })),
        ("bad steps", |recipe| recipe.skip_bad().max_bad_steps(3)),
        ("loss scale", |recipe| recipe.loss_scale(LossScale { init: 4.0, interval: 3, ..Default::default() })),
        ("l1 and decay", |recipe| recipe.l1(0.01).weight_decay(Decay::Coupled(0.1))),
        ("running average", |recipe| recipe.average(Average::Ema { decay: 0.9 })),
        ("average of some", |recipe| recipe.average(Average::Swa { start: 3, every: 4 })),
        ("lookahead", |recipe| recipe.lookahead(Lookahead { steps: 3, alpha: 0.5 })),
        ("micro-batches", |recipe| {
            recipe.accumulate(Accumulation { mean: true, drop_bad: true, ..Default::default() }).skip_bad()
        }),
        ("ascents", |recipe| recipe.sam(0.05)),
        ("half copy", |recipe| recipe.half_copy(Half::Bf16)),
        ("planes in bf16", |recipe| recipe.state(Storage::Bf16)),
        ("cautious", |recipe| recipe.cautious().zero_grads()),
        ("centralised", |recipe| recipe.centralise().inspect()),
        ("schedule", |recipe| recipe.scale("lr", Cosine::new(1.0, 90))),
    ]
}

/// A run with its own gradients, some of which are not finite if the recipe skips bad steps.
struct Run<'a, P> {
    optimizer: Optimizer<P>,
    recipe: &'a str,
    made: usize,
}

impl<P: Program> Run<'_, P> {
    fn grads(&mut self, seed: u64) -> Result<()> {
        for lane in 0..2 {
            for (place, (name, shape)) in TENSORS.into_iter().enumerate() {
                let len = shape.iter().product();
                let mut values: Vec<P::Float> = gradient(seed + 10 * lane as u64 + place as u64, self.made, len)
                    .into_iter()
                    .map(|x| P::Float::of(x.into()))
                    .collect();
                let skips = ["bad steps", "loss scale", "micro-batches"].contains(&self.recipe);
                if skips && self.made % 7 == 3 + lane {
                    values[0] = P::Float::of(f64::NAN);
                }
                self.optimizer.lane(lane)?.set_grads(name, &values)?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        self.grads(1)?;
        match self.recipe {
            "micro-batches" => {
                self.optimizer.accumulate()?;
                self.grads(100)?;
                self.optimizer.accumulate()?;
            }
            "ascents" => {
                self.optimizer.ascend()?;
                self.grads(100)?;
            }
            _ => {}
        }
        self.made += 1;
        self.optimizer.step()
    }
}

fn new<'a, E: Engine>(engine: &E, recipe: &Recipe, name: &'a str) -> Result<Run<'a, E::Program>> {
    let mut optimizer = Optimizer::new(engine, recipe.clone(), &TENSORS)?;
    for lane in 0..2 {
        for (name, shape) in TENSORS {
            let len = shape.iter().product();
            let values: Vec<_> = gradient(5, 0, len).into_iter().map(|x| E::Float::of(x.into())).collect();
            optimizer.lane(lane)?.set_params(name, &values)?;
        }
    }
    Ok(Run { optimizer, recipe: name, made: 0 })
}

/// All values of a state, bit by bit.
fn assert_same<F: Real>(what: &str, found: &State<F>, expected: &State<F>) {
    assert!(found.iter().map(|(name, _)| name).eq(expected.iter().map(|(name, _)| name)), "{what}");
    for ((name, found), (_, expected)) in found.iter().zip(expected.iter()) {
        match (&found.values, &expected.values) {
            (StateValues::Floats(found), StateValues::Floats(expected)) => {
                assert_same_bits(&format!("{what}: {name}"), &found.concat(), &expected.concat());
            }
            (found, expected) => assert_eq!(found, expected, "{what}: {name}"),
        }
    }
}

/// Interrupts a run and goes on elsewhere; false if the recipe is refused.
fn check<E: Engine>(engine: &E, name: &str, rule: &dyn AnyRule, (modifier, modify): (&str, Modify)) -> Result<bool> {
    let recipe = modify(Recipe::population([rule.boxed(), rule.boxed()]));
    // Invalid combinations are refused; other tests check that.
    let Ok(mut whole) = new(engine, &recipe, modifier) else { return Ok(false) };
    let what = format!("{}: {name} with {modifier}", engine.describe());
    (0..BEFORE).try_for_each(|_| whole.step())?;
    whole.optimizer.lane(1)?.freeze("default", true)?;
    whole.step()?;
    let has_lr = rule.boxed().settings().iter().any(|(setting, _)| *setting == "lr");
    let kept = has_lr && rule.boxed().initial_settings().contains(&"lr");
    if has_lr && !kept {
        let lr = rule.lr();
        whole.optimizer.lane(0)?.set("default", "lr", 0.5 * lr)?;
    }
    let state = whole.optimizer.state_dict()?;
    let mut resumed = new(engine, &recipe, modifier)?;
    // It has made other steps before, which must not matter.
    resumed.step()?;
    resumed.made = whole.made;
    resumed.optimizer.load_state_dict(&state)?;
    assert_same(&what, &resumed.optimizer.state_dict()?, &state);
    if modifier == "half copy" {
        assert_eq!(resumed.optimizer.lane(1)?.half("matrix")?, whole.optimizer.lane(1)?.half("matrix")?, "{what}");
    }
    for run in [&mut whole, &mut resumed] {
        run.step()?;
        run.optimizer.lane(1)?.freeze("default", false)?;
        (0..AFTER).try_for_each(|_| run.step())?;
    }
    assert_same(&what, &resumed.optimizer.state_dict()?, &whole.optimizer.state_dict()?);
    for lane in 0..2 {
        assert_eq!(
            format!("{:?}", resumed.optimizer.lane(lane)?.report()?),
            format!("{:?}", whole.optimizer.lane(lane)?.report()?),
            "{what}"
        );
        if modifier == "half copy" {
            assert_eq!(resumed.optimizer.lane(lane)?.half("matrix")?, whole.optimizer.lane(lane)?.half("matrix")?, "{what}");
        }
        if modifier == "centralised" {
            let [a, b] = [&mut resumed, &mut whole].map(|run| run.optimizer.lane(lane).and_then(|mut lane| lane.inspection()));
            assert_eq!(format!("{:?}", a?), format!("{:?}", b?), "{what}");
        }
    }
    Ok(true)
}

fn every_pair<E: Engine>(engine: &E) -> Result<()> {
    let (mut made, modifiers) = (0, modifiers());
    for (name, rule) in options() {
        for &modifier in &modifiers {
            made += usize::from(check(engine, &name, &*rule, modifier)?);
        }
    }
    let all = options().len() * modifiers.len();
    assert!(made * 4 > all * 3, "only {made} of {all} were run");
    Ok(())
}

#[test]
fn every_rule_with_every_modifier_goes_on_in_the_oracle() -> Result<()> {
    every_pair(&Cpu::<f64>::default())
}

#[test]
fn every_rule_with_every_modifier_goes_on_on_the_cpu() -> Result<()> {
    every_pair(&Cpu::<f32>::default())
}

/// Pipelines take long to compile, so each rule is tried with one of the modifiers in turn, and Adam with all of them.
#[test]
fn rules_and_modifiers_go_on_on_the_gpu() -> Result<()> {
    let (engine, modifiers) = (engines::gpu(), modifiers());
    let mut made = 0;
    for (turn, (name, rule)) in options().into_iter().enumerate() {
        made += usize::from(check(&engine, &name, &*rule, modifiers[turn % modifiers.len()])?);
    }
    let adam = Adam { lr: 0.02, ..Default::default() };
    for modifier in modifiers {
        assert!(check(&engine, "adam", &adam, modifier)?, "{}", modifier.0);
    }
    assert!(made * 4 > options().len() * 3, "only {made} rules were run");
    Ok(())
}

#[test]
fn micro_batches_and_ascents_before_a_step_are_part_of_it() -> Result<()> {
    for (modifier, modify) in modifiers().into_iter().filter(|(name, _)| ["micro-batches", "ascents"].contains(name)) {
        let recipe = modify(Recipe::population([0.1, 0.2].map(|lr| Adam { lr, ..Default::default() })));
        for engine in [engines::cpu(), engines::gpu()] {
            let mut whole = new(&engine, &recipe, modifier)?;
            whole.step()?;
            whole.grads(7)?;
            if modifier == "ascents" {
                whole.optimizer.ascend()?
            } else {
                whole.optimizer.accumulate()?
            }
            let state = whole.optimizer.state_dict()?;
            let mut resumed = new(&engine, &recipe, modifier)?;
            resumed.optimizer.load_state_dict(&state)?;
            resumed.made = whole.made;
            for run in [&mut whole, &mut resumed] {
                run.grads(8)?;
                run.optimizer.step()?;
            }
            assert_same(modifier, &resumed.optimizer.state_dict()?, &whole.optimizer.state_dict()?);
        }
    }
    Ok(())
}

/// An answer from before the load must not count as one from after it.
#[test]
fn answers_under_way_are_forgotten() -> Result<()> {
    let recipe = Recipe::population([0.1, 0.2].map(|lr| Adam { lr, ..Default::default() }));
    for engine in [engines::cpu(), engines::gpu()] {
        let mut run = new(&engine, &recipe, "nothing")?;
        (0..5).try_for_each(|_| run.step())?;
        let state = run.optimizer.state_dict()?;
        run.optimizer.steps(59)?;
        run.optimizer.load_state_dict(&state)?;
        run.optimizer.steps(300)?;
        assert_eq!(run.optimizer.lane(0)?.report()?.applied, 305, "{}", engine.name);
        let mut other = new(&engine, &recipe, "nothing")?;
        (0..5).try_for_each(|_| other.step())?;
        other.optimizer.steps(300)?;
        assert_same(engine.name, &run.optimizer.state_dict()?, &other.optimizer.state_dict()?);
    }
    Ok(())
}

/// The same number of steps, but other skipped steps and another rate: with an old answer the host would think that the rows
/// are already written.
#[test]
fn an_answer_of_as_many_steps_is_forgotten_too() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let new = || Optimizer::new(&engine, Recipe::new(Sgd { lr: 0.5, ..Default::default() }).skip_bad(), &[("w", &[1])]);
        let (mut some_bad, mut all_good) = (new()?, new()?);
        some_bad.set("default", "lr", 0.25)?;
        for gradient in [1.0, f32::NAN, f32::NAN, 1.0, f32::NAN] {
            some_bad.set_grads("w", &[gradient])?;
            some_bad.step()?;
        }
        all_good.telemetry_every(5);
        all_good.set_grads("w", &[1.0])?;
        all_good.steps(5)?;
        all_good.load_state_dict(&some_bad.state_dict()?)?;
        all_good.set_grads("w", &[1.0])?;
        all_good.steps(10)?;
        assert_eq!(all_good.params("w")?, [-0.25 * 12.0], "{}", engine.name);
        assert_eq!(all_good.report()?.applied, 12);
    }
    Ok(())
}

/// Settings that were changed together: each alone would be out of range with the recipe's other settings.
#[test]
fn settings_beyond_those_of_the_recipe_are_taken_up() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let wide = |low: f64| Rprop { step_min: low, step_max: 2.0 * low, ..Default::default() };
        let new = || Optimizer::new(&engine, Recipe::population([wide(1e-3), wide(1e-3)]), &[("w", &[3])]);
        let (mut whole, mut resumed) = (new()?, new()?);
        // In one lane both bounds are above those of the recipe, in the other one below.
        whole.lane(0)?.set_rule("default", wide(0.5))?;
        whole.lane(1)?.set_rule("default", wide(1e-5))?;
        resumed.load_state_dict(&whole.state_dict()?)?;
        for optimizer in [&mut whole, &mut resumed] {
            for lane in 0..2 {
                optimizer.lane(lane)?.set_grads("w", &[1.0, -2.0, 0.5])?;
            }
            optimizer.steps(4)?;
        }
        assert_same(engine.name, &resumed.state_dict()?, &whole.state_dict()?);
        assert!(resumed.lane(0)?.params("w")?[0] < -1.0 && resumed.lane(1)?.params("w")?[0] > -1e-3, "{}", engine.name);
    }
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() -> Result<()> {
    let recipe = || Recipe::new(Adam::default());
    let new = |tensors: &[(&str, &[usize])]| Optimizer::new(&Cpu::<f32>::default(), recipe(), tensors);
    let mut first = new(&[("w", &[2, 3])])?;
    first.set_grads("w", &[1.0; 6])?;
    first.steps(3)?;
    let state = first.state_dict()?;
    let refused = |state: &State<f32>, optimizer: &mut Optimizer<thalweg::cpu::CpuProgram<f32>>| -> Result<String> {
        let before = optimizer.state_dict()?;
        let error = optimizer.load_state_dict(state).expect_err("a state of something else").to_string();
        assert_same(&error, &optimizer.state_dict()?, &before);
        Ok(error)
    };
    let error = refused(&state, &mut new(&[("w", &[3, 2])])?)?;
    assert_eq!(error, "the state's param.w: shape [2, 3] found, shape [3, 2] expected");
    let error = refused(&state, &mut new(&[("x", &[2, 3])])?)?;
    assert_eq!(error, "the state's param.x: none found, an array expected");
    let mut lanes =
        Optimizer::new(&Cpu::<f32>::default(), Recipe::population([Adam::default(), Adam::default()]), &[("w", &[2, 3])])?;
    assert_eq!(refused(&state, &mut lanes)?, "lanes of the state's param.w: 1 found, 2 expected");
    let mut more = state.clone();
    more.insert("state.w.extra", StateArray { shape: vec![], values: StateValues::Floats(vec![vec![1.0]]) });
    let error = refused(&more, &mut first)?;
    assert!(error.starts_with("unknown array of the state 'state.w.extra'"), "{error}");
    let mut less = state.clone();
    less.remove("state.w.v");
    assert_eq!(refused(&less, &mut first)?, "the state's state.w.v: none found, an array expected");
    let mut other = state.clone();
    other.insert("setting.default.lr", StateArray { shape: vec![], values: StateValues::Numbers(vec![vec![-1.0]]) });
    let error = refused(&other, &mut first)?;
    assert!(error.starts_with("lr = -1"), "{error}");
    let sgd = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), &[("w", &[2, 3])])?.state_dict()?;
    assert_eq!(refused(&sgd, &mut first)?, "the state's state.w.m: none found, an array expected");
    let mut kind = state;
    kind.insert("counts", StateArray { shape: vec![7], values: StateValues::Counts(vec![vec![0; 7]]) });
    assert_eq!(refused(&kind, &mut first)?, "the state's counts: counts found, indices expected");
    Ok(())
}

/// Rules share buffers of planes; each rule has its own part.
#[test]
fn planes_are_named_by_the_rule_of_their_tensor() -> Result<()> {
    let rules = || {
        Recipe::new(Adafactor::default()).group("first", |tensor| tensor.name == "a", Adamax::default()).group(
            "second",
            |tensor| tensor.name == "b",
            Adan::default(),
        )
    };
    let new = || Optimizer::new(&Cpu::<f32>::default(), rules(), &[("a", &[1]), ("b", &[1, 1]), ("c", &[2])]);
    let (mut old, mut other) = (new()?, new()?);
    [("a", &[1.0][..]), ("b", &[2.0]), ("c", &[3.0, 4.0])].iter().try_for_each(|(name, grads)| old.set_grads(name, grads))?;
    old.steps(2)?;
    let state = old.state_dict()?;
    let names: Vec<&str> = state.iter().map(|(name, _)| name).filter(|name| name.starts_with("state.")).collect();
    let expected = ["state.a.m", "state.a.u", "state.b.e", "state.b.m", "state.b.prev", "state.b.v", "state.c.v"];
    assert_eq!(names, expected);
    other.load_state_dict(&state)?;
    for (tensor, planes) in [("a", &["m", "u"][..]), ("b", &["m", "e", "v", "prev"]), ("c", &["v"])] {
        for plane in planes {
            let (found, expected) = (other.state(tensor, plane)?, old.state(tensor, plane)?);
            assert!(found == expected && found[0] != 0.0 || *plane == "e", "{plane} of {tensor}: {found:?}, {expected:?}");
        }
    }
    Ok(())
}

#[test]
fn planes_and_counts_can_be_set() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let floats =
            |seed, len| -> Vec<E::Float> { gradient(seed, 0, len).into_iter().map(|x| E::Float::of(x.into())).collect() };
        let new = |recipe: Recipe| Optimizer::new(engine, recipe, &[("matrix", &[3, 4]), ("vector", &[5])]);
        let adam = || Recipe::new(Adam { lr: 0.1, amsgrad: true, ..Default::default() }).average(Average::Ema { decay: 0.5 });
        let factored = || Recipe::new(Adafactor { lr: 0.1, ..Default::default() });
        for recipe in [adam(), factored()] {
            let (mut old, mut other) = (new(recipe.clone())?, new(recipe.clone())?);
            for (tensor, len) in [("matrix", 12), ("vector", 5)] {
                old.set_params(tensor, &floats(1, len))?;
                old.set_grads(tensor, &floats(2, len))?;
            }
            old.steps(9)?;
            let state = old.state_dict()?;
            for (tensor, len) in [("matrix", 12), ("vector", 5)] {
                other.set_params(tensor, &old.params(tensor)?)?;
                other.set_grads(tensor, &floats(2, len))?;
            }
            if state.get("state.matrix.m").is_some() {
                for tensor in ["matrix", "vector"] {
                    for plane in ["m", "v", "w"] {
                        let Some(StateValues::Floats(values)) =
                            state.get(&format!("state.{tensor}.{plane}")).map(|a| &a.values)
                        else {
                            panic!("{plane}")
                        };
                        other.set_state(tensor, plane, &values[0])?;
                    }
                    other.set_averaged(tensor, &old.averaged(tensor)?)?;
                }
            } else {
                let plane = |name: &str, old: &mut Optimizer<E::Program>, tensor: &str| old.state(tensor, name);
                for name in ["row_var", "col_var"] {
                    let values = plane(name, &mut old, "matrix")?;
                    other.set_state("matrix", name, &values)?;
                    let wrong = other.set_state("matrix", name, &values[1..]).unwrap_err().to_string();
                    assert!(wrong.starts_with(&format!("{name} of tensor 'matrix': ")), "{wrong}");
                }
                let values = plane("v", &mut old, "vector")?;
                other.set_state("vector", "v", &values)?;
                assert!(other.set_state("vector", "row_var", &[]).is_err());
            }
            other.set_applied("default", 9)?;
            old.steps(40)?;
            other.steps(40)?;
            for tensor in ["matrix", "vector"] {
                assert_same_bits(&format!("{} {tensor}", engine.describe()), &other.params(tensor)?, &old.params(tensor)?);
            }
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn loss_scales_and_slow_weights_can_be_set() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let recipe = Recipe::new(Sgd { lr: 1.0, ..Default::default() })
            .loss_scale(LossScale::default())
            .lookahead(Lookahead { steps: 1, alpha: 0.5 });
        let mut optimizer = Optimizer::new(&engine, recipe, &[("w", &[1])])?;
        optimizer.set_loss_scale(4.0)?;
        optimizer.set_params("w", &[1.0])?;
        optimizer.set_slow("w", &[5.0])?;
        optimizer.set_applied("default", 1)?;
        optimizer.set_grads("w", &[8.0])?;
        optimizer.step()?;
        // x = 1 − 8/4 = −1; slow = 5 + (−1 − 5)/2.
        assert_eq!((optimizer.params("w")?, optimizer.slow("w")?), (vec![2.0], vec![2.0]), "{}", engine.name);
        assert_eq!(optimizer.report()?.loss_scale, 4.0);
        assert!(optimizer.set_loss_scale(0.0).is_err());
        assert!(optimizer.lane(1).and_then(|mut lane| lane.set_loss_scale(1.0)).is_err());
        assert!(optimizer.set_applied("others", 1).is_err());
    }
    Ok(())
}

/// Reading and writing all lanes at once equals doing so one by one; a name among very many is found quickly.
#[test]
fn all_lanes_are_read_and_written_at_once() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu(), engines::small_bindings()] {
        let rules = [0.5, 0.25, 0.125].map(|lr| Sgd { lr, ..Default::default() });
        let mut optimizer = Optimizer::new(&engine, Recipe::population(rules), &[("a", &[3]), ("b", &[70_000])])?;
        let len = optimizer.arena().len();
        let grads: Vec<Vec<f32>> = (0..3)
            .map(|lane| {
                let mut values = gradient(lane, 0, len);
                // What lies between tensors.
                values[3..64].fill(0.0);
                values[64 + 70_000..].fill(0.0);
                values
            })
            .collect();
        optimizer.set_all_grads(&grads)?;
        optimizer.step()?;
        let all = optimizer.all_params()?;
        for (lane, lr) in [0.5, 0.25, 0.125].into_iter().enumerate() {
            let expected: Vec<f32> = grads[lane].iter().map(|g| 0.0 - lr * g).collect();
            assert_same_bits(engine.name, &all[lane], &expected);
            assert_same_bits(engine.name, &optimizer.lane(lane)?.params("b")?, &all[lane][64..][..70_000]);
        }
        let error = optimizer.set_all_grads(&grads[1..]).unwrap_err().to_string();
        assert_eq!(error, "lanes of gradients: 2 found, 3 expected");
        assert!(optimizer.set_all_grads(&[vec![0.0; 3], vec![0.0; 3], vec![0.0; 3]]).is_err());
    }
    Ok(())
}
