//! Lanes that take over others on the device: the bits of states that go through the host, and no new pipelines.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::engines::{AnyEngine, AnyProgram};
use crate::common::numbers::numbers;
use crate::common::refusal::assert_error;
use std::cell::Cell;
use std::ops::ControlFlow;
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Fold, KFold};
use thalweg::nn::{BatchNorm1d, Dropout, LaneDropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::{Arena, Blueprint, CopyLanes, Engine, Layout, LossScale, NONE, Op, Plan, PlanId, Program, Role, Storage};
use thalweg::sweep::{Goal, Halving, Job, PopulationBased, Random, SearchSpace, Strategy, Study, Sweep, Table};
use thalweg::train::{EarlyStopping, Metric, Population, Setup};
use thalweg::{Adam, Average, Real, Recipe, Result, Rule, Sgd, State, Trainer};

/// The source of each lane. Lane 3 names one that takes over another itself, so it stays.
const FROM: [u32; 6] = [0, 0, NONE, 1, 4, 2];
/// The lane whose values each has afterwards.
const SOURCE: [usize; 6] = [0, 0, 2, 3, 4, 2];

/// Every kind of buffer, in one piece or cut between lanes and within them.
#[test]
fn lanes_take_over_what_their_sources_hold() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (mut arena, mut wide) = (Arena::default(), Arena::default());
        arena.add("w", &[12, 1000])?;
        wide.add("w", &[70, 1000])?;
        let mut layout = Layout::new(FROM.len());
        let (floats, indices) = (layout.floats("floats", 70), layout.indices("indices", 3));
        let [cut, cut_within] = [&arena, &wide].map(|arena| layout.arena("arena", arena));
        let halves = layout.half_arena("halves", &arena);
        let from = layout.shared_indices("from", FROM.len());
        let mut plan = Plan::default();
        plan.push(Op::CopyLanes(CopyLanes::new(vec![floats, indices, cut, cut_within, halves], from)));
        let mut program = engine.load(&Blueprint::of(&layout, &[plan]))?;
        let lens = [(floats, 70), (cut, arena.len()), (cut_within, wide.len())];
        let values = |seed: usize, lane: usize, len: usize| -> Vec<E::Float> {
            numbers((9 * seed + lane) as u64, len).into_iter().map(|x| E::Float::of(x.into())).collect()
        };
        let bits = |lane: usize| (0..arena.len()).map(|i| (i * 7 + lane * 1001) as u16).collect::<Vec<u16>>();
        for lane in 0..FROM.len() {
            for (seed, &(id, len)) in lens.iter().enumerate() {
                program.write(id, lane, 0, &values(seed, lane, len))?;
            }
            program.write_indices(indices, lane, 0, &[lane as u32, 7, 1 << 31])?;
            program.write_halves(halves, lane, 0, &bits(lane))?;
        }
        program.write_indices(from, 0, 0, &FROM)?;
        program.run(PlanId::FIRST, 2)?;
        for (lane, &source) in SOURCE.iter().enumerate() {
            let what = format!("{}, lane {lane}", engine.describe());
            for (seed, &(id, len)) in lens.iter().enumerate() {
                assert_same_bits(&what, &program.read(id, lane)?, &values(seed, source, len));
            }
            assert_eq!(program.read_indices(indices, lane)?, [source as u32, 7, 1 << 31], "{what}");
            assert_eq!(program.read_halves(halves, lane)?, bits(source), "{what}");
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    check(&Cpu::<f32>::with_threads(3))?;
    engines::all_and_small().iter().try_for_each(check)
}

#[test]
fn copies_that_do_not_fit_the_layout_are_refused() {
    let refused = |of: fn(&mut Layout) -> CopyLanes, message: &str| {
        let mut layout = Layout::new(2);
        let op = of(&mut layout);
        let mut plan = Plan::default();
        plan.push(Op::CopyLanes(op));
        assert_error(Blueprint::of(&layout, &[plan]).check(), message);
    };
    let twice = |layout: &mut Layout| {
        let a = layout.floats("a", 3);
        CopyLanes::new(vec![a, a], layout.shared_indices("from", 2))
    };
    refused(twice, "a: one that is copied twice found, a buffer that is copied once expected");
    let shared = |layout: &mut Layout| {
        let a = layout.shared_floats("a", 3);
        CopyLanes::new(vec![a], layout.shared_indices("from", 2))
    };
    refused(shared, "a: Shared found, Lane expected");
    let floats = |layout: &mut Layout| CopyLanes::new(vec![], layout.shared_floats("from", 2));
    refused(floats, "from: Float found, Index expected");
    let few = |layout: &mut Layout| CopyLanes::new(vec![], layout.shared_indices("from", 1));
    refused(few, "from: 1 found, 2 elements expected");
    // Memory of the caller cannot be copied.
    let mut arena = Arena::default();
    arena.add("w", &[3]).expect("a tensor");
    let mut blueprint = Blueprint::new(2);
    let params = blueprint.arena("params", &arena, Role::Params);
    let from = blueprint.layout_mut().shared_indices("from", 2);
    let mut plan = Plan::default();
    plan.push(Op::CopyLanes(CopyLanes::new(vec![params], from)));
    blueprint.add("copy", plan).expect("a plan");
    blueprint.check().expect("memory of its own");
    blueprint.borrow(params);
    assert_error(blueprint.check(), "params: the caller's found, memory of the program's own, as lanes are copied expected");
}

fn data() -> Dataset {
    crate::training::classes(26)
}

fn model() -> Sequential {
    Sequential::new()
        .then(Linear::new(4, 9))
        .then(BatchNorm1d::new(9))
        .then(Nonlinearity::Silu)
        .then(Dropout { p: 0.25 })
        .then(Linear::new(9, 3))
}

const RATES: [f64; 4] = [0.03, 0.3, 0.01, 0.02];
const SEEDS: [u64; 4] = [3, 5, 7, 9];

/// A trainer of four lanes with everything that lanes keep from step to step.
fn four<E: Engine, R: Rule>(engine: &E, rule: impl Fn(f64) -> R, state: Storage) -> Result<Trainer<E::Program>> {
    let (data, model) = (data(), model());
    let scales = LossScale { init: 64.0, interval: 3, ..Default::default() };
    let recipe = Recipe::population(RATES.map(rule)).clip_norm(0.5).average(Average::Ema { decay: 0.9 });
    let recipe = recipe.loss_scale(scales).state(state);
    let trainer = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(6).seeds(&SEEDS);
    trainer.early_stopping(EarlyStopping { metric: Metric::Loss, ..Default::default() }).copies().build(engine)
}

/// The state of all lanes, where lane `to` has what lane `from` had, with settings of its own.
fn copied<F: Real>(state: &State<F>, pairs: &[(usize, usize)]) -> Result<State<F>> {
    let mut lanes = (0..4).map(|lane| state.lane(lane)).collect::<Result<Vec<_>>>()?;
    for &(from, to) in pairs {
        let mut taken = state.lane(from)?;
        for (name, array) in lanes[to].iter().filter(|(name, _)| name.starts_with("setting.")) {
            taken.insert(name, array.clone());
        }
        lanes[to] = taken;
    }
    State::join(lanes)
}

/// On the device or through the host: parameters, planes, statistics, counters, seeds and the best are the same, and stay so.
#[test]
fn a_lane_that_took_over_another_goes_on_as_from_its_state() -> Result<()> {
    fn check<E: Engine, R: Rule>(engine: &E, rule: impl Fn(f64) -> R + Copy, storage: Storage) -> Result<()> {
        let pairs = [(0, 1), (0, 3)];
        // In the middle of an epoch, and at the end of one.
        for steps in [13, 15] {
            let (mut direct, mut through) = (four(engine, rule, storage)?, four(engine, rule, storage)?);
            direct.fit(1, |_, _| Ok(ControlFlow::Continue(())))?;
            // The source has made fewer steps than the others, and one of those is still frozen.
            direct.optimizer_mut().lane(0)?.freeze("default", true)?;
            direct.advance(4)?;
            direct.optimizer_mut().lane(0)?.freeze("default", false)?;
            direct.optimizer_mut().lane(3)?.freeze("default", true)?;
            direct.advance(steps - direct.steps())?;
            through.load_state_dict(&copied(&direct.state_dict()?, &pairs)?)?;
            direct.copy_lanes(&pairs)?;
            let what = format!("{}, after {steps} steps", engine.describe());
            assert!(direct.state_dict()? == through.state_dict()?, "{what}");
            // A perturbation, while the others go on.
            for trainer in [&mut direct, &mut through] {
                trainer.set(1, "default", "lr", 0.001)?;
                trainer.advance(140)?;
            }
            let (found, expected) = (direct.state_dict()?, through.state_dict()?);
            for (name, array) in expected.iter() {
                assert_eq!(found.get(name), Some(array), "{what}: {name}");
            }
            assert_eq!(direct.evaluate()?, through.evaluate()?, "{what}");
            assert_eq!(direct.metrics()?, through.metrics()?, "{what}");
            assert_ne!(direct.params(0)?, direct.params(1)?, "{what}");
        }
        Ok(())
    }
    let adam = |lr| Adam { lr, ..Default::default() };
    check(&Cpu::<f64>::default(), adam, Storage::F32)?;
    for engine in [engines::cpu(), engines::gpu()] {
        check(&engine, adam, Storage::F32)?;
        check(&engine, |lr| Sgd { lr, momentum: 0.9, ..Default::default() }, Storage::Bf16)?;
    }
    Ok(())
}

#[test]
fn copies_of_lanes_that_make_no_sense_are_refused() -> Result<()> {
    let data = data();
    let recipe = Recipe::new(Adam::default());
    let mut plain = Trainer::builder(&model(), recipe).train(&data).seeds(&SEEDS).build(&engines::cpu())?;
    assert_error(plain.copy_lanes(&[]), "a copy of lanes needs its plan, for example .copies()");
    let mut trainer = four(&engines::cpu(), |lr| Adam { lr, ..Default::default() }, Storage::F32)?;
    trainer.advance(3)?;
    let before = trainer.state_dict()?;
    assert_error(trainer.copy_lanes(&[(0, 4)]), "lane = 4 is out of range: below 4");
    let twice = "lane to copy over = 2 is out of range: one that is overwritten once, and is no source";
    assert_error(trainer.copy_lanes(&[(0, 2), (1, 2)]), twice);
    assert_error(trainer.copy_lanes(&[(0, 2), (2, 1)]), twice);
    assert_error(trainer.copy_lanes(&[(2, 2)]), twice);
    assert!(trainer.state_dict()? == before, "nothing has changed");
    Ok(())
}

#[test]
fn a_buffer_of_a_lane_gets_other_values() -> Result<()> {
    let data = data();
    let model = Sequential::new().then(LaneDropout { p: 0.5 }).then(Linear::new(4, 3));
    let of = |p: f64| {
        let trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).batch(26).seeds(&[1, 1]);
        trainer.buffer(1, "0.p", &[p]).build(&engines::cpu())
    };
    let (mut set, mut built) = (of(0.1)?, of(0.3)?);
    set.set_buffer(1, "0.p", &[0.3])?;
    set.advance(3)?;
    built.advance(3)?;
    assert_eq!(set.params(1)?, built.params(1)?);
    assert_ne!(set.params(0)?, set.params(1)?);
    assert_error(set.set_buffer(2, "0.p", &[0.3]), "lane = 2 is out of range: below 2");
    assert_error(set.set_buffer(0, "0.p", &[0.3, 0.1]), "buffer '0.p': 2 found, 1 elements expected");
    assert_error(set.set_buffer(0, "p", &[0.3]), "unknown buffer of the model 'p'; known: 0.p");
    Ok(())
}

/// Halving from eight lanes down to two, then more trials: fewer and other lanes run on the pipelines of the first.
#[test]
fn lanes_that_end_and_begin_make_no_new_pipelines() -> Result<()> {
    let (gpu, data) = (engines::open(Default::default()), data());
    let pipelines = || gpu.device().get_internal_counters().hal.compute_pipelines.read();
    let setup = |job: &Job| {
        let lr = job.point.get("lr").and_then(|lr| lr.as_f64()).unwrap_or(0.1);
        Ok(Setup { batch: 5.into(), seed: job.trial, ..Setup::new(model(), Recipe::new(Adam { lr, ..Default::default() })) })
    };
    let folds: Vec<Fold> = KFold { folds: 2, ..Default::default() }.split(data.rows())?;
    let mut population = Population::new(&gpu, &data, setup).folds(folds);
    let space: SearchSpace = "lr=log:1e-3:1e-1".parse()?;
    let mut sweep = |seed: u64, trials: usize| {
        let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed });
        let mut table = Table::new(space.clone(), Goal::Minimize);
        let halving = Strategy::Halving(Halving { min_steps: 2, max_steps: 8, eta: 2 });
        Sweep { trials, folds: 2, ..Sweep::new(halving) }.run(&mut study, &mut table, &mut population, |_| Ok(()))?;
        Ok::<usize, thalweg::Error>(table.records().len())
    };
    assert_eq!(sweep(1, 8)?, 2 * (8 + 4 + 2));
    let made = pipelines();
    assert!(made > 0);
    assert_eq!(sweep(2, 16)?, 2 * (16 + 8 + 4));
    assert_eq!(pipelines(), made, "more lanes");
    assert_eq!(sweep(3, 8)?, 2 * (8 + 4 + 2));
    assert_eq!(pipelines(), made, "fewer lanes");
    Ok(())
}

/// An engine that counts its programs.
struct Loads(AnyEngine, Cell<usize>);

impl Engine for Loads {
    type Float = f32;
    type Program = AnyProgram;

    fn load(&self, blueprint: &Blueprint) -> Result<AnyProgram> {
        self.1.set(self.1.get() + 1);
        self.0.load(blueprint)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// Once a member was copied, the others' program goes on from round to round, and copies are made on the device: with the table
/// of members that are trained one by one, whose copies go through the host.
#[test]
fn members_of_a_population_stay_on_the_device() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (engine, data) = (Loads(engine, Cell::new(0)), data());
        let folds: Vec<Fold> = KFold { folds: 2, ..Default::default() }.split(data.rows())?;
        let setup = |job: &Job| {
            let number = |name: &str| job.point.get(name).and_then(|value| value.as_f64()).unwrap_or(0.1);
            let model = Sequential::new().then(Linear::new(4, 8)).then(BatchNorm1d::new(8)).then(LaneDropout { p: 0.0 });
            let recipe = Recipe::new(Adam { lr: number("lr"), ..Default::default() }).clip_norm(0.7);
            let buffers = vec![("2.p".into(), vec![number("p")])];
            Ok(Setup { batch: 5.into(), seed: job.trial, buffers, ..Setup::new(model.then(Linear::new(8, 3)), recipe) })
        };
        let space: SearchSpace = "lr=log:1e-3:1e-1; p=uniform:0.1:0.5".parse()?;
        let rule = PopulationBased { quantile: 0.25, seed: 2, ..PopulationBased::exploring(["lr", "p"]) };
        let strategy = Strategy::Population { steps: 20, every: 4, rule };
        let run = |most: usize| {
            engine.1.set(0);
            let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed: 4 });
            let mut table = Table::new(space.clone(), Goal::Minimize);
            let mut population = Population::new(&engine, &data, setup).folds(folds.clone()).at_most(most);
            let sweep = Sweep { trials: 4, folds: 2, ..Sweep::new(strategy.clone()) };
            sweep.run(&mut study, &mut table, &mut population, |_| Ok(()))?;
            Ok::<_, thalweg::Error>((table.csv(), engine.1.get()))
        };
        let (expected, programs) = run(1)?;
        assert_eq!(programs, 4 * 2 * 5, "{}: one for each member, fold and round", engine.describe());
        let (found, programs) = run(usize::MAX)?;
        assert_eq!(found, expected, "{}", engine.describe());
        // The first has no plan for copies.
        assert_eq!(programs, 2, "{}", engine.describe());
    }
    Ok(())
}
